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

"""Requests: authentication, request IDs, failures and the log."""

import json

import fixtures
import sqlalchemy as sa
import webob
from oslo_db import exception as db_exc
from oslo_utils import uuidutils

from image_replicator import context
from image_replicator.api import router
from image_replicator.db import jobs
from image_replicator.db import models
from image_replicator.tests.unit.api import base

_REQUEST_ID = r"\Areq-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z"


class TestAuthentication(base.ApiTestCase):
    def test_no_token_is_unauthorized(self) -> None:
        for path in ("", "/jobs", "/jobs/x", "/nowhere"):
            with self.subTest(path=path):
                caller = {context.TOKEN_AUTH: object()}
                response = self.get(path, caller=caller)
                self.assert_error(401, response, "Authentication required.")
                self.assertEqual("X-Auth-Token", response.headers["Vary"])
        self.assertEqual("", self.logged.output)

    def test_invalid_token_is_unauthorized(self) -> None:
        caller = base.environ() | {"HTTP_X_IDENTITY_STATUS": "Invalid"}
        self.assert_error(401, self.get("/jobs", caller=caller))

    def test_forged_identity_is_unauthorized(self) -> None:
        """A client can send any header, but no other keys of the environ."""
        forged = {
            key: value
            for key, value in base.environ(roles=base.ADMIN).items()
            if key.startswith("HTTP_")
        }
        forged["HTTP_KEYSTONE_TOKEN_AUTH"] = "x"
        forged["HTTP_KEYSTONE.TOKEN_AUTH"] = "x"
        for method, path in (
            ("GET", "/jobs?all_tenants=true"),
            ("POST", "/jobs"),
            ("DELETE", f"/jobs/{self.add_job()}"),
        ):
            with self.subTest(method=method):
                response = self.request(method, path, caller=forged)
                self.assert_error(401, response)
        self.assertIn("No auth_token stands before", self.logged.output)

    def test_token_without_project_is_forbidden(self) -> None:
        caller = base.environ(tenant=None, roles=base.ADMIN)
        caller["HTTP_OPENSTACK_SYSTEM_SCOPE"] = "all"
        for method, path in (
            ("GET", "/jobs"),
            ("GET", "/jobs?all_tenants=true"),
            ("POST", "/jobs"),
        ):
            with self.subTest(method=method, path=path):
                response = self.request(method, path, caller=caller)
                self.assert_error(403, response, "scoped to a project")


class TestRequestId(base.ApiTestCase):
    def test_every_response_has_one_of_its_own(self) -> None:
        seen = set()
        for response in (
            self.get(""),
            self.get("/jobs"),
            self.get("/jobs", caller={}),
            self.get("/nowhere"),
            self.get("/jobs?limit=0"),
            self.get("/jobs", headers={"OpenStack-API-Version": "x"}),
            self.request("PUT", "/jobs"),
            self.post(b"{"),
            self.copy(self.glance.add()["id"]),
            self.request("DELETE", f"/jobs/{self.add_job()}"),
        ):
            request_id = response.headers["X-Openstack-Request-Id"]
            self.assertRegex(request_id, _REQUEST_ID)
            seen.add(request_id)
        self.assertEqual(10, len(seen))

    def test_the_pipelines_request_id_is_kept(self) -> None:
        request_id = f"req-{uuidutils.generate_uuid()}"
        caller = base.environ() | {"openstack.request_id": request_id}
        response = self.get("/jobs", caller=caller)
        self.assertEqual(
            request_id, response.headers["X-Openstack-Request-Id"]
        )

    def test_a_clients_request_id_is_not_used(self) -> None:
        response = self.get(
            "/jobs", headers={"X-Openstack-Request-Id": "req-forged"}
        )
        self.assertNotEqual(
            "req-forged", response.headers["X-Openstack-Request-Id"]
        )

    def test_job_remembers_the_request_that_made_it(self) -> None:
        response = self.copy(self.glance.add()["id"])
        job = self.repository.get(response.json["job_id"])
        self.assertEqual(
            response.headers["X-Openstack-Request-Id"], job.request_id
        )


