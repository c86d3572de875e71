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

"""A proxy that holds, slows, refuses and cuts connections."""

import contextlib
import socket
import threading
import time

import testtools

from devcloud import ports
from devcloud import proxy
from image_replicator.tests.unit.devcloud import echo

_PATIENCE = 10  # the timeout of waits, in seconds
WORDS = bytes(range(256)) * 1000
DOWNLOAD = proxy.Direction.DOWNLOAD
UPLOAD = proxy.Direction.UPLOAD


class TestProxy(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.upstream = self.useFixture(echo.Echo())
        self.relay = self.useFixture(proxy.Proxy(self.upstream.port))

    def _connect(self) -> socket.socket:
        address = (ports.HOST, self.relay.port)
        client = socket.create_connection(address, _PATIENCE)
        self.addCleanup(client.close)
        return client

    def _send(self, client: socket.socket, words: bytes = WORDS) -> None:
        """Send in a thread, as the echo may be held."""

        def send() -> None:
            # The test may cut the connection.
            with contextlib.suppress(OSError):
                client.sendall(words)
                client.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=send)
        thread.start()
        self.addCleanup(thread.join)

    def _rest(self, client: socket.socket) -> bytes:
        return b"".join(iter(lambda: client.recv(65536), b""))

    def test_it_carries_both_ways_and_their_ends(self) -> None:
        client = self._connect()
        self._send(client)
        self.assertEqual(WORDS, self._rest(client))
        self.assertTrue(self.relay.wait_for_bytes(len(WORDS), UPLOAD))
        self.assertEqual(2 * len(WORDS), self.relay.bytes_passed)

    def test_it_holds_each_connection_after_so_many_bytes(self) -> None:
        self.relay.hold_after(1000)
        clients = [self._connect(), self._connect()]
        for client in clients:
            self._send(client)
        self.assertTrue(self.relay.wait_until_held(2))
        self.assertEqual(2000, self.relay.passed(DOWNLOAD))
        self.relay.release()
        for client in clients:
            self.assertEqual(WORDS, self._rest(client))

    def test_it_holds_one_direction(self) -> None:
        self.relay.pause(UPLOAD)
        client = self._connect()
        self._send(client)
        self.assertTrue(self.relay.wait_until_held(direction=UPLOAD))
        self.assertFalse(self.relay.wait_until_held(timeout=0.01))
        self.assertEqual(0, self.relay.bytes_passed)
        self.relay.release(UPLOAD)
        self.assertEqual(WORDS, self._rest(client))

    def test_a_connection_held_too_long_is_cut(self) -> None:
        self.relay = self.useFixture(proxy.Proxy(self.upstream.port, 0.05))
        self.relay.pause()
        client = self._connect()
        client.sendall(b"hello")
        self._assert_cut(client)

    def test_it_slows(self) -> None:
        self.relay.throttle(1e6, DOWNLOAD)
        client = self._connect()
        begin = time.monotonic()
        self._send(client)
        self.assertEqual(WORDS, self._rest(client))
        self.assertGreater(time.monotonic() - begin, 0.1)

    def test_it_runs_again_at_once(self) -> None:
        self.relay.throttle(1.0)
        client = self._connect()
        self._send(client)
        self.assertTrue(self.relay.wait_for_bytes(1, UPLOAD))
        self.relay.throttle(None)
        self.assertEqual(WORDS, self._rest(client))

    def test_it_cuts(self) -> None:
        self.relay.pause()
        client = self._connect()
        client.sendall(b"hello")
        self.assertTrue(self.relay.wait_until_held(direction=UPLOAD))
        self.assertEqual(1, self.relay.connections)
        self.assertEqual(1, self.relay.cut())
        self._assert_cut(client)
        self.relay.release()
        again = self._connect()
        self._send(again)
        self.assertEqual(WORDS, self._rest(again))

    def test_it_refuses_until_it_is_told_otherwise(self) -> None:
        self.relay.refuse()
        self._assert_cut(self._connect())
        self.relay.refuse(False)
        client = self._connect()
        self._send(client)
        self.assertEqual(WORDS, self._rest(client))

    def test_a_proxy_that_leads_nowhere(self) -> None:
        self.relay = self.useFixture(proxy.Proxy())
        self._assert_cut(self._connect())

    def _assert_cut(self, client: socket.socket) -> None:
        with contextlib.suppress(ConnectionResetError):
            self.assertEqual(b"", client.recv(1))
