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

"""Keystone and Glance behind TLS with certificates of a private CA.

The servers also require a client's certificate.
"""

import pathlib
import subprocess
from urllib import parse

import fixtures
from testtools import content

from devcloud import certificates
from devcloud import cloud
from devcloud import fronts
from devcloud import process
from devcloud import settings
from image_replicator.tests.functional.cloud import api_base

#: The region whose services are behind TLS.
SECURE = "secure"


class TestPrivateAuthority(api_base.ApiTestCase):
    """The TLS options of ``[service_auth]``, in API, worker and command."""

    options = cloud.Options()

    def setUp(self) -> None:
        super().setUp()
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.authority, self.certificate = certificates.signed(self.directory)
        keystone_port = parse.urlsplit(self.cloud.auth_url).port
        assert keystone_port
        self.keystone = self._front(keystone_port)
        self.source = self._front(self.cloud.glances["ot1"].server.port)
        self.destination = self._front(self.cloud.glances["ot2"].server.port)
        self.route("ot1", self.source)
        self._join()

    def _front(self, upstream_port: int) -> fronts.Nginx:
        """Serve a port of 127.0.0.1 over TLS."""
        front = fronts.Nginx(
            {
                "ssl_certificate": str(self.certificate),
                "ssl_certificate_key": str(self.certificate),
                "ssl_verify_client": "on",
                "ssl_client_certificate": str(self.authority),
            },
            tls=True,
        )
        self.useFixture(front)
        front.connect_to(upstream_port)
        return front

    def _join(self) -> None:
        client = self.keystone_client()
        (service,) = client.get("/services?type=image").json()["services"]
        self.cloud.identity.join_region(SECURE, f"{self.keystone.url}/v3")
        for interface in ("internal", "public"):
            self.cloud.identity.create_endpoint(
                service["id"], SECURE, interface, self.destination.url
            )

    def _service_auth(self, **overrides: object) -> dict[str, object]:
        return {
            "auth_url": f"{self.keystone.url}/v3",
            "region_name": SECURE,
            "cafile": self.authority,
            "certfile": self.certificate,
            "keyfile": self.certificate,
            **overrides,
        }

    def _reconfigure_api(self) -> None:
        section = self._service_auth(valid_interfaces="public")
        glance = self.cloud.glances["ot1"]
        settings.write(
            glance.replicator_config,
            self.cloud.replicator_settings("ot1", {"service_auth": section}),
        )
        glance.stop()
        glance.start()

    def _upgrade_check(self, **overrides: object) -> str:
        """Return the command's result for Keystone."""
        section = self._service_auth(**overrides)
        path = settings.write(
            self.directory / "status.conf",
            self.cloud.replicator_settings("ot1", {"service_auth": section}),
        )
        done = subprocess.run(
            [
                process.script("image-replicator-status"),
                "--config-file",
                str(path),
                "upgrade",
                "check",
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=process.environment(),
        )
        self.addDetail("check", content.text_content(done.stdout))
        return " ".join(done.stdout.partition("Check: Keystone")[2].split())

    def test_with_the_options_and_without(self) -> None:
        """This is one test, as it has a cloud of its own."""
        self.check_a_copy()
        self.check_what_upgrade_check_says()

    def check_a_copy(self) -> None:
        """Check a copy whose requests all go through the fronts."""
        self._reconfigure_api()
        self.start_worker(service_auth=self._service_auth())
        image_id = self.cloud.images("ot1").create(b"secret")["id"]
        reply = self.copy_1_1(image_id, region_id_dst=SECURE)
        self.assertEqual(202, reply.status_code, reply.text)
        job_id = reply.json()["job_id"]
        self.wait_for(job_id, "replicated", "error")
        job = self.job_1_1(job_id)
        self.assertEqual(("replicated", None), (job["status"], job["error"]))
        for front, request in (
            (self.keystone, "POST /v3/auth/tokens"),
            (self.source, f"GET /v2/images/{image_id}/file"),
            (
                self.destination,
                f"PUT /v2/images/{job['destination_image_id']}/file",
            ),
        ):
            self.assertIn(request, front.log())

    def check_what_upgrade_check_says(self) -> None:
        for overrides, words in (
            ({}, "Result: Success"),
            ({"cafile": None}, "certificate verify failed"),
            ({"certfile": None, "keyfile": None}, "400"),
            ({"cafile": None, "insecure": True}, "Result: Success"),
        ):
            self.assertIn(words, self._upgrade_check(**overrides))
