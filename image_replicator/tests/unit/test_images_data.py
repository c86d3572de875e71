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

"""Downloads and uploads of an image's data."""

import contextlib
import threading
import time
from collections.abc import Iterator

import fixtures

from image_replicator.images import download
from image_replicator.tests.unit import glances
from image_replicator.tests.unit import test_images_client

ID = test_images_client.ID
MEBIBYTE = bytes(1 << 20)

PATIENCE = 10  # seconds

#: The size of an image whose size is not known.
PART = "bytes 1-2/*"


class Body:
    """A body that can be sent once, and counts its uses."""

    def __init__(self, pieces: int) -> None:
        self.pieces = pieces
        self.begun = 0
        self.sent = 0

    def __len__(self) -> int:
        return self.pieces * len(MEBIBYTE)

    def __iter__(self) -> Iterator[bytes]:
        self.begun += 1
        while self.sent < self.pieces:
            yield MEBIBYTE
            self.sent += 1


class TestUpload(test_images_client.ClientTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.images.create({"id": ID})

    def test_the_bytes_arrive_with_their_number(self) -> None:
        self.images.upload(ID, Body(3))
        self.assertEqual(3 * len(MEBIBYTE), self.images.show(ID)["size"])
        headers = self.glance.requests[1].headers
        self.assertEqual(str(3 * len(MEBIBYTE)), headers["Content-Length"])
        self.assertNotIn("Transfer-Encoding", headers)

    def test_no_bytes_are_a_body_too(self) -> None:
        self.images.upload(ID, b"")
        headers = self.glance.requests[1].headers
        self.assertEqual("0", headers["Content-Length"])
        self.assertEqual("application/octet-stream", headers["Content-Type"])
        self.assertEqual("active", self.images.show(ID)["status"])

    def test_a_body_is_not_sent_twice_when_the_token_is_refused(self) -> None:
        self.glance.on("PUT", "file", glances.saying(401))
        body = Body(2)
        self._assert_fails(
            "destination_unauthorized", self.images.upload, ID, body
        )
        self.assertEqual(1, body.begun)
        self.assertEqual(1, self.glance.count("PUT", "file"))

    def test_other_requests_are_sent_again_with_a_new_token(self) -> None:
        answers = iter([glances.saying(401), self.glance.behave])
        self.glance.on("GET", "image", lambda to: next(answers)(to))
        self.images.show(ID)
        first, second = (
            request.headers["X-Auth-Token"]
            for request in self.glance.requests[1:]
        )
        self.assertNotEqual(first, second)

    def test_a_body_and_a_token_do_not_follow_a_redirect(self) -> None:
        elsewhere = self.useFixture(glances.FakeGlance())
        url = f"{elsewhere.url}/v2/images/{ID}/file"
        for status in (301, 302, 303, 307, 308):
            self.glance.on("PUT", "file", glances.saying(status, Location=url))
            body = Body(1)
            self._assert_fails(
                "destination_not_image_service", self.images.upload, ID, body
            )
            self.assertEqual(1, body.begun)
        self.assertEqual([], elsewhere.seen)

    def test_an_answer_before_the_end_of_the_body_counts(self) -> None:
        def refuse(handler: glances.Handler) -> None:
            handler.answer(415, b"no raw")

        self.glance.on("PUT", "file", refuse)
        body = Body(200)
        error = self._assert_fails(
            "destination_refused", self.images.upload, ID, body
        )
        self.assertIn("no raw", error.message)
        self.assertLess(body.sent, body.pieces)

    def test_a_service_that_takes_no_more(self) -> None:
        done = threading.Event()
        self.addCleanup(done.set)
        self.glance.on("PUT", "file", lambda _handler: done.wait(30))
        images = glances.image_client(self.session, connect=0.2)
        body = Body(200)
        self._assert_fails("destination_unreachable", images.upload, ID, body)
        self.assertEqual(1, body.begun)

    def test_a_service_that_does_not_answer(self) -> None:
        done = threading.Event()
        self.addCleanup(done.set)

        def wait(handler: glances.Handler) -> None:
            handler.body()
            done.wait(30)

        self.glance.on("PUT", "file", wait)
        images = glances.image_client(self.session, upload_response=0.2)
        self._assert_fails(
            "destination_unreachable", images.upload, ID, Body(1)
        )


class TestDownload(test_images_client.ClientTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.glance.add(ID, b"data")

    def test_the_bytes_are_asked_for_as_they_are(self) -> None:
        data = self.images.download(ID, 1, 2)
        self.addCleanup(data.close)
        self.assertEqual(b"at", data.read(100))
        self.assertEqual(b"", data.read(100))
        self.assertEqual((1, 4, True), (data.first, data.total, data.ranged))
        (request,) = self.glance.requests
        self.assertEqual("bytes=1-2", request.headers["Range"])
        self.assertEqual("identity", request.headers["Accept-Encoding"])

    def test_a_store_without_ranges_sends_the_whole(self) -> None:
        for status in (400, 416):

            def refuse_ranges(
                handler: glances.Handler, status: int = status
            ) -> None:
                if "Range" in handler.headers:
                    handler.answer(status)
                else:
                    self.glance.behave(handler)

            self.glance.on("GET", "file", refuse_ranges)
            data = self.images.download(ID, 1, 2)
            self.addCleanup(data.close)
            self.assertEqual(b"data", data.read(100))
            self.assertEqual(
                (0, 4, False), (data.first, data.total, data.ranged)
            )

    def test_anything_but_the_data_is_an_error(self) -> None:
        for status, code in (
            (204, "destination_data_missing"),
            (206, "destination_read_failed"),  # of what?
        ):
            self.glance.on("GET", "file", glances.saying(status))
            self._assert_fails(code, self.images.download, ID, 0, 3)

    def test_data_in_a_compressed_form_is_refused(self) -> None:
        for encoding in ("gzip", "br", "x" * 100):
            answer = glances.saying(200, b"data", Content_Encoding=encoding)
            self.glance.on("GET", "file", answer)
            error = self._assert_fails(
                "destination_encoded", self.images.download, ID, 0, 3
            )
            self.assertIn(f"as {encoding[:20]} although", error.message)
        for encoding in ("identity", "Identity", ""):
            answer = glances.saying(200, b"data", Content_Encoding=encoding)
            self.glance.on("GET", "file", answer)
            with contextlib.closing(self.images.download(ID, 0, 3)) as data:
                self.assertEqual(b"data", data.read(100))

    def test_a_range_that_says_nothing_of_the_size(self) -> None:
        self.glance.on(
            "GET", "file", glances.saying(206, b"at", Content_Range=PART)
        )
        data = self.images.download(ID, 1, 2)
        self.addCleanup(data.close)
        self.assertEqual((1, None), (data.first, data.total))

    def test_a_range_that_cannot_be_understood(self) -> None:
        for extent in ("bytes */4", "bytes x-y/4", "lines 1-2/4", "4"):
            self.glance.on(
                "GET", "file", glances.saying(206, b"at", Content_Range=extent)
            )
            self._assert_fails(
                "destination_read_failed", self.images.download, ID, 1, 2
            )

    def _read_in_pieces(self, brisk: float, encrypted: bool) -> list[bytes]:
        """Return the results of reads of a body that comes in three pieces.

        :param brisk: the seconds within which data counts as fast.
        :param encrypted: whether the connection counts as encrypted.
        """
        begun = threading.Event()

        def send(handler: glances.Handler) -> None:
            handler.send_response(200)
            handler.send_header("Content-Length", "6")
            handler.end_headers()
            handler.wfile.write(b"ab")
            begun.wait(PATIENCE)
            handler.wfile.write(b"cd")
            time.sleep(0.1)
            handler.wfile.write(b"ef")

        self.glance.on("GET", "file", send)
        self.useFixture(
            fixtures.MonkeyPatch(f"{download.__name__}._BRISK", brisk)
        )
        reading = self.images.download(ID, 0, 5)
        self.addCleanup(reading.close)
        self.assertFalse(reading._encrypted)
        reading._encrypted = encrypted
        chunks = [reading.read(6)]
        begun.set()
        while chunks[-1]:
            chunks.append(reading.read(6))
        return chunks

    def test_fast_encrypted_data_is_read_in_whole_chunks(self) -> None:
        chunks = self._read_in_pieces(brisk=PATIENCE, encrypted=True)
        self.assertEqual([b"ab", b"cdef", b""], chunks)

    def test_other_data_is_returned_as_it_arrives(self) -> None:
        for brisk, encrypted in ((0.0, True), (PATIENCE, False)):
            chunks = self._read_in_pieces(brisk, encrypted)
            self.assertEqual([b"ab", b"cd", b"ef", b""], chunks)

    def test_a_body_that_breaks_off(self) -> None:
        self.glance.on(
            "GET", "file", glances.saying(200, b"da", Content_Length=4)
        )
        data = self.images.download(ID, 0, 3)
        self.addCleanup(data.close)
        self.assertEqual(b"da", data.read(100))
        self._assert_fails("destination_read_failed", data.read, 100)

    def test_a_body_that_falls_silent(self) -> None:
        done = threading.Event()
        self.addCleanup(done.set)

        def stall(handler: glances.Handler) -> None:
            handler.answer(200, b"da", {"Content-Length": 4})
            done.wait(30)

        self.glance.on("GET", "file", stall)
        images = glances.image_client(self.session, read=0.1)
        data = images.download(ID, 0, 3)
        self.addCleanup(data.close)
        self.assertEqual(b"da", data.read(100))
        self._assert_fails("destination_read_failed", data.read, 100)

    def test_a_token_does_not_follow_a_redirect(self) -> None:
        elsewhere = self.useFixture(glances.FakeGlance())
        elsewhere.add(ID, b"evil")
        url = f"{elsewhere.url}/v2/images/{ID}/file"
        self.glance.on("GET", "file", glances.saying(302, Location=url))
        self._assert_fails(
            "destination_not_image_service", self.images.download, ID, 0, 3
        )
        self.assertEqual([], elsewhere.seen)
