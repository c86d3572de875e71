# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""Copies that are asked for with each kind of token."""

from typing import Any

import requests
import sqlalchemy as sa
from keystoneauth1 import session as ksa_session

from devcloud import proxy
from image_replicator.db import models
from image_replicator.tests.functional.rights import base

_JOBS = "/v2/extension/image_replicator/jobs"


class TokenTestCase(base.RightsTestCase):
    """A test of one kind of token."""

    def post(
        self, session: ksa_session.Session, image_id: str, project_id: str
    ) -> requests.Response:
        """Request a copy into a project; return the answer."""
        body = {"image_id": image_id, "tenant_id_dst": project_id}
        return self.request("POST", "/jobs", json=body, session=session)

    def accepted(
        self, session: ksa_session.Session, image_id: str, project_id: str
    ) -> str:
        """Request a copy into a project; return the job's id."""
        reply = self.post(session, image_id, project_id)
        self.assertEqual(202, reply.status_code, reply.text)
        job_id: str = reply.json()["job_id"]
        return job_id

    def authority(self, job_id: str) -> Any:
        """Return the row of a job's authority; None if there is none."""
        table = models.Authority.__table__
        with self.database() as connection:
            return connection.execute(
                sa.select(table).where(table.c.job_id == job_id)
            ).one_or_none()

    def assert_by_token(
        self, session: ksa_session.Session, asker: base.Asker
    ) -> None:
        """Check a token that cannot make trusts.

        It is sealed for its own project, which the copy goes to; it is refused
        for another project; and nothing of it is left afterwards.
        """
        image_id = self.images_of(asker).create()["id"]
        own, other = map(
            self.cloud.project_id, (asker.source, asker.destination)
        )
        job_id = self.accepted(session, image_id, own)
        row = self.authority(job_id)
        self.assertIsNone(row.source_trust_id)
        self.assertNotIn(str(session.get_token()), row.sealed_token)
        refused = self.post(session, image_id, other)
        self.assertEqual(403, refused.status_code, refused.text)
        worker = self.start_worker()
        self.assert_copied(job_id)
        self.wait_until(lambda: not self.authority(job_id), "no authority")
        self._assert_logged_nowhere(session, worker.log_path.read_text())

    def assert_by_trusts(
        self, session: ksa_session.Session, image_id: str, project_id: str
    ) -> None:
        """Check a token that can make trusts."""
        job_id = self.accepted(session, image_id, project_id)
        row = self.authority(job_id)
        self.assertIsNone(row.sealed_token)
        self.assertIsNotNone(row.source_trust_id)
        worker = self.start_worker()
        self.assert_copied(job_id)
        self._assert_logged_nowhere(session, worker.log_path.read_text())

    def _assert_logged_nowhere(
        self, session: ksa_session.Session, log: str
    ) -> None:
        token = str(session.get_token())
        logs = [log]
        for glance in self.cloud.glances.values():
            server = glance.server.process
            assert server
            logs.append(server.log_path.read_text())
        for text in logs:
            self.assertNotIn(token, text)


class TestTokens(TokenTestCase):
    def test_of_an_application_credential(self) -> None:
        for unrestricted in (False, True):
            asker = self.new_asker()
            session = self.cloud.application_credential(
                asker.name, asker.source, unrestricted=unrestricted
            )
            self.assert_by_token(session, asker)

    def test_of_a_trust(self) -> None:
        """A user's own trust, for another user."""
        asker, trustee = self.new_asker(), self.new_asker()
        session = self.cloud.trusted(asker.name, asker.source, trustee.name)
        self.assert_by_token(session, asker)

    def test_of_a_password(self) -> None:
        asker = self.new_asker()
        image_id = self.images_of(asker).create()["id"]
        session = self.cloud.session(asker.name, asker.source)
        self.assert_by_trusts(
            session, image_id, self.cloud.project_id(asker.destination)
        )

    def test_of_an_administrator(self) -> None:
        """An administrator copies what is another's, as Glance lets them."""
        asker = self.new_asker()
        image_id = self.images_of(asker).create()["id"]
        session = self.cloud.session("admin", "admin")
        project_id = session.get_project_id()
        assert project_id
        self.assert_by_trusts(session, image_id, project_id)

    def test_of_a_federated_user_whose_groups_are_kept(self) -> None:
        asker = self.new_asker()
        session = self.cloud.federate(asker.source, minutes=5)
        image_id = self.images_of(asker).create()["id"]
        self.assert_by_trusts(
            session, image_id, self.cloud.project_id(asker.source)
        )

    def test_of_a_federated_user_whose_groups_are_in_the_token(self) -> None:
        """Keystone makes no trust of roles that only the token has."""
        asker = self.new_asker()
        session = self.cloud.federate(
            asker.source, asker.destination, minutes=0
        )
        self.assert_by_token(session, asker)


class TestAccessRules(TokenTestCase):
    """Application credentials that may send only some requests."""

    def _session(self, asker: base.Asker, method: str) -> Any:
        return self.cloud.application_credential(
            asker.name,
            asker.source,
            access_rules=[
                {"service": "image", "method": method, "path": _JOBS}
            ],
        )

    def test_who_may_only_ask_gets_a_copy(self) -> None:
        asker = self.new_asker()
        session = self._session(asker, "POST")
        image_id = self.images_of(asker).create()["id"]
        client = self.cloud.image_client("ot1", session=session)
        reply = client.get(f"/v2/images/{image_id}", raise_exc=False)
        self.assertEqual(401, reply.status_code)
        job_id = self.accepted(
            session, image_id, self.cloud.project_id(asker.source)
        )
        self.start_worker()
        self.assert_copied(job_id)

    def test_who_may_not_ask_gets_none(self) -> None:
        asker = self.new_asker()
        image_id = self.images_of(asker).create()["id"]
        project_id = self.cloud.project_id(asker.source)
        reply = self.post(self._session(asker, "GET"), image_id, project_id)
        self.assertEqual(401, reply.status_code, reply.text)


class TestRevocation(TokenTestCase):
    def test_an_application_credential_is_deleted_amid_the_copy(self) -> None:
        asker = self.new_asker()
        session = self.cloud.application_credential(asker.name, asker.source)
        relay = self.relay("ot1")
        data = bytes(4 << 20)
        relay.hold_after(len(data) // 2, proxy.Direction.DOWNLOAD)
        image_id = self.images_of(asker).create(data)["id"]
        job_id = self.accepted(
            session, image_id, self.cloud.project_id(asker.source)
        )
        self.start_worker()
        self.assertTrue(relay.wait_until_held())
        user_id = self.cloud.user(asker.name).id
        owner = self.cloud.session(asker.name, asker.source)
        credentials = f"/users/{user_id}/application_credentials"
        (credential,) = owner.get(self.cloud.auth_url + credentials).json()[
            "application_credentials"
        ]
        owner.delete(f"{self.cloud.auth_url}{credentials}/{credential['id']}")
        relay.release()
        message = self.assert_failed(job_id, "source_access_lost")
        self.assertIn("revoked", message)
        self.assertNotIn("active", self.left_in(asker.source).values())
