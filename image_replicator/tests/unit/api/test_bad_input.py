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

"""Bad input gets one clear sentence and no 500, and creates no job."""

import io
import json
import sys
from typing import Any
from urllib import parse

import webob
from oslo_utils import uuidutils

from image_replicator.api import router
from image_replicator.tests.unit.api import base

ID = "335eef3f-551d-46e1-8781-173f43209d48"
LIMIT = 64 * 1024


class Endless(io.BytesIO):
    """A body that never ends.

    :ivar given: the bytes that were read
    """

    given = 0

    def read(self, size: int | None = -1) -> bytes:
        """Return the bytes asked for, at most a chunk."""
        chunk = b"x" * min(size or 0, 1000)
        self.given += len(chunk)
        return chunk


class BadInputTestCase(base.ApiTestCase):
    def setUp(self) -> None:
        super().setUp()
        # A request that was accepted would have created a job.
        self.glance.images[ID] = base.image(id=ID)
        self.addCleanup(self.assert_nothing_happened)

    def assert_nothing_happened(self) -> None:
        self.assertEqual(0, self.count_jobs())
        self.assertEqual([], self.glance.asked)
        self.assertNotIn("Traceback", self.logged.output)

    def assert_refused(
        self, response: webob.Response, *words: str, status: int = 400
    ) -> None:
        """Check that an answer is an error whose message is one sentence.

        :param words: a part of the message
        """
        self.assert_error(status, response, *words)
        message = response.json["error"]["message"]
        self.assertRegex(message, r"\A[^\n]{10,300}\.\Z")
        self.assertTrue(message.isascii(), message)


