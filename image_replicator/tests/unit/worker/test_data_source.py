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

"""A copy reads from a gateway while it is up, else from Glance itself."""

import os
import threading
from typing import Any

import zstandard

from image_replicator import exception
from image_replicator import jobs
from image_replicator import nearness
from image_replicator.conf import region
from image_replicator.errors import Side
from image_replicator.images import client
from image_replicator.images import compression
from image_replicator.images import service
from image_replicator.tests.unit import glances
from image_replicator.tests.unit.worker import base
from image_replicator.worker import data_source
from image_replicator.worker import worker

DATA = os.urandom(50_000) + bytes(50_000)
SIZE = len(DATA)


class DataSourceTestCase(base.WorkerTestCase):
    """A test with a gateway before ``ot1``.

    :ivar gateway: the gateway, which stores images as a Glance does
    """

    def setUp(self) -> None:
        super().setUp()
        self.gateway = self.useFixture(glances.FakeGlance())

    def compress(self, handler: glances.Handler) -> None:
        """Answer as the gateway, with a compressed piece."""
        data = self.gateway.images[handler.image_id]["_data"]
        first, last = self.wanted(handler)
        body = zstandard.compress(data[first : last + 1])
        handler.answer(206, body, self.headers(body, first, last, len(data)))

    @staticmethod
    def wanted(handler: glances.Handler) -> tuple[int, int]:
        first, last = handler.headers["Range"].split("=")[1].split("-")
        return int(first), int(last)

    @staticmethod
    def headers(
        body: bytes, first: int, last: int, size: int
    ) -> dict[str, object]:
        return {
            "Content-Length": len(body),
            "Content-Range": f"bytes {first}-{last}/{size}",
            compression.HEADER: compression.ZSTD,
        }


