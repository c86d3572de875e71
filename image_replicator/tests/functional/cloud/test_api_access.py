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

"""Authentication and policy, with Keystone's real tokens."""

import datetime
from typing import Any

import requests
from oslo_utils import uuidutils

from image_replicator.jobs import JobStatus
from image_replicator.tests.functional.cloud import api_base

#: A role that no rule has.
_NO_ROLE = "bystander"

#: A member's application credential, and a trust that a member made.
_CREDENTIAL = "credential"
_TRUST = "trust"


class TestMatrix(api_base.ApiTestCase):
    """All combinations of roles, tenants and operations."""

    #: By role and tenant: list, list all tenants', show, create, cancel,
    #: retry.
    expected = {
        (_NO_ROLE, "source"): (403, 403, 404, 403, 404, 404),
        (_NO_ROLE, "destination"): (403, 403, 404, 403, 404, 404),
        (_NO_ROLE, "unrelated"): (403, 403, 404, 403, 404, 404),
        ("reader", "source"): (200, 403, 200, 403, 403, 403),
        ("reader", "destination"): (200, 403, 200, 403, 403, 403),
        ("reader", "unrelated"): (200, 403, 404, 403, 404, 404),
        ("member", "source"): (200, 403, 200, 202, 204, 202),
        ("member", "destination"): (200, 403, 200, 202, 403, 403),
        ("member", "unrelated"): (200, 403, 404, 202, 404, 404),
        ("manager", "source"): (200, 403, 200, 202, 204, 202),
        ("manager", "destination"): (200, 403, 200, 202, 403, 403),
        ("manager", "unrelated"): (200, 403, 404, 202, 404, 404),
        # Tokens that are good for one project only.
        (_CREDENTIAL, "source"): (200, 403, 200, 202, 204, 403),
        (_CREDENTIAL, "destination"): (200, 403, 200, 202, 403, 403),
        (_CREDENTIAL, "unrelated"): (200, 403, 404, 202, 404, 404),
        (_TRUST, "source"): (200, 403, 200, 202, 204, 403),
        (_TRUST, "destination"): (200, 403, 200, 202, 403, 403),
        (_TRUST, "unrelated"): (200, 403, 404, 202, 404, 404),
        ("admin", "source"): (200, 200, 200, 202, 204, 202),
        ("admin", "destination"): (200, 200, 200, 202, 204, 202),
        ("admin", "unrelated"): (200, 200, 200, 202, 204, 202),
    }

    def setUp(self) -> None:
        super().setUp()
        self.cloud.create_project("unrelated")
        self.cloud.identity.create_role(_NO_ROLE)
        for role_name, tenant in self.expected:
            self.create_user(role_name, tenant)
        images = self.cloud.images("ot1", "admin", "admin")
        self.image_id = images.create(visibility="public")["id"]
        self.other_image_id = images.create(visibility="public")["id"]

    def create_user(self, role: str, tenant: str) -> None:
        """Create a user who has this role in this tenant.

        All users with a role may create images in the destination as well.
        """
        granted = {tenant: role}
        if role in (_CREDENTIAL, _TRUST):
            granted = {tenant: "member"}
        if role != _NO_ROLE:
            granted = {"destination": "member"} | granted
        self.cloud.create_user(f"{role}-{tenant}", granted)

    def who(self, role: str, tenant: str) -> dict[str, Any]:
        """Return the user or session that requests are made with."""
        name = f"{role}-{tenant}"
        if role == _CREDENTIAL:
            session = self.cloud.application_credential(name, tenant)
        elif role == _TRUST:
            session = self.cloud.trusted(name, tenant, "alice")
        else:
            return {"user": name, "project": tenant}
        return {"session": session}

    def test_every_role_of_every_tenant(self) -> None:
        actual = {
            (role, tenant): self.statuses(role, tenant)
            for role, tenant in self.expected
        }
        self.assertEqual(self.expected, actual)

    def statuses(self, role: str, tenant: str) -> tuple[int, ...]:
        canceled, job_id = self.add_jobs(
            {
                "status": JobStatus.CANCELED,
                "active": None,
                "source_image_id": self.other_image_id,
            },
            {},
        )
        who: Any = self.who(role, tenant)
        replies = (
            self.request("GET", "/jobs", **who),
            self.request("GET", "/jobs?all_tenants=true", **who),
            self.request("GET", f"/jobs/{job_id}", **who),
            # The copy is into the caller's tenant, in the other region.
            self.copy(self.image_id, tenant, **who),
            self.request("DELETE", f"/jobs/{job_id}", **who),
            self.retry(canceled, **who),
        )
        both = {canceled, job_id}
        self.assert_listed(
            replies[0], set() if tenant == "unrelated" else both
        )
        self.assert_listed(replies[1], both)
        self._forget_jobs()
        return tuple(reply.status_code for reply in replies)

    def assert_listed(
        self, reply: requests.Response, expected: set[str]
    ) -> None:
        if reply.status_code == 200:
            self.assertEqual(expected, {job["job_id"] for job in reply.json()})