class TestBody(BadInputTestCase):
    def test_body_that_is_not_json(self) -> None:
        for body in (
            b"",
            b" ",
            b"{",
            b'{"image_id": ',
            b"image_id=x&tenant_id_dst=y",
            b"<image/>",
            b"\xff\xfe\xfd",
            b'{"image_id": "\xff"}',
            b"\x00",
            b"{'image_id': 'x'}",
            b"1" * 5000,
            b'{"image_id": "%s", "tenant_id_dst": "x"} garbage' % ID.encode(),
        ):
            with self.subTest(body=body[:40]):
                self.assert_refused(self.post(body), "not JSON")

    def test_body_that_is_no_object(self) -> None:
        bodies: tuple[Any, ...] = (
            None,
            [],
            [{}],
            "text",
            1,
            1.5,
            True,
            float("nan"),
        )
        for body in bodies:
            with self.subTest(body=body):
                self.assert_refused(self.post(body), "a JSON object")

    def test_key_that_is_missing(self) -> None:
        for body in (
            {},
            {"image_id": ID},
            {"tenant_id_dst": base.DESTINATION},
        ):
            with self.subTest(body=body):
                self.assert_refused(self.post(body), "required")

    def test_key_that_is_not_known(self) -> None:
        for key in (
            "region_id_dst",
            "name",
            "Image_id",
            "",
            "\x00",
            "\ud800",
            "ключ",
            "k" * 60000,
        ):
            with self.subTest(key=key[:40]):
                body = self.body() | {key: "x"}
                self.assert_refused(self.post(body), "not known here")

    @staticmethod
    def body(**values: Any) -> dict[str, Any]:
        return {
            "image_id": ID,
            "tenant_id_dst": base.DESTINATION,
            **values,
        }

    def test_image_id_that_is_no_uuid(self) -> None:
        for value in (
            None,
            1,
            1.5,
            float("nan"),
            float("inf"),
            True,
            [ID],
            {"id": ID},
            "",
            "x",
            ID[:-1],
            ID + "0",
            ID + "\n",
            ID + "\x00",
            " " + ID,
            ID.replace("-", ""),
            "{" + ID + "}",
            "urn:uuid:" + ID,
            ID + "/../../v2/tasks",
            "../" + ID,
            "\ud800",
            "٣" * 8 + ID[8:],
            "x" * 60000,
        ):
            with self.subTest(value=repr(value)[:50]):
                response = self.post(self.body(image_id=value))
                self.assert_refused(response, "image_id must be a UUID")

    def test_tenant_that_is_no_id(self) -> None:
        values: tuple[Any, ...] = (
            None,
            1,
            [],
            {},
            "",
            "a b",
            "../users",
            "a/b",
            "a?b",
            "a#b",
            "a%2fb",
            base.DESTINATION + "\n",
            "\x00",
            "\ud800",
            "ünïcode",
            "x" * 65,
        )
        for value in values:
            with self.subTest(value=value):
                response = self.post(self.body(tenant_id_dst=value))
                self.assert_refused(response, "tenant_id_dst must be")

    def test_body_that_is_nested_deeply(self) -> None:
        for opening, closing in (("[", "]"), ('{"a":', "}")):
            for depth in (10, 10000):
                body = (opening * depth + "1" + closing * depth).encode()
                with self.subTest(opening=opening, depth=depth):
                    self.assert_refused(self.post(body))

    def test_depth_at_the_edge_of_what_python_can_take(self) -> None:
        """A body that can just be parsed may be too deep to be printed."""
        limit = sys.getrecursionlimit()
        for depth in range(limit - 200, limit, 2):
            body = b"[" * depth + b"]" * depth
            self.assert_refused(self.post(body))

    def test_body_larger_than_the_limit(self) -> None:
        for size in (LIMIT + 1, 10 * LIMIT):
            with self.subTest(size=size):
                response = self.post(b" " * size)
                self.assert_refused(response, f"{LIMIT}", status=413)

    def test_body_as_large_as_the_limit_is_read(self) -> None:
        body = json.dumps(self.body(x="")).encode()
        padded = body.replace(b'""', b'"%s"' % (b"x" * (LIMIT - len(body))))
        self.assertEqual(LIMIT, len(padded))
        self.assert_refused(self.post(padded), "not known here")

    def test_only_the_length_that_is_claimed_counts(self) -> None:
        """A length beyond the limit is refused before a byte is read."""
        response = self.post(b"", CONTENT_LENGTH="9" * 30)
        self.assert_refused(response, status=413)

    def test_content_length_that_is_none(self) -> None:
        for length in ("-1", "abc", "1.5", "", "0x10", "٣"):
            with self.subTest(length=length):
                self.assert_refused(self.send(b"{}", length))

    def send(self, body: bytes | io.BytesIO, length: str) -> webob.Response:
        """Send a request that no server should let through."""
        request = webob.Request.blank(
            router.JOBS_PATH, environ=base.environ(), method="POST"
        )
        request.accept = "application/json"
        stream = io.BytesIO(body) if isinstance(body, bytes) else body
        request.environ |= {"wsgi.input": stream, "CONTENT_LENGTH": length}
        return request.get_response(self.extension)

    def test_body_that_ends_too_early(self) -> None:
        body = json.dumps(self.body()).encode()
        length = str(len(body) + 1)
        response = self.post(body, CONTENT_LENGTH=length)
        self.assert_refused(response, "too early")

    def test_body_whose_connection_breaks(self) -> None:
        class Broken(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                raise OSError("Apache/mod_wsgi: request data read error")

        self.assert_refused(self.send(Broken(), "10"), "too early")

    def send_chunked(
        self, body: io.BytesIO, **extra_environ: Any
    ) -> webob.Response:
        """Send a body without a length, as a server passes it on."""
        request = webob.Request.blank(
            router.JOBS_PATH, environ=base.environ(), method="POST"
        )
        request.accept = "application/json"
        request.environ |= {
            "wsgi.input": body,
            "HTTP_TRANSFER_ENCODING": "Chunked",
            **extra_environ,
        }
        return request.get_response(self.extension)

    def test_chunked_body_that_the_server_cannot_read(self) -> None:
        response = self.send_chunked(io.BytesIO(b"{}"))
        self.assert_refused(response, "Content-Length", status=411)

    def test_chunked_body_is_read_up_to_the_limit(self) -> None:
        ends = {"wsgi.input_terminated": True}
        for size, status in ((LIMIT, 400), (LIMIT + 1, 413)):
            response = self.send_chunked(io.BytesIO(b"{" * size), **ends)
            self.assert_refused(response, status=status)
        endless = Endless()
        response = self.send_chunked(endless, **ends)
        self.assert_refused(response, f"{LIMIT}", status=413)
        self.assertLess(endless.given, 3 * LIMIT)

    def test_content_type_does_not_matter(self) -> None:
        for content_type in ("", "text/plain", "application/json;charset=x"):
            with self.subTest(content_type=content_type):
                response = self.post(b"{", CONTENT_TYPE=content_type)
                self.assert_refused(response, "not JSON")


class TestQuery(BadInputTestCase):
    def list(self, query: str, **extra_environ: str) -> webob.Response:
        return self.get(f"/jobs?{query}", **extra_environ)

    def test_limit_that_is_none(self) -> None:
        for limit in (
            "",
            "0",
            "-1",
            "1.5",
            "1e3",
            "+1",
            " 1",
            "1\n",
            "1_0",
            "0x10",
            "٣",
            "NaN",
            "ten",
            "00" * 3000 + "1",
            "9" * 5000,
        ):
            with self.subTest(limit=limit[:20]):
                response = self.list(parse.urlencode({"limit": limit}))
                self.assert_refused(response, "limit must be")

    def test_huge_limit_is_cut_to_the_most_there_is(self) -> None:
        response = self.list("limit=999999999")
        self.assertEqual(200, response.status_int)

    def test_key_that_is_not_known(self) -> None:
        for query in ("offset=1", "Limit=1", "=", "%00=1", "name=x", "a"):
            with self.subTest(query=query):
                self.assert_refused(self.list(query), "not known here")

    def test_key_that_is_there_twice(self) -> None:
        for query in ("limit=1&limit=2", "limit=1&limit=1", "x=1&x=1"):
            with self.subTest(query=query):
                self.assert_refused(self.list(query), "more than once")

    def test_value_that_is_not_among_the_possible(self) -> None:
        for query, word in (
            ("sort_key=nothing", "created_at"),
            ("sort_key=id%3BDROP%20TABLE%20jobs", "created_at"),
            ("sort_key=", "created_at"),
            ("sort_dir=up", "asc, desc"),
            ("sort_dir=ASC", "asc, desc"),
            ("status=done", "replicated"),
            ("status=%00", "replicated"),
            ("status=" + "x" * 5000, "replicated"),
            ("all_tenants=yes", "true or false"),
            ("all_tenants=", "true or false"),
            ("source_image_id=x", "a UUID"),
            ("destination_image_id=null", "a UUID"),
            ("marker=x", "a UUID"),
            ("marker=", "a UUID"),
            ("source_image_name=a%00b", "255 characters"),
            ("source_image_name=" + "x" * 256, "255 characters"),
            ("destination_region_id=%0a", "255 characters"),
            ("destination_tenant_id=%7f", "255 characters"),
        ):
            with self.subTest(query=query[:40]):
                key = query.partition("=")[0]
                self.assert_refused(self.list(query), f"{key} must be", word)

    def test_marker_that_is_not_there(self) -> None:
        marker = uuidutils.generate_uuid()
        self.assert_refused(self.list(f"marker={marker}"), "marker")

    def test_query_that_is_not_utf_8(self) -> None:
        for query in ("limit=%ff", "%ff=1", "source_image_name=%c3%28"):
            with self.subTest(query=query):
                self.assert_refused(self.list(query), "UTF-8")

    def test_query_with_raw_bytes(self) -> None:
        response = self.list("", QUERY_STRING="limit=\xff\xfe")
        self.assert_refused(response)

    def test_percent_signs_that_encode_nothing(self) -> None:
        for query in ("limit=%", "limit=%zz", "limit=%e"):
            with self.subTest(query=query):
                self.assert_refused(self.list(query), "limit must be")

    def test_surrogates_are_not_utf_8(self) -> None:
        response = self.list("source_image_name=%ed%a0%80")
        self.assert_refused(response, "UTF-8")

    def test_query_of_many_keys(self) -> None:
        query = "&".join(f"k{number}=1" for number in range(2000))
        self.assert_refused(self.list(query), "not known here")


class TestHeaders(BadInputTestCase):
    def test_absurd_headers_change_nothing(self) -> None:
        for name, value in (
            ("HTTP_ACCEPT_LANGUAGE", "\xff" * 100),
            ("HTTP_ACCEPT_ENCODING", ";;;"),
            ("HTTP_IF_NONE_MATCH", '"'),
            ("HTTP_IF_MODIFIED_SINCE", "yesterday"),
            ("HTTP_RANGE", "bytes=9-1"),
            ("HTTP_COOKIE", "\x00=\xff"),
            ("HTTP_HOST", "a b\x00c"),
            ("HTTP_HOST", ""),
            ("HTTP_X_FORWARDED_FOR", "x" * 10000),
            ("HTTP_X_OPENSTACK_REQUEST_ID", "\r\nSet-Cookie: x"),
            ("HTTP_X_HTTP_METHOD_OVERRIDE", "DELETE"),
            ("HTTP_EXPECT", "nonsense"),
            ("HTTP_AUTHORIZATION", "Basic Og=="),
        ):
            with self.subTest(name=name, value=value[:20]):
                response = self.get("/jobs", **{name: value})
                self.assertEqual(200, response.status_int)
                self.assertEqual(b"[]", response.body)
                self.assertNotIn("Set-Cookie", response.headers)
