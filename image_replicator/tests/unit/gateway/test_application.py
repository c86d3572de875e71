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

"""The gateway answers as Glance does, in ranges of one reading."""

import os
import threading
from concurrent import futures

import zstandard

from image_replicator.images import compression
from image_replicator.tests.unit import glances
from image_replicator.tests.unit.gateway import base
from image_replicator.tests.unit.worker import base as worker_base

DATA = bytes(range(256)) * 4096


class TestAnswers(base.GatewayTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.start()

    def test_a_whole_image(self) -> None:
        self.add(DATA)
        reply = self.get()
        self.assertEqual(200, reply.status_code)
        self.assertEqual(DATA, reply.content)
        self.assertEqual(str(len(DATA)), reply.headers["Content-Length"])

    def test_ranges(self) -> None:
        self.add(DATA)
        size = len(DATA)
        for wanted, first, end in (
            ("0-0", 0, 1),
            ("5-99", 5, 100),
            ("5-", 5, size),
            (f"{size - 1}-{size - 1}", size - 1, size),
            (f"1-{size + 999}", 1, size),
        ):
            reply = self.get(wanted)
            self.assertEqual(206, reply.status_code, wanted)
            self.assertEqual(DATA[first:end], reply.content)
            self.assertEqual(
                f"bytes {first}-{end - 1}/{size}",
                reply.headers["Content-Range"],
            )
        self.assertEqual(1, self.readings_made())

    def test_an_image_without_a_byte(self) -> None:
        self.add(b"")
        self.assertEqual((200, b""), self._told(None))
        self.assertEqual(416, self._told("0-0")[0])

    def _told(self, wanted: str | None) -> tuple[int, bytes]:
        reply = self.get(wanted)
        return reply.status_code, reply.content

    def test_ranges_that_are_none(self) -> None:
        self.add(DATA)
        reply = self.get(f"{len(DATA)}-")
        self.assertEqual(416, reply.status_code)
        self.assertEqual(
            f"bytes */{len(DATA)}", reply.headers["Content-Range"]
        )
        for wanted in ("", "-5", "5-4", "0-1,5-6", "a-b", "0x1-2"):
            reply = self.get(wanted)
            self.assertEqual(400, reply.status_code, wanted)
            self.assertIn("The range must be", reply.text)

    def test_what_it_does_not_serve(self) -> None:
        self.add(DATA)
        for path in (
            "/",
            "/v2/images",
            f"/v2/images/{base.IMAGE_ID}",
            "/v2/images/../images/x/file",
            "/v2/images/not-an-id/file",
            f"/v2/images/{base.IMAGE_ID}%2f/file",
        ):
            self.assertEqual(404, self.get(path=path).status_code, path)
        for method in ("PUT", "POST", "DELETE", "HEAD", "PATCH"):
            reply = self.get(method=method)
            self.assertEqual(405, reply.status_code, method)
            self.assertEqual("GET", reply.headers["Allow"])
        self.assertEqual(401, self.get(token=None).status_code)
        self.assertEqual([], self.glance.seen)

    def test_health(self) -> None:
        reply = self.get(path="/healthcheck", token=None)
        self.assertEqual((200, "OK\n"), (reply.status_code, reply.text))

    def test_glance_s_refusals_are_passed_on(self) -> None:
        self.add(DATA)
        for status, told in (
            (401, 401),
            (403, 403),
            (404, 404),
            (409, 409),
            (503, 503),
            (500, 502),
            (302, 502),
            (400, 502),
        ):
            self.glance.on("GET", "file", glances.saying(status))
            reply = self.get("0-9")
            self.assertEqual(told, reply.status_code)
            self.assertEqual(
                f"The image service answered {status}.\n", reply.text
            )

    def test_a_glance_that_does_not_answer(self) -> None:
        self.glance.on("GET", "file", glances.hanging_up)
        self.assertEqual(502, self.get("0-9").status_code)

    def test_the_caller_s_token_is_sent(self) -> None:
        self.add(DATA)
        self.get("0-9")
        (asked,) = self.glance.requests
        self.assertEqual(base.TOKEN, asked.headers["X-Auth-Token"])
        self.assertEqual("identity", asked.headers["Accept-Encoding"])
        self.assertNotIn("Range", asked.headers)


class TestCompression(base.GatewayTestCase):
    def piece(self, data: bytes, asked: bool = True) -> tuple[bytes, int]:
        """Return a piece and the number of bytes that were sent for it."""
        image_id = f"335eef3f-551d-46e1-8781-{len(self.glance.images):012}"
        self.add(data, image_id)
        reply = self.get(
            f"0-{len(data) - 1}",
            path=f"/v2/images/{image_id}/file",
            headers=base.COMPRESSED if asked else {},
        )
        self.assertEqual(206, reply.status_code)
        self.assertEqual(
            f"bytes 0-{len(data) - 1}/{len(data)}",
            reply.headers["Content-Range"],
        )
        sent = len(reply.content)
        if reply.headers.get(compression.HEADER) == compression.ZSTD:
            decompressor = zstandard.ZstdDecompressor()
            with decompressor.stream_reader(
                reply.content, read_across_frames=True
            ) as reader:
                return reader.readall(), sent
        return reply.content, sent

    def test_pieces_that_shrink(self) -> None:
        self.start()
        noise = os.urandom(base.MEBIBYTE)
        for data, part in (
            (bytes(4 * base.MEBIBYTE), 0.001),
            (noise.hex().encode(), 0.6),
            (noise + bytes(base.MEBIBYTE), 0.6),
            (bytes(base.MEBIBYTE) + noise, 0.6),
        ):
            piece, sent = self.piece(data)
            self.assertTrue(data == piece)
            self.assertLess(sent, len(data) * part)

    def test_pieces_that_do_not(self) -> None:
        self.start()
        for data in (os.urandom(base.MEBIBYTE), b"1", os.urandom(7)):
            self.assertEqual((data, len(data)), self.piece(data))

    def test_only_who_asks_for_it(self) -> None:
        self.start()
        data = bytes(base.MEBIBYTE)
        self.assertEqual((data, len(data)), self.piece(data, asked=False))

    def test_an_operator_can_turn_it_off(self) -> None:
        self.start(compress=False)
        data = bytes(base.MEBIBYTE)
        self.assertEqual((data, len(data)), self.piece(data))

    def test_a_large_piece_is_compressed_as_it_comes(self) -> None:
        self.start()
        noise = os.urandom(5 * base.MEBIBYTE)
        for data, most in (
            (bytes(17 * base.MEBIBYTE), 0.001),
            (noise + bytes(5 * base.MEBIBYTE) + noise, 0.7),
            (noise * 3, 1.01),
        ):
            piece, sent = self.piece(data)
            self.assertTrue(data == piece)
            self.assertLess(sent, len(data) * most)


class TestReadings(base.GatewayTestCase):
    """One reading serves many ranges; another one costs no failure."""

    def ask_for_pieces(self, data: bytes, size: int, workers: int) -> None:
        """Read an image in pieces, several at a time, and check it.

        As a worker's, all pieces that are read at once are near each other.
        """

        def ask(first: int) -> bytes:
            reply = self.get(
                f"{first}-{first + size - 1}", headers=base.COMPRESSED
            )
            self.assertEqual(206, reply.status_code, reply.text)
            if compression.HEADER in reply.headers:
                return zstandard.decompress(reply.content)
            return reply.content

        asked: list[futures.Future[bytes]] = []
        with futures.ThreadPoolExecutor(workers) as pool:
            for first in range(0, len(data), size):
                if len(asked) >= workers:
                    asked[-workers].result()
                asked.append(pool.submit(ask, first))
        self.assertTrue(data == b"".join(each.result() for each in asked))

    def test_an_image_larger_than_the_window(self) -> None:
        self.start()
        half = os.urandom(12 * base.MEBIBYTE)
        data = self.add(half + bytes(len(half)) + half[::-1])
        self.ask_for_pieces(data, base.MEBIBYTE, 6)
        self.assertEqual(1, self.readings_made())

    def test_a_range_before_the_window(self) -> None:
        self.start()
        data = self.add(os.urandom(24 * base.MEBIBYTE))
        self.ask_for_pieces(data, base.MEBIBYTE, 2)
        self.assertEqual(data[:100], self.get("0-99").content)
        self.assertEqual(2, self.readings_made())
        # Some bytes before it are kept for requests that come late.
        first = 16 * base.MEBIBYTE
        self.readings.close()
        self.get(f"{first}-{first + 99}")
        reply = self.get(f"{first - base.MEBIBYTE}-{first - 1}")
        self.assertEqual(data[first - base.MEBIBYTE : first], reply.content)
        self.assertEqual(3, self.readings_made())

    def test_a_reading_that_is_lost(self) -> None:
        self.start()
        data = self.add(os.urandom(6 * base.MEBIBYTE))
        broken = iter((2 * base.MEBIBYTE, 4 * base.MEBIBYTE))

        def break_off(handler: glances.Handler) -> None:
            size = next(broken, len(data))
            handler.answer(200, data[:size], {"Content-Length": len(data)})

        self.glance.on("GET", "file", break_off)
        self.assertTrue(data == self.get().content)
        self.assertEqual(3, self.readings_made())

    def test_one_that_is_always_lost(self) -> None:
        self.start()
        data = self.add(os.urandom(2 * base.MEBIBYTE))
        self.glance.on(
            "GET", "file", glances.saying(200, data[:9], Content_Length=99)
        )
        self.assertEqual(502, self.get("50-60").status_code)
        self.assertEqual(3, self.readings_made())

    def test_each_token_has_its_own(self) -> None:
        self.start()
        data = self.add(DATA)
        for token in ("one", "two", "one", "two"):
            self.assertEqual(data[5:10], self.get("5-9", token=token).content)
        self.assertEqual(2, self.readings_made())
        self.assertEqual(
            ["one", "two"],
            [asked.headers["X-Auth-Token"] for asked in self.glance.requests],
        )

    def test_a_token_is_judged_again(self) -> None:
        self.start(token_check_interval=0)
        self.add(DATA)
        self.assertEqual(206, self.get("0-9").status_code)
        self.assertEqual(206, self.get("0-9").status_code)
        self.assertEqual(1, self.glance.count("GET", "image"))
        self.glance.images[base.IMAGE_ID]["status"] = "deactivated"
        self.assertEqual(403, self.get("0-9").status_code)
        del self.glance.images[base.IMAGE_ID]
        self.assertEqual(404, self.get("0-9").status_code)
        self.assertEqual(2, self.readings_made())

    def test_no_more_than_there_is_memory_for(self) -> None:
        self.start(buffer_size=8 * base.MEBIBYTE, idle_timeout=999)
        gate = worker_base.Gate(self)
        self.add(DATA)
        other = base.IMAGE_ID.replace("3", "4")
        self.add(DATA, other)
        path = f"/v2/images/{other}/file"

        def stop_half_way(handler: glances.Handler) -> None:
            handler.answer(200, DATA[:9], {"Content-Length": len(DATA)})
            handler.wfile.flush()
            gate.wait()

        self.glance.on("GET", "file", stop_half_way)
        held = threading.Thread(target=self.get)
        held.start()
        self.addCleanup(held.join)
        self.assertTrue(gate.reached.wait(worker_base.PATIENCE))
        self.glance.on("GET", "file", self.send_whole)
        reply = self.get("0-9", path=path)
        self.assertEqual(503, reply.status_code)
        self.assertEqual("5", reply.headers["Retry-After"])
        gate.open()
        held.join()
        # The first is idle now, and gives way.
        self.assertEqual(206, self.get("0-9", path=path).status_code)

    def test_a_request_that_fails_leaves_nothing_behind(self) -> None:
        self.start()
        self.add(DATA)
        for wanted, status in (("99999999-", 416), ("0-9", 206), ("a-b", 400)):
            self.assertEqual(status, self.get(wanted).status_code)
        self.glance.on("GET", "file", glances.saying(403))
        for token in ("one", "two"):
            self.assertEqual(403, self.get("0-9", token=token).status_code)
        self.assertEqual({}, self.readings._opening)
        for listed in self.readings._open.values():
            for found in listed:
                self.assertTrue(found.is_idle)

    def test_idle_ones_are_ended(self) -> None:
        self.start(idle_timeout=0.1)
        self.add(os.urandom(24 * base.MEBIBYTE))
        self.get("0-9")
        deadline = threading.Event()
        for _each in range(100):
            if not self.readings._open:
                break
            deadline.wait(0.1)
        self.assertEqual({}, self.readings._open)