class TestTokens(api_base.ApiTestCase):
    def assert_unauthorized(self, token: str | None) -> None:
        for method, path in (
            ("GET", ""),
            ("GET", "/jobs"),
            ("POST", "/jobs"),
            ("GET", f"/jobs/{uuidutils.generate_uuid()}"),
            ("DELETE", f"/jobs/{uuidutils.generate_uuid()}"),
            ("POST", f"/jobs/{uuidutils.generate_uuid()}/action"),
        ):
            reply = self.send(
                method,
                path,
                token=token,
                headers={api_base.VERSION: "image-replicator 1.1"},
            )
            self.assert_error(401, reply, "Authentication required.")
            self.assertEqual("X-Auth-Token", reply.headers["Vary"])

    def test_no_token(self) -> None:
        self.assert_unauthorized(None)

    def test_no_token_as_the_reference_page_has_it(self) -> None:
        reply = self.send(headers={"Accept": None})
        self.assertEqual(401, reply.status_code)
        self.assertEqual(
            b"401 Unauthorized\n\nAuthentication required.\n\n", reply.content
        )
        self.assertEqual("44", reply.headers["Content-Length"])
        self.assertEqual(
            "text/plain; charset=UTF-8", reply.headers["Content-Type"]
        )
        self.assertEqual("X-Auth-Token", reply.headers["Vary"])

    def test_token_that_is_none(self) -> None:
        for token in (
            "",
            "x",
            "gAAAAA",
            uuidutils.generate_uuid(dashed=False),
            "\xe9",
            "../users",
            "a" * 2000,
            self.cloud.token()[:-4] + "AAAA",
        ):
            reply = self.send(token=token)
            self.assert_error(401, reply)

    def test_token_that_was_revoked(self) -> None:
        token = self.new_token(project_id=self.cloud.project_id("source"))
        client = self.keystone_client()
        client.delete("/auth/tokens", headers={"X-Subject-Token": token})
        self.assert_unauthorized(token)

    def test_token_that_expires(self) -> None:
        """The token was valid at the last request."""
        token = self.short_lived_token()
        self.assertEqual(200, self.send(token=token).status_code)
        self.wait_until(
            lambda: self.send(token=token).status_code == 401,
            "the token expired",
        )
        self.assert_unauthorized(token)

    def short_lived_token(self) -> str:
        """A token lives no longer than its application credential."""
        now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
        expires_at = now + datetime.timedelta(seconds=3)
        values = {
            "name": uuidutils.generate_uuid(),
            "expires_at": expires_at.isoformat(),
        }
        alice = self.cloud.user("alice")
        made = self.cloud.session().post(
            f"{self.cloud.auth_url}/users/{alice.id}/application_credentials",
            json={"application_credential": values},
        )
        credential = made.json()["application_credential"]
        body = {
            "auth": {
                "identity": {
                    "methods": ["application_credential"],
                    "application_credential": {
                        "id": credential["id"],
                        "secret": credential["secret"],
                    },
                }
            }
        }
        reply = self.cloud.session().post(
            f"{self.cloud.auth_url}/auth/tokens",
            json=body,
            authenticated=False,
        )
        token: str = reply.headers["X-Subject-Token"]
        return token

    def test_forged_identity_is_not_believed(self) -> None:
        headers = {
            "X-Identity-Status": "Confirmed",
            "X-User-Id": self.cloud.user("admin").id,
            "X-Project-Id": self.cloud.project_id("source"),
            "X-Roles": "admin,member,reader",
            "Keystone.Token-Auth": "x",
            "Keystone-Token-Auth": "x",
        }
        self.assert_error(401, self.send(headers=headers))
        alice = self.cloud.token("alice", "source")
        reply = self.send(
            path="/jobs?all_tenants=true", token=alice, headers=headers
        )
        self.assert_error(403, reply)

    def assert_project_needed(self, token: str) -> None:
        for method, path in (
            ("GET", "/jobs"),
            ("GET", "/jobs?all_tenants=true"),
            ("POST", "/jobs"),
        ):
            reply = self.send(method, path, token=token)
            self.assert_error(403, reply, "scoped to a project")

    def test_unscoped_token(self) -> None:
        self.assert_project_needed(self.new_token(unscoped=True))

    def test_system_scoped_token(self) -> None:
        token = self.new_token("admin", system_scope="all")
        self.assert_project_needed(token)

    def test_domain_scoped_token(self) -> None:
        client = self.keystone_client()
        roles = client.get("/roles?name=admin").json()["roles"]
        path = (
            f"/domains/default/users/{self.cloud.user('admin').id}"
            f"/roles/{roles[0]['id']}"
        )
        client.put(path)
        token = self.new_token("admin", domain_id="default")
        self.assert_project_needed(token)


