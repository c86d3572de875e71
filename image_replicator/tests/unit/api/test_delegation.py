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

"""The right that is kept with a job: trusts, or a sealed token."""

import datetime
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from keystoneauth1 import exceptions as ksa_exc

from image_replicator import authority
from image_replicator import context as ir_context
from image_replicator import identity
from image_replicator import sealing
from image_replicator.db import authorities
from image_replicator.db import delegations
from image_replicator.db import models
from image_replicator.tests.unit.api import base

USER = "0badcafe0badcafe0badcafe0badcafe"


class DelegationTestCase(base.ApiTestCase):
    def setUp(self) -> None:
        self.removed: list[str] = []
        self.refuses = False
        super().setUp()
        self._pretend(identity.Identity, "remove_trust", self.remove_trust)

    def make_trust(
        self,
        context: ir_context.RequestContext,
        project_id: str,
        roles: Sequence[str],
        expires_at: datetime.datetime,
    ) -> str | None:
        if self.refuses:
            return None
        return super().make_trust(context, project_id, roles, expires_at)

    def remove_trust(
        self, context: ir_context.RequestContext, trust_id: str
    ) -> None:
        self.removed.append(trust_id)

    def authority(self, **kwargs: Any) -> authority.Authority:
        """Request a copy, and return the right that is kept with it."""
        values = kwargs.pop("image", {})
        response = self.copy(self.glance.add(**values)["id"], **kwargs)
        self.assertEqual(202, response.status_int, response.body)
        found = authorities.Authorities(self.database).get(
            response.json["job_id"]
        )
        assert found
        return found

    def forget_jobs(self) -> None:
        """Let all jobs be over, and purged."""
        with self.database.engine.begin() as connection:
            connection.execute(sa.delete(models.Job))
            connection.execute(sa.delete(models.Authority))

    def age(self, **columns: datetime.datetime) -> None:
        """Set times of all known trusts."""
        with self.database.engine.begin() as connection:
            connection.execute(sa.update(models.Delegation).values(**columns))


class TestTrusts(DelegationTestCase):
    def test_one_for_each_project_with_the_roles_there(self) -> None:
        kept = self.authority()
        self.assertEqual(
            [
                (USER, base.SOURCE, tuple(sorted(base.MEMBER))),
                (USER, base.DESTINATION, tuple(sorted(base.MEMBER))),
            ],
            self.trusts,
        )
        self.assertEqual(
            authority.Authority(
                user_id=USER,
                source_owner_id=base.SOURCE,
                source_trust_id="trust-1",
                destination_trust_id="trust-2",
            ),
            kept,
        )

    def test_one_if_both_projects_are_one(self) -> None:
        kept = self.authority(tenant=base.SOURCE)
        self.assertEqual(1, len(self.trusts))
        self.assertEqual(kept.source_trust_id, kept.destination_trust_id)

    def test_they_are_used_again(self) -> None:
        first = self.authority()
        self.assertEqual(first, self.authority())
        self.assertEqual(2, len(self.trusts))

    def test_other_roles_need_another(self) -> None:
        self.authority()
        self.authority(caller=base.environ(roles=base.ADMIN))
        self.assertEqual(
            [tuple(sorted(base.ADMIN))], [t[2] for t in self.trusts[2:]]
        )

    def test_one_in_the_second_half_of_its_life_is_replaced(self) -> None:
        self.authority(tenant=base.SOURCE)
        soon = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
        self.age(expires_at=soon + datetime.timedelta(days=14))
        kept = self.authority(tenant=base.SOURCE)
        self.assertEqual("trust-2", kept.source_trust_id)
        self.assertEqual(
            kept.source_trust_id,
            self.authority(tenant=base.SOURCE).source_trust_id,
        )

    def test_another_request_was_first(self) -> None:
        """Its trust is used, and ours is removed."""
        made = self.make_trust

        def overtaken(*args: Any) -> str | None:
            delegations.Delegations(self.database).add(
                authority.Delegation(
                    trust_id="theirs",
                    user_id=USER,
                    project_id=base.SOURCE,
                    roles=tuple(sorted(base.MEMBER)),
                )
            )
            return made(*args[-4:])

        self._pretend(identity.Identity, "make_trust", overtaken)
        kept = self.authority(tenant=base.SOURCE)
        self.assertEqual("theirs", kept.source_trust_id)
        self.assertEqual(["trust-1"], self.removed)

    def test_a_refused_copy_leaves_none(self) -> None:
        self.up = False
        self.assert_error(409, self.copy(self.glance.add()["id"]))
        self.assertEqual([], self.trusts)

    def test_a_retry_brings_its_own_right(self) -> None:
        job_id = self.add_job_that_is_over()
        caller = base.environ() | {"HTTP_X_USER_ID": "another"}
        self.assertEqual(202, self.retry(job_id, caller=caller).status_int)
        kept = authorities.Authorities(self.database).get(job_id)
        assert kept
        self.assertEqual("another", kept.user_id)


