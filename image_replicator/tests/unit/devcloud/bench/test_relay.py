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

"""The benchmark: the link between the regions."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import fixtures
import testtools

from devcloud import ports
from devcloud.bench import bucket
from devcloud.bench import delay
from devcloud.bench import relay
from devcloud.bench import shape

_PATIENCE = 10  # seconds; only ever waited when a test fails


class TestBucket(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.now = 100.0
        self.bucket = bucket.Bucket(
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
            line = delay.DelayLine(0, 100)
            for piece in (b"one", b"two", b""):
                await line.put(piece)
            return [await line.get() for _piece in range(3)]

        self.assertEqual([b"one", b"two", b""], asyncio.run(pass_through()))

    def test_what_has_no_room_waits(self) -> None:
        async def fill() -> tuple[bool, bool]:
            line = delay.DelayLine(0, 4)
            await line.put(b"1234")
            late = asyncio.create_task(line.put(b"5"))
            await asyncio.sleep(0)
            before = late.done()
            await line.forget(await line.get())
            await asyncio.wait_for(late, _PATIENCE)
            return before, late.done()

        self.assertEqual((False, True), asyncio.run(fill()))


class TestRelay(testtools.TestCase):
    """A relay on loopback, that is quick so that nothing waits for it."""

    def setUp(self) -> None:
        super().setUp()
        self.upstream = self.useFixture(_Echo())

    def _serve(self, **changes: Any) -> int:
        """Serve a relay in a thread; return its port."""
        like = shape.Shape(
            **{"round_trip": 0, "connection_rate": 1e9, "link_rate": 1e9}
            | changes
        )
        return self.useFixture(
            _Served(relay.Relay(self.upstream.port, like))
        ).port

    def _converse(self, port: int, words: bytes) -> bytes:
        with socket.create_connection((ports.HOST, port), _PATIENCE) as client:
            client.sendall(words)
            client.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: client.recv(65536), b""))

    def test_it_carries_both_ways_and_their_ends(self) -> None:
        words = bytes(range(256)) * 4000
        self.assertEqual(words, self._converse(self._serve(), words))

    def test_it_carries_with_a_delay(self) -> None:
        port = self._serve(round_trip=0.01)
        self.assertEqual(b"hello", self._converse(port, b"hello"))

    def test_it_cuts(self) -> None:
        port = self._serve(mean_bytes_to_cut=0.001)
        self.assertRaises(OSError, self._converse, port, b"hello")

    def test_an_upstream_that_is_not_there(self) -> None:
        port = self._serve()
        self.upstream.close()
        self.assertRaises(OSError, self._converse, port, b"hello")

    def test_a_shape_survives_the_command_line(self) -> None:
        like = shape.Shape(0.08, 1e7, 1e8, 5e6)
        self.assertEqual(like, shape.Shape.parse(str(like)))
        self.assertEqual(0.04, like.delay)


class _Echo(fixtures.Fixture):
    """A server that sends back what it gets.

    :ivar port: where it listens
    """

    def _setUp(self) -> None:
        self._listener = ports.listen(None, "an echo")
        self.port = ports.number(self._listener)
        self.addCleanup(self.close)
        threading.Thread(target=self._run, daemon=True).start()

    def _connections(self) -> Iterator[socket.socket]:
        while True:
            try:
                yield self._listener.accept()[0]
            except OSError:
                return

    def _run(self) -> None:
        for connection in self._connections():
            # One that is cut is none of its business.
            with connection, contextlib.suppress(ConnectionResetError):
                while piece := connection.recv(65536):
                    connection.sendall(piece)

    def close(self) -> None:
        """Listen no more."""
        # It may have been closed before.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class _Served(fixtures.Fixture):
    """A relay that runs in a thread.

    :ivar port: where it listens
    """

    def __init__(self, relay: Any) -> None:
        super().__init__()
        self._relay = relay

    def _setUp(self) -> None:
        self._listener = ports.listen(None, "a relay")
        self.port = ports.number(self._listener)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.addCleanup(self._stop)

    def _run(self) -> None:
        self._task = self._loop.create_task(self._relay.serve(self._listener))
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            self._loop.close()
            self._listener.close()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(lambda: self._task.cancel())
        self._thread.join(_PATIENCE)
