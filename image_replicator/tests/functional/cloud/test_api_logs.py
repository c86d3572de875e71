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

"""The log of requests has their ids, and no secret."""

import pathlib
from collections.abc import Iterator

import sqlalchemy as sa

from image_replicator.db import models
from image_replicator.tests.functional.cloud import api_base


class TestLogs(api_base.ApiTestCase):
    def test_our_lines_in_glances_log_have_the_request_id(self) -> None:
        image_id = self.cloud.images("ot1").create()["id"]
        reply = self.copy(image_id)
        request_id = reply.headers["X-Openstack-Request-Id"]
        log = self.cloud.glances["ot1"].server.log_path
        lines = log.read_text(errors="replace").splitlines()
        (line,) = (line for line in lines if reply.json()["job_id"] in line)
        self.assertIn(request_id, line)

    def test_glances_own_lines_have_the_request_id(self) -> None:
        """Glance logs an image whose file is missing."""
        image_id = self.cloud.images("ot1").create()["id"]
        directory = self.cloud.glances["ot1"].directory
        (file,) = directory.rglob(image_id)
        file.unlink()
        reply = self.copy(image_id)
        self.assert_error(409, reply, "missing")
        request_id = reply.headers["X-Openstack-Request-Id"]
        log = self.cloud.glances["ot1"].server.log_path
        lines = log.read_text(errors="replace").splitlines()
        about = [
            line
            for line in lines
            if "glance.location" in line and image_id in line
        ]
        self.assertNotEqual([], about)
        for line in about:
            self.assertIn(request_id, line)

    def test_job_remembers_the_request_s_id(self) -> None:
        image_id = self.cloud.images("ot1").create()["id"]
        reply = self.copy(image_id)
        row = self.job_row(reply.json()["job_id"])
        self.assertEqual(
            reply.headers["X-Openstack-Request-Id"], row.request_id
        )


class TestSecrets(api_base.ApiTestCase):
    def test_no_secret_is_logged_or_kept(self) -> None:
        secrets = self.secrets()
        self.make_requests(secrets["token"])
        logs = list(self.logs())
        self.assertNotEqual([], logs)
        for log in logs:
            text = log.read_text(errors="replace")
            for name, secret in secrets.items():
                self.assertNotIn(secret, text, f"{name} in {log}")
        rows = self.rows()
        self.assertIn("secret-keeper", rows)
        for name, secret in secrets.items():
            self.assertNotIn(secret, rows, name)

    def make_requests(self, token: str) -> None:
        """Make requests of each kind, as refused requests are logged."""
        image = self.cloud.images("ot1").create(name="secret-keeper")
        for project in ("source", "destination"):
            reply = self.copy(image["id"], project)
            self.assertEqual(202, reply.status_code, reply.text)
        self.copy(image["id"])
        self.copy_to(image["id"], "nosuch")
        application = self.cloud.application_credential("alice", "source")
        self.copy(image["id"], session=application)
        self.request("GET", "/jobs?limit=0")
        self.request("PUT", "/jobs")
        self.send(token=token)
        self.send(token=token, headers={"OpenStack-API-Version": "x"})
        self.send(token=f"{token[:-4]}AAAA")

    def secrets(self) -> dict[str, str]:
        service = self.cloud.replicator_settings("ot1")["service_auth"]
        return {
            "token": self.new_token(
                project_id=self.cloud.project_id("source")
            ),
            "token of alice": self.cloud.token(),
            "token of admin": self.cloud.token("admin", "admin"),
            "password of alice": self.cloud.user("alice").password,
            "password of admin": self.cloud.user("admin").password,
            "password of the service": str(service["password"]),
        }

    def logs(self) -> Iterator[pathlib.Path]:
        """Return the logs of the workers, and of the Glances with the API."""
        for path in self.cloud.directory.rglob("*.log"):
            if not path.name.startswith("keystone"):
                yield path

    def rows(self) -> str:
        with self.database() as connection:
            rows = connection.execute(sa.select(models.Job.__table__)).all()
        return repr(rows)
