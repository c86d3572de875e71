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

"""Copies from a store without ranges, through the gateway before it."""

import os
import signal
from typing import Any
from typing import Final

import requests

from devcloud import cloud
from devcloud import gateway
from devcloud import proxy
from image_replicator.images import compression
from image_replicator.tests.functional.cloud import base

#: Some MiB shrink to nothing. The others are more than all buffers between the
#: gateway and a held upload can hold, those of both kernels as well: else the
#: copy would need the gateway no more when it is ended.
DATA: Final = os.urandom(56 << 20) + bytes(8 << 20)

#: Bytes that a worker reads ahead, so that it still reads while it is held.
WINDOW: Final = 4 << 20


class S3Cloud(cloud.Cloud):
    """A cloud whose region ``ot1`` keeps its images in an S3 server."""

    def __init__(self) -> None:
        super().__init__(cloud.Options(s3_regions=("ot1",)))


class GatewayTestCase(base.CloudTestCase):
    """A test with a gateway before a Glance that sends no ranges.

    :ivar gateway: it runs
    :ivar image: in the region ``ot1``
    """

    kind = S3Cloud

    def setUp(self) -> None:
        super().setUp()
        self.gateway = self.new_gateway()
        self.image = self.cloud.images("ot1").create(DATA)

    def new_gateway(self, **options: Any) -> gateway.Gateway:
        new = self.cloud.new_gateway("ot1", **options)
        started = new.start()
        self.addCleanup(started.stop)
        return new

    def start_worker(self, **overrides: Any) -> Any:
        """Start a worker that knows the gateway."""
        overrides = {
            "region:ot1": {"data_endpoint": self.gateway.url},
            **overrides,
        }
        overrides["transfer"] = {
            "max_streams": 8,
            "window_size": WINDOW,
            **overrides.get("transfer", {}),
        }
        return super().start_worker(**overrides)

    def assert_copied(self, job_id: str) -> None:
        """Wait until a job is done, and check each byte of the copy."""
        job = self.wait_for(job_id, "replicated", "error")
        self.assertEqual(
            "replicated", job["status"], self.job_row(job_id).error_message
        )
        images = self.cloud.images("ot2", "alice", "destination")
        # A difference of so many bytes must not be printed.
        self.assertTrue(DATA == images.read(job["destination_image_id"]))

    def downloads(self) -> list[int]:
        """Return the Glance's answers to requests for the data."""
        path = f"/v2/images/{self.image['id']}/file"
        return [
            request.status
            for request in self.cloud.glances["ot1"].server.requests()
            if (request.method, request.path) == ("GET", path)
        ]


class TestGateway(GatewayTestCase):
    def ask(self, *, token: str, **headers: str) -> requests.Response:
        """Ask the gateway for the image's data."""
        return requests.get(
            f"{self.gateway.url}/v2/images/{self.image['id']}/file",
            headers={"X-Auth-Token": token, **headers},
            timeout=base.PATIENCE,
        )

    def test_glance_sends_no_ranges_and_the_gateway_does(self) -> None:
        token = self.cloud.token()
        wanted = {"Range": "bytes=1000-1999"}
        path = f"/v2/images/{self.image['id']}/file"
        reply = requests.get(
            self.cloud.endpoint("ot1") + path,
            headers={"X-Auth-Token": token, **wanted},
            timeout=base.PATIENCE,
        )
        self.assertEqual(400, reply.status_code)
        reply = self.ask(token=token, **wanted)
        self.assertEqual(
            (206, DATA[1000:2000]), (reply.status_code, reply.content)
        )
        last = f"bytes={len(DATA) - (1 << 20)}-"
        reply = self.ask(
            token=token, Range=last, **{compression.HEADER: compression.ZSTD}
        )
        self.assertLess(len(reply.content), 1000)

    def test_glance_judges_every_token(self) -> None:
        self.assertEqual(401, self.ask(token="unknown").status_code)
        self.cloud.create_project("elsewhere")
        self.cloud.create_user("bob", {"elsewhere": "member"})
        bob = self.cloud.token("bob", "elsewhere")
        alice = self.cloud.token()
        self.assertEqual(
            206, self.ask(token=alice, Range="bytes=0-9").status_code
        )
        self.assertEqual(
            404, self.ask(token=bob, Range="bytes=0-9").status_code
        )

    def test_a_copy_reads_the_image_once(self) -> None:
        self.start_worker()
        before = len(self.downloads())
        job_id = self.ask_for_copy(self.image["id"])
        self.assert_copied(job_id)
        self.assertEqual([200], self.downloads()[before:])

    def test_the_catalogue_may_have_it(self) -> None:
        service_id = self.cloud.identity.create_service(
            "gateway", "image-data"
        )
        endpoint_id = self.cloud.identity.create_endpoint(
            service_id, "ot1", "internal", self.gateway.url
        )
        self.addCleanup(self.cloud.identity.delete, "endpoint", endpoint_id)
        super().start_worker(transfer={"max_streams": 8})
        self.assert_copied(self.ask_for_copy(self.image["id"]))
        log = self.gateway.log()
        self.assertIn(f"Reading image {self.image['id']}", log)


class TestFaults(GatewayTestCase):
    """The gateway is ended or halted in the middle of a copy."""

    def setUp(self) -> None:
        super().setUp()
        self.destination = self.relay("ot2")

    def come_to_the_middle(self, **overrides: Any) -> str:
        """Begin a copy whose upload is held half-way."""
        self.destination.hold_after(len(DATA) // 4, proxy.Direction.UPLOAD)
        self.start_worker(**overrides)
        self.before = len(self.downloads())
        job_id = self.ask_for_copy(self.image["id"])
        self.assertTrue(
            self.destination.wait_until_held(direction=proxy.Direction.UPLOAD)
        )
        return job_id

    def test_it_is_killed(self) -> None:
        job_id = self.come_to_the_middle()
        assert self.gateway.process
        self.gateway.process.kill()
        self.destination.release()
        self.assert_copied(job_id)
        self.assertEqual(1, self.job_row(job_id).claim_number)
        # The rest came from Glance itself, which was asked for a range first.
        downloads = self.downloads()[self.before :]
        self.assertEqual({200, 400}, set(downloads))
        self.assertEqual(2, downloads.count(200))

    def test_it_is_started_again(self) -> None:
        job_id = self.come_to_the_middle()
        assert self.gateway.process
        self.gateway.process.kill()
        self.gateway.process.wait()
        self.addCleanup(self.gateway.start().stop)
        self.destination.release()
        self.assert_copied(job_id)
        self.assertEqual(1, self.job_row(job_id).claim_number)
        # The request that its end broke off may be sent twice.
        self.assertIn(self.gateway.log().count("Reading image"), (2, 3))

    def test_it_is_halted(self) -> None:
        job_id = self.come_to_the_middle(transfer={"read_timeout": 1})
        assert self.gateway.process
        self.gateway.process.send_signal(signal.SIGSTOP)
        self.destination.release()
        self.assert_copied(job_id)
        self.assertEqual(1, self.job_row(job_id).claim_number)

    def test_it_is_not_there(self) -> None:
        assert self.gateway.process
        self.gateway.process.stop()
        self.start_worker()
        self.assert_copied(self.ask_for_copy(self.image["id"]))

    def test_it_ends_when_it_is_told_to(self) -> None:
        assert self.gateway.process
        self.gateway.process.terminate()
        self.assertEqual(0, self.gateway.process.wait())
