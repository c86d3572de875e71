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

"""Glance's own API, through the pipeline with the extension."""

import hashlib
import io
import json
import subprocess
from typing import Any

import glanceclient
from oslo_utils import uuidutils

from devcloud import process
from image_replicator.tests.functional.cloud import api_base


class TestGlance(api_base.ApiTestCase):
    def client(self) -> Any:
        return glanceclient.Client(
            "2",
            session=self.cloud.session(),
            endpoint_override=self.cloud.endpoint("ot1"),
        )

    def live(self, client: Any) -> None:
        """Create, use and delete an image with python-glanceclient."""
        data = uuidutils.generate_uuid().encode() * 1000
        name = uuidutils.generate_uuid()
        image_id = client.images.create(
            name=name, disk_format="raw", container_format="bare"
        ).id
        client.images.upload(image_id, io.BytesIO(data))
        image = client.images.get(image_id)
        self.assertEqual("active", image.status)
        self.assertEqual(hashlib.sha512(data).hexdigest(), image.os_hash_value)
        listed = client.images.list(filters={"name": name})
        self.assertEqual([image_id], [image.id for image in listed])
        client.images.update(image_id, name=f"{name}-new", hw_disk_bus="ide")
        self.assertEqual("ide", client.images.get(image_id).hw_disk_bus)
        self.assertEqual(data, b"".join(client.images.data(image_id)))
        client.images.delete(image_id)
        self.assertRaises(
            glanceclient.exc.HTTPNotFound, client.images.get, image_id
        )

    def test_life_of_an_image(self) -> None:
        self.live(self.client())

    def test_many_requests_at_once_to_both(self) -> None:
        client = self.client()
        data = uuidutils.generate_uuid().encode() * 10000
        image_id = self.cloud.images("ot1").create(data)["id"]
        job_id = self.ask_for_copy(image_id)

        def act(number: int) -> None:
            # Only one thread writes, as Glance's SQLite allows no more.
            if number == 0:
                self.live(client)
            elif number % 2:
                self.assertEqual(data, b"".join(client.images.data(image_id)))
            else:
                self.assertEqual(image_id, self.job(job_id)["source_image_id"])

        self.at_once(act)

    def test_command_line_client(self) -> None:
        image = self.cloud.images("ot1").create(name="for the command line")
        alice = self.cloud.user("alice")
        done = subprocess.run(
            [process.script("openstack"), "image", "list", "-f", "json"],
            env=process.environment(
                {
                    "OS_AUTH_URL": self.cloud.auth_url,
                    "OS_IDENTITY_API_VERSION": "3",
                    "OS_USERNAME": alice.name,
                    "OS_PASSWORD": alice.password,
                    "OS_PROJECT_NAME": "source",
                    "OS_USER_DOMAIN_ID": "default",
                    "OS_PROJECT_DOMAIN_ID": "default",
                    "OS_REGION_NAME": "ot1",
                }
            ),
            capture_output=True,
            timeout=60,
            check=True,
        )
        names = {row["ID"]: row["Name"] for row in json.loads(done.stdout)}
        self.assertEqual("for the command line", names[image["id"]])

    def test_documents_of_the_service(self) -> None:
        client = self.cloud.image_client("ot1")
        for path, status, key in (
            ("/versions", 200, "versions"),
            ("/", 300, "versions"),
            ("/v2/schemas/image", 200, "properties"),
            ("/v2/schemas/images", 200, "properties"),
            ("/v2/info/stores", 200, "stores"),
        ):
            reply = client.get(path, raise_exc=False, redirect=False)
            self.assertEqual(status, reply.status_code, path)
            self.assertIn(key, reply.json(), path)

    def test_paths_beside_ours_are_glance_s(self) -> None:
        client = self.cloud.image_client("ot1")
        for path in (
            "/v2/extension",
            "/v2/extensionX",
            "/v2/extension/image_replicatorX/jobs",
            "/v2/extension/other",
        ):
            for accept in ("application/json", "text/plain"):
                reply = client.get(
                    path, headers={"Accept": accept}, raise_exc=False
                )
                self.assertEqual(404, reply.status_code, path)
                self.assertNotIn("There is nothing at this path", reply.text)

    def test_without_a_token_glance_refuses_in_its_own_words(self) -> None:
        client = self.cloud.image_client("ot1")
        reply = client.get("/v2/images", authenticated=False, raise_exc=False)
        self.assertEqual(401, reply.status_code)
        self.assertNotIn("error", reply.text)
