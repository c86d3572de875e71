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

"""A proxy that simulates the distance between two regions."""

import asyncio
import errno
import socket
import time
from typing import Any

import testtools

from devcloud import distance
from devcloud import ports
from devcloud import proxy
from image_replicator.tests.unit.devcloud import echo

_PATIENCE = 10  # the timeout of waits, in seconds


class TestBucket(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.now = 100.0
        self.bucket = distance.Bucket(
            rate=1000, slack=0.5, clock=lambda: self.now
        )

    def test_bytes_take_their_time(self) -> None:
        self.assertAlmostEqual(0.25, self.bucket.take(250))
        self.assertAlmostEqual(1.25, self.bucket.take(1000))

    def test_time_that_passed_counts(self) -> None:
        self.bucket.take(1000)
        self.now += 0.75
        self.assertAlmostEqual(0.75, self.bucket.take(500))

    def test_a_late_timer_is_made_up_for(self) -> None:
        self.bucket.take(1000)
        self.now += 1.25
        self.assertAlmostEqual(0.75, self.bucket.take(1000))

    def test_a_long_pause_is_not(self) -> None:
        self.bucket.take(1000)
        self.now += 60
        self.assertAlmostEqual(0.5, self.bucket.take(1000))

    def test_nothing_is_saved_up_before_the_first_byte(self) -> None:
        self.now += 60
        self.assertAlmostEqual(1.0, self.bucket.take(1000))


class TestDelayLine(testtools.TestCase):
    def test_pieces_come_in_order(self) -> None:
        async def pass_through() -> list[bytes]:
            line = distance.DelayLine(0, 100)
            for piece in (b"one", b"two"):
                await line.put(piece)
            await line.end()
            return [await line.get() for _piece in range(3)]

        self.assertEqual([b"one", b"two", b""], asyncio.run(pass_through()))

    def test_a_piece_without_room_waits(self) -> None:
        async def fill() -> tuple[bool, bool]:
            line = distance.DelayLine(0, 4)
            await line.put(b"1234")
            late = asyncio.create_task(line.put(b"5"))
            await asyncio.sleep(0)
            before = late.done()
            await line.forget(await line.get())
            await asyncio.wait_for(late, _PATIENCE)
            return before, late.done()

        self.assertEqual((False, True), asyncio.run(fill()))


class TestDistance(testtools.TestCase):
    """Tests with a short distance, so that they are fast."""

    def setUp(self) -> None:
        super().setUp()
        self.upstream = self.useFixture(echo.Echo())

    def _lay(self, **changes: Any) -> int:
        """Start a proxy before the echo; return its port."""
        shape = distance.Shape(
            **{"round_trip": 0, "connection_rate": 1e9, "link_rate": 1e9}
            | changes
        )
        behaviours = [distance.Distance(shape)]
        relay = proxy.Proxy(self.upstream.port, behaviours=behaviours)
        return self.useFixture(relay).port

    def _converse(self, port: int, words: bytes) -> bytes:
        with socket.create_connection((ports.HOST, port), _PATIENCE) as client:
            client.sendall(words)
            client.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: client.recv(65536), b""))

    def test_it_carries_both_ways_and_their_ends(self) -> None:
        words = bytes(range(256)) * 4000
        self.assertEqual(words, self._converse(self._lay(), words))

    def test_it_carries_with_a_delay(self) -> None:
        port = self._lay(round_trip=0.1)
        begin = time.monotonic()
        self.assertEqual(b"hello", self._converse(port, b"hello"))
        # One round trip is for the connection, one for the answer.
        self.assertGreater(time.monotonic() - begin, 0.2)

    def test_it_keeps_to_the_rate(self) -> None:
        port = self._lay(connection_rate=1e6)
        words = bytes(200_000)
        begin = time.monotonic()
        self.assertEqual(words, self._converse(port, words))
        self.assertGreater(time.monotonic() - begin, 0.1)

    def test_it_cuts(self) -> None:
        port = self._lay(mean_bytes_to_cut=0.001)
        error = self.assertRaises(OSError, self._converse, port, b"hello")
        # The reset may come before the client has shut its side down.
        self.assertIn(error.errno, (errno.ECONNRESET, errno.ENOTCONN))

    def test_an_upstream_that_is_not_there(self) -> None:
        port = self._lay()
        self.upstream.close()
        try:
            self.assertEqual(b"", self._converse(port, b"hello"))
        except OSError:
            # A client that has not read the end yet may see a reset.
            pass

    def test_a_shape_survives_the_command_line(self) -> None:
        shape = distance.Shape(0.08, 1e7, 1e8, 5e6)
        self.assertEqual(shape, distance.Shape.parse(str(shape)))
        self.assertEqual(0.04, shape.delay)
