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

"""The API as a service of its own, beside an unchanged Glance."""

import pathlib
import shutil
from typing import Any

import requests
from oslo_utils import uuidutils

import image_replicator
from devcloud import process
from devcloud import settings
from devcloud import uwsgi
from image_replicator import policy
from image_replicator.tests.functional.cloud import api_base

_PASTE = "image-replicator-paste.ini"
_SHIPPED = (
    pathlib.Path(image_replicator.__file__)
    .parents[1]
    .joinpath("etc", "image-replicator", _PASTE)
)


class TestStandAlone(api_base.ApiTestCase):
    def setUp(self) -> None:
        super().setUp()
        # It is inside the cloud's, so that its logs are searched for secrets.
        self.directory = self.cloud.directory / uuidutils.generate_uuid()
        self.directory.mkdir()
        self.configure()
        self.server = uwsgi.Server(
            "standalone", "image_replicator.wsgi:application", None
        )
        self.addCleanup(self.server.close)
        supervisor = self.useFixture(
            process.Supervisor(self.directory, keep_directory=False)
        )
        self.server.start(
            supervisor,
            {"OS_IMAGE_REPLICATOR_CONFIG_DIR": str(self.directory)},
        )

    def configure(self) -> None:
        config = settings.merge(self.cloud.replicator_settings("ot1"))
        credentials = dict(config["service_auth"])
        del credentials["valid_interfaces"]
        config["keystone_authtoken"] = credentials
        # This operator allows readers to copy.
        (self.directory / "policy.yaml").write_text(
            f'"{policy.CREATE}": "role:reader"\n"{policy.CANCEL}": "!"\n'
        )
        config["oslo_policy"] = {"policy_file": "policy.yaml"}
        settings.write(self.directory / "image-replicator.conf", config)
        shutil.copy(_SHIPPED, self.directory / _PASTE)

    def ask(
        self, method: str, path: str, user: str = "alice", **kwargs: Any
    ) -> requests.Response:
        token = self.cloud.token(user, "source")
        return self.send(
            method, path, token=token, url=self.server.url, **kwargs
        )

    def ask_copy(self, image_id: str, user: str) -> requests.Response:
        body = {
            "image_id": image_id,
            "tenant_id_dst": self.cloud.project_id("source"),
        }
        return self.ask("POST", "/jobs", user, json=body)

    def test_every_operation(self) -> None:
        """This is one test, as the server takes some time to start."""
        self.check_refusals()
        image_id = self.cloud.images("ot1").create(name="cirros")["id"]
        body = {
            "image_id": image_id,
            "tenant_id_dst": self.cloud.project_id("destination"),
        }
        reply = self.ask("POST", "/jobs", json=body)
        self.assertEqual(202, reply.status_code, reply.text)
        job_id = reply.json()["job_id"]
        job = self.ask("GET", f"/jobs/{job_id}").json()
        self.assertEqual("cirros", job["source_image_name"])
        self.assertEqual("ot2", job["destination_region_id"])
        # The API inside Glance shows the same.
        self.assertEqual(self.job(job_id), job)
        self.assertEqual([job], self.ask("GET", "/jobs").json())
        self.assertEqual(200, self.ask("GET", "").status_code)
        self.check_policy(job_id)
        self.check_source_images()

    def check_refusals(self) -> None:
        for token in (None, "x"):
            reply = self.send(url=self.server.url, token=token)
            self.assert_error(401, reply, "Authentication required.")
        for path in ("/nowhere", "/jobs/%ff%fe", "/jobs/%00"):
            self.assert_error(404, self.ask("GET", path))
        reply = self.ask("POST", "/jobs", data=b"{")
        self.assert_error(400, reply, "not JSON")

    def check_policy(self, job_id: str) -> None:
        """Check that the operator's policy file applies to this API only."""
        reply = self.ask("DELETE", f"/jobs/{job_id}")
        self.assert_error(403, reply)
        self.assertEqual(204, self.cancel(job_id).status_code)

    def check_source_images(self) -> None:
        """Check that Glance is asked over HTTP, as the caller."""
        images = self.cloud.images("ot1", "alice", "destination")
        private = images.create()["id"]
        for image_id in (private, uuidutils.generate_uuid()):
            reply = self.ask_copy(image_id, "alice")
            self.assert_error(404, reply, image_id)
        queued = self.cloud.images("ot1").create(None)["id"]
        self.assert_error(409, self.ask_copy(queued, "alice"), "queued")
        empty = self.cloud.images("ot1").create(b"")["id"]
        self.assertEqual(202, self.ask_copy(empty, "alice").status_code)
