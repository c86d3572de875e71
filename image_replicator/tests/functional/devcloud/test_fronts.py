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

"""nginx and HAProxy before a service, started by the test cloud."""

import http.server
import socket
import threading
from typing import Any

import requests
import testtools

from devcloud import fronts

DATA = bytes(range(256)) * 4096
PATIENCE = 30  # the timeout of waits, in seconds


class _Service(http.server.BaseHTTPRequestHandler):
    """Answers with the number of bytes of the request's body."""

    def log_message(self, *args: Any) -> None:
        """Log nothing."""

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = str(len(body)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *args: Any) -> None:
        """Log nothing, as some connections are cut."""


class FrontTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.server = _Server(("127.0.0.1", 0), _Service)
        threading.Thread(target=self.server.serve_forever).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.session = requests.Session()
        self.session.trust_env = False
        self.addCleanup(self.session.close)

    def _serve(self, front: fronts.Front) -> fronts.Front:
        self.useFixture(front)
        front.connect_to(self.server.server_port)
        return front

    def _put(self, front: fronts.Front) -> requests.Response:
        return self.session.put(
            f"{front.url}/image",
            data=DATA,
            verify=str(front.cafile or True),
            timeout=PATIENCE,
        )

    def _starve(self, front: fronts.Front) -> bytes:
        """Send only a part of an upload; return the answer."""
        address = ("127.0.0.1", front.port)
        with socket.create_connection(address, PATIENCE) as client:
            client.sendall(
                b"PUT /image HTTP/1.1\r\nHost: front\r\n"
                b"Content-Length: 1000\r\n\r\nsome"
            )
            return b"".join(iter(lambda: client.recv(1 << 16), b""))


class TestFront(FrontTestCase):
    def test_an_upload_passes_and_the_connection_is_kept(self) -> None:
        for front in (fronts.Nginx(), fronts.HAProxy()):
            self._serve(front)
            answer = self._put(front)
            self.assertEqual((200, str(len(DATA))), self._seen(answer))
            self.assertNotEqual("close", answer.headers.get("Connection"))

    def test_the_certificate_has_to_be_trusted(self) -> None:
        for front in (fronts.Nginx(tls=True), fronts.HAProxy(tls=True)):
            self._serve(front)
            self.assertEqual(
                (200, str(len(DATA))), self._seen(self._put(front))
            )
            self.assertRaises(
                requests.exceptions.SSLError, requests.get, front.url
            )

    def test_a_service_that_is_away(self) -> None:
        for front, status in ((fronts.Nginx(), 502), (fronts.HAProxy(), 503)):
            self.useFixture(front)
            front.connect_to(1)
            self.assertEqual(status, self._put(front).status_code)

    def test_it_forwards_to_another_port(self) -> None:
        front = fronts.HAProxy()
        self.useFixture(front)
        front.connect_to(1)
        front.connect_to(self.server.server_port)
        self.assertEqual(200, self._put(front).status_code)

    def _seen(self, answer: requests.Response) -> tuple[int, str]:
        return answer.status_code, answer.text


class TestNginx(FrontTestCase):
    def test_an_upload_that_is_too_large(self) -> None:
        front = self._serve(fronts.Nginx({"client_max_body_size": "1000"}))
        answer = self._put(front)
        self.assertEqual(413, answer.status_code)
        self.assertIn("<html>", answer.text)

    def test_an_upload_that_starves_is_cut_off(self) -> None:
        front = self._serve(fronts.Nginx({"client_body_timeout": "1s"}))
        self.assertNotIn(b"200 OK", self._starve(front))
        self.assertIn('"PUT /image HTTP/1.1" 408', front.log())


class TestHAProxy(FrontTestCase):
    def test_an_upload_that_starves_is_cut_off(self) -> None:
        """The time-out for the server's answer ends it."""
        front = self._serve(fronts.HAProxy({"server": "1s"}))
        self.assertIn(b"504 Gateway Time-out", self._starve(front))