class TestUnused(DelegationTestCase):
    OLD = datetime.datetime(2020, 1, 1)

    def test_a_trust_that_no_job_needs_is_removed(self) -> None:
        self.authority()
        self.forget_jobs()
        self.age(used_at=self.OLD)
        self.authority(caller=base.environ(roles=base.ADMIN))
        self.assertEqual(["trust-1"], self.removed)

    def test_one_of_a_job_that_waits_stays(self) -> None:
        self.authority()
        self.age(used_at=self.OLD)
        self.authority(caller=base.environ(roles=base.ADMIN))
        self.assertEqual([], self.removed)

    def test_another_user_s_stays(self) -> None:
        self.authority()
        self.forget_jobs()
        self.age(used_at=self.OLD)
        self.authority(caller=base.environ() | {"HTTP_X_USER_ID": "another"})
        self.assertEqual([], self.removed)

    def test_keystone_s_refusal_does_not_harm_the_request(self) -> None:
        def refuse(*args: Any) -> None:
            raise ksa_exc.Forbidden

        self.authority()
        self.forget_jobs()
        self.age(used_at=self.OLD)
        self._pretend(identity.Identity, "remove_trust", refuse)
        self.authority(caller=base.environ(roles=base.ADMIN))
        self.assertIn("stays until it expires", self.logged.output)


class TestSealedToken(DelegationTestCase):
    """A token that cannot make trusts is kept itself, sealed."""

    CREDENTIAL = base.environ(methods=("application_credential",))

    def test_it_is_sealed(self) -> None:
        kept = self.authority(tenant=base.SOURCE, caller=self.CREDENTIAL)
        assert kept.token
        self.assertNotIn("t0ken", kept.token.sealed)
        self.assertNotIn("t0ken", repr(kept))
        sealer = sealing.Sealer.from_conf(self.conf)
        assert sealer
        self.assertEqual("t0ken-of-the-caller", sealer.open(kept.token.sealed))
        self.assertEqual(
            datetime.datetime(2036, 6, 10, 4, 34, 45), kept.token.expires_at
        )
        self.assertEqual([], self.trusts)

    def test_one_for_which_keystone_makes_no_trust(self) -> None:
        """As that of a federated user, whose roles a mapping gives."""
        self.refuses = True
        self.assertIsNotNone(self.authority(tenant=base.SOURCE).token)

    def test_it_is_good_for_its_own_project_alone(self) -> None:
        self.refuses = True
        response = self.copy(self.glance.add()["id"])
        self.assert_error(403, response, "two projects", "password")
        self.assertEqual(0, self.count_jobs())

    def test_without_a_key_it_is_refused(self) -> None:
        self._pretend(sealing.Sealer, "from_conf", lambda _conf: None)
        self.build()
        response = self.copy(
            self.glance.add()["id"], base.SOURCE, caller=self.CREDENTIAL
        )
        self.assert_error(403, response, "application credential", "password")
        self.assertEqual(0, self.count_jobs())

    def test_keys_that_cannot_be_used(self) -> None:
        keys = self.directory / "sealing-keys"
        keys.mkdir()
        response = self.copy(
            self.glance.add()["id"], base.SOURCE, caller=self.CREDENTIAL
        )
        self.assert_error(503, response, "operator")
        self.assertNotIn(str(keys), response.text)
        self.assertIn(str(keys), self.logged.output)
        self.assertEqual(0, self.count_jobs())

    def test_no_log_has_it(self) -> None:
        self.authority(tenant=base.SOURCE, caller=self.CREDENTIAL)
        self.assert_no_secret(self.logged.output)
