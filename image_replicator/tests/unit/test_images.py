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

"""Requests to a Glance as the caller, in this process or over HTTP."""

import json
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import fixtures
import testtools
from keystoneauth1 import exceptions as ksa_exc

from image_replicator import context
from image_replicator import exception
from image_replicator import images
from image_replicator.images import caller

_ID = "335eef3f-551d-46e1-8781-173f43209d48"


class TestPath(testtools.TestCase):
    def test_path_is_made_of_a_uuid(self) -> None:
        self.assertEqual(f"/v2/images/{_ID}", images.image_path(_ID))

    def test_path_is_made_of_nothing_else(self) -> None:
        for image_id in ("", "x", "..", f"{_ID}/file", f"../{_ID}", None, 1):
            self.assertRaises(ValueError, images.image_path, image_id)


class TestBeginning(testtools.TestCase):
    def test_no_more_is_read_than_is_wanted(self) -> None:
        for size, expected, chunks_read in (
            (0, b"", 0),
            (1, b"a", 1),
            (2, b"ab", 1),
            (3, b"abc", 2),
            (99, b"abcdef", 3),
        ):
            chunks = iter((b"ab", b"cd", b"ef"))
            self.assertEqual(expected, images.beginning(chunks, size))
            self.assertEqual(3 - chunks_read, len(list(chunks)))


class Body:
    """A WSGI body that records whether it was closed."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.closed = False
        self.read = 0

    def __iter__(self) -> Iterator[bytes]:
        while True:
            if self.error:
                raise self.error
            self.read += 1
            yield b"x" * 1024

    def close(self) -> None:
        self.closed = True


class TestAskWrapped(testtools.TestCase):
    def ask(self, body: Body, max_body: int) -> caller.Reply:
        def glance(environ: dict[str, Any], start_response: Any) -> Body:
            start_response("206 Partial Content", [])
            return body

        asker = context.RequestContext(request_id="req-1", overwrite=False)
        ask = caller.ask_wrapped(glance, {}, asker)
        return ask(f"/v2/images/{_ID}/file", {}, max_body)

    def test_body_of_any_size_is_read_no_further_than_wanted(self) -> None:
        body = Body()
        self.assertEqual(caller.Reply(206, b""), self.ask(body, 0))
        self.assertEqual((0, True), (body.read, body.closed))

    def test_body_is_closed_when_reading_fails(self) -> None:
        body = Body(OSError("the store is gone"))
        self.assertRaises(OSError, self.ask, body, 1)
        self.assertTrue(body.closed)


class TestAskRemote(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.useFixture(fixtures.FakeLogger())

    def test_service_that_does_not_answer_is_unavailable(self) -> None:
        for error in (
            ksa_exc.ConnectFailure("no"),
            ksa_exc.EndpointNotFound("no"),
            ksa_exc.ConnectTimeout("no"),
        ):
            session = Session(error)
            ask = caller.ask_remote(
                session,  # type: ignore[arg-type]
                Catalogue(),  # type: ignore[arg-type]
                "ot1",
                context.RequestContext(auth_token="t0ken", overwrite=False),
            )
            refused = self.assertRaises(
                exception.ServiceUnavailable, ask, "/v2/images", {}, 1
            )
            self.assertIn("ot1", refused.message)


class Catalogue:
    """A catalogue that has every region."""

    def image_url(self, region: str) -> str:
        return "http://127.0.0.1:1"


class Session:
    """A session without a network."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def get(self, url: str, **kwargs: Any) -> None:
        raise self.error


class TestSourceImages(testtools.TestCase):
    """The errors for Glance's answers."""

    def setUp(self) -> None:
        super().setUp()
        self.useFixture(fixtures.FakeLogger())

        self.body = json.dumps(
            {"id": _ID, "status": "active", "size": 1}
        ).encode()

    def test_a_body_that_shows_no_image_is_a_conflict(self) -> None:
        other = self.body.replace(_ID[:4].encode(), b"0000")
        for self.body in (b"", b"{}", b"[]", b"<html>", b'{"id": 1}', other):
            error = self.assertRaises(
                exception.Conflict, self.asked(200).show, _ID
            )
            self.assertIn("is no image service", error.message)

    def asked(self, status: int) -> caller.SourceImages:
        return caller.SourceImages(
            lambda path, headers, max_body: caller.Reply(status, self.body)
        )

    def test_answers(self) -> None:
        methods: dict[str, Callable[[caller.SourceImages], Any]] = {
            "show": lambda images: images.show(_ID),
            "download": lambda images: images.check_downloadable(
                {"id": _ID, "size": 1}
            ),
        }
        for name, method in methods.items():
            for status, expected in (
                (404, exception.NotFound),
                (403, exception.Forbidden),
                (401, exception.ServiceUnavailable),
                (302, exception.ServiceUnavailable),
                (500, exception.ServiceUnavailable),
                (503, exception.ServiceUnavailable),
            ):
                with self.subTest(name=name, status=status):
                    self.assertRaises(expected, method, self.asked(status))

    def test_image_is_shown_with_200_alone(self) -> None:
        self.assertEqual(json.loads(self.body), self.asked(200).show(_ID))
        self.assertRaises(
            exception.ServiceUnavailable, self.asked(204).show, _ID
        )
