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

"""Bad input through a real server gets no 500 and creates no job."""

import json
import re
import socket
from urllib import parse

from oslo_utils import uuidutils

from devcloud import cloud
from image_replicator.tests.functional.cloud import api_base

_JOBS = f"{cloud.BASE_PATH}/jobs"


class TestBadInput(api_base.ApiTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.token = self.cloud.token()
        self.image_id = self.cloud.images("ot1").create()["id"]
        self.log = self.cloud.glances["ot1"].server.log_path
        self.logged = self.log.stat().st_size
        self.addCleanup(self.assert_nothing_happened)

    def assert_nothing_happened(self) -> None:
        self.assertEqual(0, self.count_jobs())
        with self.log.open("rb") as log:
            log.seek(self.logged)
            self.assertNotIn(b"Traceback", log.read())

    def exchange(
        self, method: str, target: str, headers: str = "", body: bytes = b""
    ) -> int:
        """Send raw bytes; return the status of the answer.

        :param target: path and query as they are sent, in Latin-1
        :returns: 0 if the server closes the connection without an answer
        """
        head = (
            f"{method} {target} HTTP/1.1\r\n"
            "Host: 127.0.0.1\r\n"
            "Accept: application/json\r\n"
            f"X-Auth-Token: {self.token}\r\n"
            f"{headers}"
            "\r\n"
        )
        address = parse.urlsplit(self.cloud.endpoint("ot1"))
        assert address.hostname
        assert address.port
        with socket.create_connection(
            (address.hostname, address.port), timeout=30
        ) as connection:
            try:
                connection.sendall(head.encode("latin-1") + body)
                connection.shutdown(socket.SHUT_WR)
                with connection.makefile("rb") as answer:
                    first_line = answer.readline()
            except TimeoutError:
                raise
            except OSError:
                return 0
        found = re.match(rb"HTTP/1\.[01] (\d{3}) ", first_line)
        return int(found[1]) if found else 0

    def valid_body(self) -> bytes:
        return json.dumps(
            {
                "image_id": self.image_id,
                "tenant_id_dst": self.cloud.project_id("destination"),
            }
        ).encode()

    def test_paths(self) -> None:
        # A path that is not UTF-8 does not reach us, as it makes Glance's own
        # version negotiation fail.
        for target in (
            f"{_JOBS}/",
            f"{_JOBS}//",
            f"{_JOBS}/%00",
            f"{_JOBS}/a%2fb",
            f"{_JOBS}/%2e%2e",
            f"{_JOBS}/..%2f..%2fimages",
            f"{_JOBS}/" + "x" * 1000,
            f"{_JOBS}/{uuidutils.generate_uuid()}/action",
            f"{cloud.BASE_PATH}/",
            f"{cloud.BASE_PATH}/nowhere",
        ):
            self.assertEqual(404, self.exchange("GET", target), target)

    def test_path_of_8_kib_is_no_failure(self) -> None:
        """uWSGI closes the connection after 4 KiB of headers."""
        status = self.exchange("GET", f"{_JOBS}/" + "x" * 8192)
        self.assertIn(status, (0, 404, 414, 431))

    def test_queries(self) -> None:
        for query in (
            "limit=0",
            "limit=-1",
            "limit=1.5",
            "limit=" + "0" * 1000 + "1",
            "limit=1&limit=1",
            "limit=%00",
            "limit=%ff",
            "limit=\xff",
            "%ff=1",
            "nothing=1",
            "sort_key=x%00",
            "marker=%00",
            f"marker={uuidutils.generate_uuid()}",
            "status=%ed%a0%80",
            "source_image_name=%00",
            "source_image_name=" + "x" * 1000,
            "all_tenants=maybe",
        ):
            status = self.exchange("GET", f"{_JOBS}?{query}")
            self.assertEqual(400, status, query)

    def test_methods(self) -> None:
        job = f"{_JOBS}/{uuidutils.generate_uuid()}"
        # Glance's CORS filter answers OPTIONS itself.
        for method in ("HEAD", "PUT", "PATCH", "BREW"):
            for target in (cloud.BASE_PATH, _JOBS, job):
                self.assertEqual(
                    405, self.exchange(method, target), f"{method} {target}"
                )

    def test_versions(self) -> None:
        for version, status in (
            ("image-replicator 9.9", 406),
            ("image-replicator one", 400),
            ("compute 2.1", 200),
        ):
            headers = f"OpenStack-API-Version: {version}\r\n"
            self.assertEqual(
                status, self.exchange("GET", _JOBS, headers), version
            )

    def test_bodies(self) -> None:
        for body in (
            b"",
            b"{",
            b"null",
            b"[]",
            b"NaN",
            b"\x00\xff",
            b"[" * 20000,
            b'{"image_id": "\\ud800", "tenant_id_dst": "\\ud800"}',
            b'{"\\ud800": 1}',
            self.valid_body()[:-1] + b', "x": 1}',
        ):
            headers = f"Content-Length: {len(body)}\r\n"
            status = self.exchange("POST", _JOBS, headers, body)
            self.assertEqual(400, status, repr(body[:40]))

    def test_body_larger_than_the_limit(self) -> None:
        body = b" " * (64 * 1024 + 1)
        reply = self.request("POST", "/jobs", data=body)
        self.assert_error(413, reply, "65536")

    def test_length_that_is_not_the_body_s(self) -> None:
        body = self.valid_body()
        for length in (len(body) - 1, len(body) + 1, -1, "abc", "", "9" * 40):
            headers = f"Content-Length: {length}\r\n"
            status = self.exchange("POST", _JOBS, headers, body)
            self.assertIn(status, (0, 400, 413), f"{length}")

    def exchange_chunks(self, *chunks: bytes, end: bytes = b"0") -> int:
        """Send a body in chunks; return the status of the answer."""
        body = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in chunks)
        headers = "Transfer-Encoding: chunked\r\n"
        return self.exchange("POST", _JOBS, headers, body + end + b"\r\n\r\n")

    def test_body_in_chunks(self) -> None:
        piece = b" " * 16 * 1024
        self.assertEqual(400, self.exchange_chunks(b"{"))
        self.assertEqual(400, self.exchange_chunks(*[piece] * 4))
        self.assertEqual(413, self.exchange_chunks(*[piece] * 4, b" "))
        self.assertEqual(400, self.exchange_chunks())

    def test_body_in_chunks_that_are_none(self) -> None:
        half = self.valid_body()[:20]
        for end in (b"", b"zz", b"5\r\nab"):
            status = self.exchange_chunks(half, end=end)
            self.assertIn(status, (0, 400), repr(end))

    def test_headers(self) -> None:
        for header in (
            "Accept-Encoding: \xff\xfe",
            "Cookie: \x01\x02",
            "Range: bytes=9-1",
            'If-None-Match: "',
            "X-Openstack-Request-Id: " + "x" * 1000,
            "Content-Type: nonsense; charset=nonsense",
            "X-HTTP-Method-Override: DELETE",
        ):
            status = self.exchange("GET", _JOBS, f"{header}\r\n")
            self.assertEqual(200, status, header)