class TestDatabase(base.ApiTestCase):
    """Each failure of the database is a 503."""

    def assert_unavailable(self) -> None:
        for method, path in (
            ("GET", "/jobs"),
            ("GET", f"/jobs/{uuidutils.generate_uuid()}"),
            ("DELETE", f"/jobs/{uuidutils.generate_uuid()}"),
            ("POST", "/jobs"),
        ):
            body = {
                "image_id": self.glance.add()["id"],
                "tenant_id_dst": base.DESTINATION,
            }
            with self.subTest(method=method, path=path):
                response = self.request(
                    method, path, body=json.dumps(body).encode()
                )
                self.assert_error(503, response, "try again later")
                self.assert_no_secret(response.text, self.logged.output)
                for leak in ("sql", "jobs.sqlite", "127.0.0.1", "Traceback"):
                    self.assertNotIn(leak, response.text.lower())

    def test_server_that_is_down(self) -> None:
        url = "mysql+pymysql://user:pa55word-of-the-service@127.0.0.1:1/jobs"
        self.build(database={"connection": url})
        self.assert_unavailable()
        self.assertIn("does not serve us", self.logged.output)

    def lose_database(self) -> None:
        directory = self.directory / "lost"
        directory.mkdir()
        url = f"sqlite:///{directory}/jobs.sqlite"
        self.build(database={"connection": url})
        directory.rmdir()

    def test_directory_that_went_away(self) -> None:
        self.lose_database()
        self.assert_unavailable()

    def test_file_that_is_no_database(self) -> None:
        (self.directory / "jobs.sqlite").write_bytes(b"no database" * 100)
        self.build()
        self.assert_unavailable()

    def test_schema_that_is_missing(self) -> None:
        models.Base.metadata.drop_all(self.database.engine)
        self.assert_unavailable()

    def test_no_connection_left(self) -> None:
        self.useFixture(
            fixtures.MockPatchObject(
                jobs.JobStore,
                "list",
                side_effect=db_exc.DBError(),
            )
        )
        self.assert_error(503, self.get("/jobs"))

    def test_versions_need_no_database(self) -> None:
        self.lose_database()
        self.assertEqual(200, self.get("").status_int)


class TestFailure(base.ApiTestCase):
    def test_the_answer_has_the_request_id_and_the_log_has_the_trace(
        self,
    ) -> None:
        self.useFixture(
            fixtures.MockPatchObject(
                jobs.JobStore,
                "list",
                side_effect=ZeroDivisionError("in /etc/secret.conf"),
            )
        )
        response = self.get("/jobs")
        request_id = response.headers["X-Openstack-Request-Id"]
        self.assert_error(500, response)
        self.assertEqual(
            f"Request {request_id} failed.", response.json["error"]["message"]
        )
        self.assertIn(request_id, self.logged.output)
        self.assertIn("ZeroDivisionError", self.logged.output)
        self.assert_no_secret(self.logged.output)

    def test_a_glance_that_raises_is_a_failure_of_this_request_alone(
        self,
    ) -> None:
        self.glance.images = None  # type: ignore[assignment]
        image_id = uuidutils.generate_uuid()
        self.assert_error(500, self.copy(image_id))
        self.assertEqual(200, self.get("/jobs").status_int)


class TestOrder(base.ApiTestCase):
    """The policy is checked before the body."""

    def test_without_rights_nothing_is_learned_from_validation(self) -> None:
        caller = base.environ(roles=())
        for method, path, body in (
            ("GET", "/jobs?limit=0", b""),
            ("POST", "/jobs", b"{"),
            ("POST", "/jobs", b" " * 100000),
        ):
            with self.subTest(method=method, path=path):
                response = self.request(method, path, body=body, caller=caller)
                self.assert_error(403, response)

    def test_no_connection_is_opened_before_the_first_request(self) -> None:
        """Glance's server forks after it has loaded the pipeline."""
        opened = []
        sa.event.listen(
            sa.pool.Pool, "connect", lambda *args: opened.append(args)
        )
        self.build(
            database={"connection": f"sqlite:///{self.directory}/new.sqlite"}
        )
        self.assertEqual([], opened)
        self.assertFalse((self.directory / "new.sqlite").exists())
        self.assertEqual(200, self.get("/jobs").status_int)
        self.assertNotEqual([], opened)


class TestScriptName(base.ApiTestCase):
    """The API below a prefix, as behind a proxy that keeps it."""

    def request_below_prefix(self, method: str, path: str) -> webob.Response:
        return self.request(method, path, SCRIPT_NAME="/image")

    def test_links_keep_the_prefix(self) -> None:
        for _ in range(2):
            self.add_job()
        response = self.request_below_prefix("GET", "/jobs?limit=1")
        self.assertTrue(
            response.headers["Link"].startswith(
                f"</image{router.JOBS_PATH}?limit=1&marker="
            ),
            response.headers["Link"],
        )