class TestApplicationCredentials(api_base.ApiTestCase):
    """They are restricted to one project."""

    def setUp(self) -> None:
        super().setUp()
        self.image_id = self.cloud.images("ot1").create()["id"]

    def session(self, **kwargs: Any) -> Any:
        return self.cloud.application_credential("alice", "source", **kwargs)

    def test_own_project(self) -> None:
        session = self.session()
        reply = self.copy(self.image_id, "source", session=session)
        self.assertEqual(202, reply.status_code, reply.text)
        job_id = reply.json()["job_id"]
        self.assertEqual([job_id], self.listed(session))
        reply = self.cancel(job_id, session=session)
        self.assertEqual(204, reply.status_code, reply.text)

    def listed(self, session: Any) -> list[str]:
        reply = self.request("GET", "/jobs", session=session)
        return [job["job_id"] for job in reply.json()]

    def test_another_project_is_refused(self) -> None:
        for unrestricted in (False, True):
            reply = self.copy(
                self.image_id, session=self.session(unrestricted=unrestricted)
            )
            self.assert_error(403, reply, "application credential")
        self.assertEqual(0, self.count_jobs())


class TestDestinationTenant(api_base.ApiTestCase):
    """A caller cannot copy into a tenant where its token has no rights."""

    def setUp(self) -> None:
        super().setUp()
        self.image_id = self.cloud.images("ot1").create()["id"]
        self.addCleanup(lambda: self.assertEqual(0, self.count_jobs()))

    def test_tenant_in_which_the_caller_has_no_role(self) -> None:
        tenant = self.new_project(role=None)
        reply = self.copy(self.image_id, tenant)
        self.assert_error(404, reply, self.cloud.project_id(tenant))

    def test_tenant_that_does_not_exist(self) -> None:
        for tenant_id in ("0" * 32, "default", "nosuch"):
            reply = self.copy_to(self.image_id, tenant_id)
            self.assert_error(404, reply, tenant_id)

    def test_name_of_a_tenant_is_not_its_id(self) -> None:
        self.assert_error(404, self.copy_to(self.image_id, "destination"))

    def test_tenant_that_is_disabled(self) -> None:
        tenant = self.new_project()
        project_id = self.cloud.project_id(tenant)
        self.cloud.identity.enable("project", project_id, False)
        self.assert_error(404, self.copy(self.image_id, tenant))

    def test_reader_there(self) -> None:
        tenant = self.new_project(role="reader")
        self.assert_error(403, self.copy(self.image_id, tenant), "roles")

    def test_administrator_without_a_role_there(self) -> None:
        tenant = self.new_project(role=None)
        reply = self.copy(self.image_id, tenant, user="admin", project="admin")
        self.assert_error(404, reply)