class TestDataSource(DataSourceTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.now = 0.0
        self.new_job(DATA)
        (self.image_id,) = self.source.images
        self.gateway.add(self.image_id, DATA)
        image = nearness.Replica(region_id="ot1", image_id=self.image_id)
        self.data = data_source.DataSource(
            [
                data_source.Place(
                    image, self._client(self.gateway.url), is_gateway=True
                ),
                data_source.Place(image, self._client(None)),
            ],
            len(DATA),
            clock=lambda: self.now,
        )

    def _client(self, url: str | None) -> client.ImageClient:
        catalogue = glances.catalogue_of(self.session)
        return client.ImageClient(
            service.ImageService(
                self.session, "ot1", catalogue, Side.SOURCE, None, url
            ),
            client.Timeouts(connect=5, read=5, upload_response=5),
        )

    def read(self, first: int = 0, last: int = len(DATA) - 1) -> bytes:
        """Read a range, in small chunks."""
        data = self.data.begin(first, last)
        self.addCleanup(data.close)
        self.assertEqual((first, len(DATA)), (data.first, data.total))
        return b"".join(iter(lambda: data.read(1000), b""))

    def asked(self) -> tuple[int, int]:
        """Return the requests for data to the gateway, and to Glance."""
        return (
            self.gateway.count("GET", "file"),
            self.source.count("GET", "file"),
        )

    def test_the_gateway_is_asked(self) -> None:
        self.assertEqual(DATA[5:100], self.read(5, 99))
        self.assertEqual((1, 0), self.asked())
        headers = self.gateway.requests[0].headers
        self.assertEqual("zstd", headers[compression.HEADER])
        self.assertEqual(glances.TOKEN + "-1", headers["X-Auth-Token"])

    def test_compressed_pieces(self) -> None:
        self.gateway.on("GET", "file", self.compress)
        for first, last in ((0, len(DATA) - 1), (7, 7), (49_000, 51_000)):
            self.assertEqual(DATA[first : last + 1], self.read(first, last))
        self.assertEqual((3, 0), self.asked())

    def test_a_piece_of_several_frames(self) -> None:
        def frames(handler: glances.Handler) -> None:
            body = b"".join(
                zstandard.compress(DATA[first : first + 30_000])
                for first in range(0, len(DATA), 30_000)
            )
            last = len(DATA) - 1
            handler.answer(206, body, self.headers(body, 0, last, len(DATA)))

        self.gateway.on("GET", "file", frames)
        self.assertEqual(DATA, self.read())

    def test_one_that_fails_costs_no_failure(self) -> None:
        for answer in (
            glances.saying(503),
            glances.saying(404),
            glances.saying(200, DATA),
            glances.hanging_up,
            glances.saying(206, DATA, Content_Range=f"bytes 1-9/{len(DATA)}"),
            glances.saying(206, DATA, Content_Range="bytes 0-9/9"),
            glances.saying(206, DATA),
        ):
            self.gateway.on("GET", "file", answer)
            self.assertEqual(DATA, self.read())
            self.now += 1000

    def test_it_is_left_alone_for_a_while(self) -> None:
        self.gateway.on("GET", "file", glances.saying(503))
        for _each in range(5):
            self.read()
        self.assertEqual((2, 5), self.asked())
        self.gateway.on("GET", "file", self.gateway.behave)
        self.now = 29.9
        self.read()
        self.now = 30.0
        self.read()
        self.assertEqual((3, 6), self.asked())

    def test_failures_in_a_row_are_counted(self) -> None:
        answers: list[Any] = [glances.saying(503)]
        self.gateway.on(
            "GET",
            "file",
            lambda handler: (
                answers.pop() if answers else self.gateway.behave
            )(handler),
        )
        for _each in range(3):
            self.read()
        answers += [glances.saying(503)]
        for _each in range(3):
            self.read()
        self.assertEqual((6, 2), self.asked())

    def test_what_breaks_at_one_moment_counts_once(self) -> None:
        def part(handler: glances.Handler) -> None:
            first, last = self.wanted(handler)
            headers = self.headers(
                b"x" * (last + 1 - first), first, last, SIZE
            )
            del headers[compression.HEADER]
            handler.answer(206, DATA[first : first + 10], headers)

        self.gateway.on("GET", "file", part)
        begun = [self.data.begin(first, 40_000) for first in range(5)]
        self.now += 1
        for each in begun:
            self.assertRaises(
                exception.TransferError,
                lambda each=each: b"".join(iter(lambda: each.read(1000), b"")),
            )
            each.close()
        self.gateway.on("GET", "file", self.gateway.behave)
        self.read()
        self.assertEqual((6, 0), self.asked())

    def test_data_that_breaks_off_is_counted(self) -> None:
        self.gateway.on(
            "GET",
            "file",
            glances.saying(
                206,
                b"",
                Content_Length=100,
                Content_Range=f"bytes 0-99/{len(DATA)}",
            ),
        )
        for _each in range(2):
            self.assertRaises(exception.TransferError, self.read, 0, 99)
        self.assertEqual(DATA[:100], self.read(0, 99))

    def _assert_refused(self, body: bytes) -> None:
        """Check that a body, as a piece of 100 bytes, is refused."""
        self.gateway.on(
            "GET",
            "file",
            lambda handler: handler.answer(
                206, body, self.headers(body, 0, 99, len(DATA))
            ),
        )
        self.now += 1000
        for _each in range(2):
            error = self.assertRaises(
                exception.TransferError, self.read, 0, 99
            )
            self.assertEqual("source_read_failed", error.code.word)
        self.assertEqual(DATA[:100], self.read(0, 99))

    def test_a_compressed_piece_that_is_none(self) -> None:
        whole = zstandard.compress(DATA[:100])
        self._assert_refused(b"not compressed at all")
        flipped = bytearray(
            zstandard.ZstdCompressor(write_checksum=True).compress(DATA[:100])
        )
        flipped[-1] ^= 1
        self._assert_refused(bytes(flipped))
        # A piece that is too long is refused before it fills the memory.
        self._assert_refused(zstandard.compress(bytes(1 << 28)))
        self.assertNotEqual(b"", whole)


class TestCopies(DataSourceTestCase):
    """Copies of a worker that knows the gateway."""

    def setUp(self) -> None:
        super().setUp()
        self.conf.register_opts(region.OPTS, group="region:ot1")
        self.conf.set_override("data_endpoint", self.gateway.url, "region:ot1")
        self.set_attempts(3)
        self.worker = worker.Worker(self.conf, self.stores, self.session)
        thread = threading.Thread(target=self.worker.run)
        thread.start()
        self.addCleanup(thread.join, base.PATIENCE)
        self.addCleanup(self.worker.stop_now)

    def set_attempts(self, most: int) -> None:
        for name, value in (("max_attempts", most), ("retry_delay", 0.01)):
            self.conf.set_override(name, value, "worker")

    def copy(self) -> jobs.Job:
        """Copy an image that the gateway has as well."""
        job_id = self.new_job(DATA)
        self.gateway.images |= {
            image_id: dict(image)
            for image_id, image in self.source.images.items()
        }
        return self.wait_for(job_id, "replicated", "error")

    def test_the_bytes_come_from_the_gateway(self) -> None:
        self.gateway.on("GET", "file", self.compress)
        self.assertEqual("replicated", self.copy().status)
        self.assertEqual(0, self.source.count("GET", "file"))

    def test_one_that_is_away(self) -> None:
        self.gateway.on("GET", "file", glances.hanging_up)
        self.assertEqual("replicated", self.copy().status)

    def test_one_that_lies_is_found_and_left_out(self) -> None:
        def lie(handler: glances.Handler) -> None:
            image = self.gateway.images[handler.image_id]
            image["_data"] = bytes([DATA[0] ^ 1]) + DATA[1:]
            self.compress(handler)

        self.gateway.on("GET", "file", lie)
        job = self.copy()
        self.assertEqual("replicated", job.status)
        self.assertEqual(2, job.attempts)
        assert job.destination_image_id
        self.assertEqual(
            DATA, self.destination.images[job.destination_image_id]["_data"]
        )
