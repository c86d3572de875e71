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

"""The gateway survives readers that are slow or hostile."""

import os
import pathlib
import socket
import ssl
import threading
import time

import fixtures

from devcloud import certificates
from image_replicator.tests.unit import glances
from image_replicator.tests.unit.gateway import base

PATIENCE = 20


class TestServer(base.GatewayTestCase):
    def connect(self, sent: bytes, **options: int) -> socket.socket:
        """Open a connection, and send the begin of a request."""
        connected = socket.create_connection(("127.0.0.1", self.port))
        self.addCleanup(connected.close)
        for name, value in options.items():
            connected.setsockopt(
                socket.SOL_SOCKET, getattr(socket, name), value
            )
        connected.settimeout(20)
        connected.sendall(sent)
        return connected

    def assert_closed(self, connected: socket.socket) -> bytes:
        """Read until the gateway closes a connection; return what it sent."""
        received = b""
        try:
            while chunk := connected.recv(65536):
                received += chunk
        except ConnectionResetError:
            return received
        return received

    def request(self, **headers: str) -> bytes:
        lines = [
            f"GET {base.PATH} HTTP/1.1",
            "Host: gateway",
            f"X-Auth-Token: {base.TOKEN}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode()

    def wait_until_free(self) -> None:
        """Wait until no thread of the gateway answers a request."""
        deadline = time.monotonic() + PATIENCE
        while self.server.watchdog.requests:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)

    def test_a_reader_that_takes_nothing(self) -> None:
        self.start(client_timeout=0.5)
        data = self.add(os.urandom(24 * base.MEBIBYTE))
        slow = self.connect(self.request())
        slow.recv(1)
        self.wait_until_free()
        self.assertEqual(data[:9], self.get("0-8").content)

    def test_one_that_takes_a_few_bytes_now_and_then(self) -> None:
        self.start(client_timeout=1)
        self.add(os.urandom(24 * base.MEBIBYTE))
        slow = self.connect(self.request(), SO_RCVBUF=65536)
        deadline = time.monotonic() + PATIENCE
        while "127.0.0.1 is too slow" not in self.logged.output:
            self.assertLess(time.monotonic(), deadline)
            slow.recv(8192)
            time.sleep(0.05)
        self.wait_until_free()

    def test_a_slow_glance_is_not_the_client_s_fault(self) -> None:
        self.start(client_timeout=0.5)
        data = self.add(os.urandom(base.MEBIBYTE))

        def stall(handler: glances.Handler) -> None:
            handler.answer(200, data[:600_000], {"Content-Length": len(data)})
            handler.wfile.flush()
            time.sleep(2)
            handler.wfile.write(data[600_000:])

        self.glance.on("GET", "file", stall)
        self.assertTrue(data == self.get().content)
        self.assertNotIn("too slow", self.logged.output)

    def test_a_request_that_never_ends(self) -> None:
        self.start(client_timeout=0.5, threads=2, max_requests_per_client=2)
        self.add(b"data")
        stop = threading.Event()
        slow = [self.connect(b"GET /v2/images HTTP/1.1\r\n") for _ in "12"]

        def drip() -> None:
            while not stop.wait(0.1):
                for each in slow:
                    try:
                        each.sendall(b"X-A: b\r\n")
                    except OSError:
                        return

        dripping = threading.Thread(target=drip)
        dripping.start()
        self.addCleanup(dripping.join)
        self.addCleanup(stop.set)
        for each in slow:
            self.assert_closed(each)
        self.assertEqual(b"data", self.get().content)

    def test_headers_that_are_too_large(self) -> None:
        self.start()
        large = self.connect(self.request(X="x" * 100_000))
        self.assertIn(b" 413 ", self.assert_closed(large)[:40])

    def test_one_client_does_not_take_all_threads(self) -> None:
        self.start(client_timeout=5, max_requests_per_client=1)
        self.add(b"data")
        self.connect(b"GET /v2/images HTTP/1.1\r\n")
        deadline = time.monotonic() + 20
        while self.get(path="/healthcheck").status_code != 503:
            self.assertLess(time.monotonic(), deadline)
        self.assertEqual(503, self.get().status_code)

    def test_a_reader_that_goes_away(self) -> None:
        self.start()
        data = self.add(os.urandom(24 * base.MEBIBYTE))
        gone = self.connect(self.request())
        gone.recv(1000)
        gone.close()
        self.assertEqual(data[-9:], self.get(f"{len(data) - 9}-").content)

    def test_garbage(self) -> None:
        self.start()
        self.add(b"data")
        for sent in (b"\x16\x03\x01\x00", b"\r\n\r\n", b"GET\r\n\r\n"):
            self.connect(sent).close()
        self.assertEqual(b"data", self.get().content)

    def test_connections_are_kept(self) -> None:
        self.start()
        self.add(b"data")
        kept = self.connect(self.request(Range="bytes=0-1"))
        for expected in (b"da", b"da"):
            received = b""
            while not received.endswith(expected):
                received += kept.recv(4096)
            self.assertIn(b" 206 ", received)
            kept.sendall(self.request(Range="bytes=0-1"))

    def test_tls(self) -> None:
        directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        authority, pem = certificates.signed(directory)
        self.start(cert_file=pem, key_file=pem)
        self.add(b"data")
        reply = self.get(verify=str(authority))
        self.assertEqual(b"data", reply.content)
        # Older versions of TLS are not spoken.
        context = ssl.create_default_context(cafile=str(authority))
        with (
            socket.create_connection(("127.0.0.1", self.port)) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as safe,
        ):
            self.assertIn(safe.version(), ("TLSv1.2", "TLSv1.3"))
