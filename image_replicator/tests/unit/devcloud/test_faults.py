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

"""A proxy that applies faults to HTTP requests."""

import http.client
import http.server
import json
import threading
from typing import Any

import testtools

from devcloud import faults
from devcloud import proxy

DATA = bytes(range(256)) * 4096
PATIENCE = 30  # the timeout of waits, in seconds
ALWAYS = 1.0


class _Service(http.server.BaseHTTPRequestHandler):
    """Keeps connections, and answers with the bytes that it got."""

    protocol_version = "HTTP/1.1"
    taken: list[bytes]

    def log_message(self, *args: Any) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        if self.path == "/chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for chunk in (DATA[:1000], DATA[1000:], b""):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            return
        asked = self.headers.get("Range", f"bytes=0-{len(DATA) - 1}")
        first, last = asked.removeprefix("bytes=").split("-")
        self._answer(206, DATA[int(first) : int(last) + 1])

    def do_PUT(self) -> None:
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) == length:
            self.taken.append(body)
        self._answer(200, json.dumps(len(body)).encode())

    def do_POST(self) -> None:
        # The answer is early, with the body unread.
        self.close_connection = True
        self._answer(413, b"too much")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *args: Any) -> None:
        """Log nothing, as the tests break its connections."""


class TestFaults(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.taken: list[bytes] = []
        handler = type("Service", (_Service,), {"taken": self.taken})
        server = _Server(("127.0.0.1", 0), handler)
        self.addCleanup(server.server_close)
        threading.Thread(
            target=server.serve_forever, args=[0.01], daemon=True
        ).start()
        self.addCleanup(server.shutdown)
        self.harm = faults.Faults(seed=1, stall=0.1, slow=0.1)
        self.relay = self.useFixture(proxy.Proxy(behaviours=[self.harm]))
        self.relay.connect_to(server.server_port)
        self.client = self._connect()

    def _connect(self) -> http.client.HTTPConnection:
        client = http.client.HTTPConnection(
            "127.0.0.1", self.relay.port, timeout=PATIENCE
        )
        self.addCleanup(client.close)
        return client

    def _ask(
        self,
        method: str = "GET",
        path: str = "/file",
        body: bytes | None = None,
        **headers: str,
    ) -> tuple[int, bytes]:
        self.client.request(method, path, body, headers)
        answer = self.client.getresponse()
        return answer.status, answer.read()

    def _harm(self, fault: faults.Fault) -> None:
        self.harm.odds = {fault: ALWAYS}

    def _assert_once(self, fault: faults.Fault) -> None:
        self.assertEqual({fault: 1}, self.harm.counts)

    def test_it_carries_whatever_comes(self) -> None:
        self.client.connect()
        first = self.client.sock
        for _ in range(2):
            self.assertEqual((206, DATA), self._ask())
            self.assertEqual((206, DATA[5:10]), self._ask(Range="bytes=5-9"))
            self.assertEqual((200, DATA), self._ask(path="/chunked"))
            answer = self._ask("PUT", body=DATA)
            self.assertEqual((200, b"%d" % len(DATA)), answer)
        self.assertEqual([DATA] * 2, self.taken)
        self.assertIs(first, self.client.sock)
        self.assertEqual({}, self.harm.counts)
        self.assertEqual(8, self.harm.requests)

    def test_it_carries_an_early_answer(self) -> None:
        answer = self._ask("POST", body=DATA)
        self.assertEqual((413, b"too much"), answer)

    def test_refuse(self) -> None:
        self._harm(faults.Fault.REFUSE)
        seen = {self._ask("PUT", body=DATA)[0] for _ in range(50)}
        self.assertEqual(set(faults.STATUSES), seen)
        self.assertEqual([], self.taken)

    def test_an_answer_is_cut_or_stalled(self) -> None:
        for fault in (faults.Fault.CUT_ANSWER, faults.Fault.STALL_ANSWER):
            self._harm(fault)
            for _ in range(5):
                self.client = self._connect()
                self.assertRaises(
                    (http.client.HTTPException, OSError), self._ask
                )
            self.assertEqual(5, self.harm.counts[fault])

    def test_an_answer_without_a_body_is_cut(self) -> None:
        self._harm(faults.Fault.CUT_ANSWER)
        for _ in range(5):
            self.client = self._connect()
            self.assertRaises(
                (http.client.HTTPException, OSError), self._ask, "PUT"
            )

    def test_a_request_is_cut_or_stalled(self) -> None:
        for fault in (faults.Fault.CUT_REQUEST, faults.Fault.STALL_REQUEST):
            self._harm(fault)
            for _ in range(5):
                self.client = self._connect()
                self.assertRaises(
                    (http.client.HTTPException, OSError),
                    self._ask,
                    "PUT",
                    body=DATA,
                )
        self.assertEqual([], self.taken)

    def test_an_upload_is_shortened(self) -> None:
        self._harm(faults.Fault.SHORTEN_UPLOAD)
        status, length = self._ask("PUT", body=DATA)
        self.assertEqual(200, status)
        self.assertLess(int(length), len(DATA))
        self.assertEqual(DATA[: int(length)], self.taken[0])
        self._assert_once(faults.Fault.SHORTEN_UPLOAD)

    def test_an_answer_is_shortened(self) -> None:
        self._harm(faults.Fault.SHORTEN_ANSWER)
        for _ in range(2):
            status, data = self._ask()
            self.assertEqual(206, status)
            self.assertLess(len(data), len(DATA))
            self.assertTrue(DATA.startswith(data))

    def test_a_bit_is_flipped(self) -> None:
        self._harm(faults.Fault.FLIP_DOWNLOAD)
        _status, data = self._ask()
        self._assert_one_bit(data)
        self._harm(faults.Fault.FLIP_UPLOAD)
        self._ask("PUT", body=DATA)
        self._assert_one_bit(self.taken[0])

    def _assert_one_bit(self, data: bytes) -> None:
        self.assertEqual(len(DATA), len(data))
        changed = [a ^ b for a, b in zip(DATA, data, strict=True) if a != b]
        self.assertEqual(1, len(changed))
        self.assertEqual(1, changed[0].bit_count())

    def test_slowed_messages_are_complete(self) -> None:
        self._harm(faults.Fault.SLOW_ANSWER)
        self.assertEqual((206, DATA), self._ask())
        self._assert_once(faults.Fault.SLOW_ANSWER)
        self._harm(faults.Fault.SLOW_REQUEST)
        self._ask("PUT", body=DATA)
        self.assertEqual([DATA], self.taken)

    def test_only_data_is_changed(self) -> None:
        self.harm.odds = {faults.Fault.FLIP_UPLOAD: ALWAYS}
        self._ask("PUT", "/v2/images", body=DATA)
        self.assertEqual([DATA], self.taken)
        self.assertEqual({}, self.harm.counts)

    def test_the_seed_gives_the_sequence(self) -> None:
        drawn = []
        for seed in (7, 7, 8):
            harm = faults.Faults(seed)
            harm.odds = {faults.Fault.REFUSE: 0.5}
            relay = self.useFixture(proxy.Proxy(behaviours=[harm]))
            relay.connect_to(self.relay.port)
            client = http.client.HTTPConnection("127.0.0.1", relay.port)
            self.addCleanup(client.close)
            statuses = []
            for _ in range(20):
                client.request("GET", "/file")
                answer = client.getresponse()
                answer.read()
                statuses.append(answer.status)
            drawn.append(statuses)
        self.assertEqual(drawn[0], drawn[1])
        self.assertNotEqual(drawn[0], drawn[2])
