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

"""The check of an image service before a copy is queued."""

import json
import threading
from typing import Final

import fixtures
import testtools

from image_replicator.errors import Kind
from image_replicator.images import probe
from image_replicator.tests.unit import glances

_VERSIONS: Final = json.dumps({"versions": []}).encode()
_PAGE: Final = b"<html><title>It works!</title></html>"
_HTML: Final = "text/html; charset=UTF-8"


class TestFindProblem(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.logged = self.useFixture(fixtures.FakeLogger())
        self.glance = self.useFixture(glances.FakeGlance())
        self.session = glances.new_session(ot2=self.glance)

    def find(
        self, region: str = "ot2", timeout: float = 10
    ) -> probe.Problem | None:
        """Return the problem of a region's image service."""
        catalogue = glances.catalogue_of(self.session)
        return probe.find_problem(self.session, catalogue, region, timeout)

    def assert_problem(self, kind: Kind, *words: str) -> None:
        """Check the kind and the message of the problem."""
        problem = self.find()
        assert problem
        self.assertEqual(kind, problem.kind)
        for word in ("ot2", *words):
            self.assertIn(word, problem.message)
        waiting = "try again" in problem.message
        self.assertEqual(kind is Kind.UNREACHABLE, waiting, problem.message)

    def on_versions(self, answer: glances.Answer) -> None:
        """Set the answer to requests for the list of versions."""
        self.glance.on("GET", "versions", answer)

    def test_a_list_of_versions_is_an_image_service_s(self) -> None:
        for status in (200, 300):
            self.on_versions(glances.saying(status, _VERSIONS))
            self.assertIsNone(self.find(), str(status))

    def test_no_token_is_sent(self) -> None:
        self.on_versions(glances.saying(404))
        self.glance.on("GET", "images", glances.saying(401))
        self.find()
        self.assertEqual(2, len(self.glance.requests))
        for request in self.glance.requests:
            self.assertNotIn("X-Auth-Token", request.headers)

    def test_one_that_fails_is_down(self) -> None:
        for answer in (
            glances.saying(503),
            glances.hanging_up,
            glances.saying(200, b"", Content_Length=9),
        ):
            self.on_versions(answer)
            self.assert_problem(Kind.UNREACHABLE)

    def test_one_that_is_too_slow_is_down(self) -> None:
        done = threading.Event()
        self.addCleanup(done.set)
        self.on_versions(lambda _handler: done.wait(30))
        problem = self.find(timeout=0.1)
        assert problem
        self.assertEqual(Kind.UNREACHABLE, problem.kind)

    def test_one_that_is_not_in_the_catalogue_is_down(self) -> None:
        problem = self.find("ot3")
        assert problem
        self.assertEqual(Kind.UNREACHABLE, problem.kind)

    def test_a_redirect_is_told_by_host_and_path(self) -> None:
        own = self.glance.url.removeprefix("http://")
        for status in (301, 302, 303, 307, 308):
            for target, words in (
                ("https://u:pw@sso.example/in?k=pw#pw", "sso.example/in"),
                ("//sso.example.com:8443/in?k=pw", "sso.example.com:8443/in"),
                ("/dashboard/?k=pw", f"{own}/dashboard/"),
                ("http://[::1", "no address"),
                ("https://x:port/", "no address"),
                ("http://x/\x1b" + "y" * 5000, "x/?yyy"),
            ):
                self.on_versions(glances.saying(status, Location=target))
                self.assert_problem(
                    Kind.NOT_IMAGE_SERVICE, f"it redirects to {words}"
                )
                problem = self.find()
                assert problem
                self.assertNotIn("pw", problem.message)
                self.assertLess(len(problem.message), 400)
        self.assertNotIn("pw", self.logged.output)

    def test_a_web_page_is_none(self) -> None:
        self.on_versions(glances.saying(200, _PAGE, Content_Type=_HTML))
        self.assert_problem(Kind.NOT_IMAGE_SERVICE, "a web page")

    def test_anything_else_is_none(self) -> None:
        for body in (b"", b"{}", b"[]", b"1", b"null", b"\xff", b"[" * 9999):
            self.on_versions(glances.saying(200, body))
            self.assert_problem(Kind.NOT_IMAGE_SERVICE, "versions")

    def test_images_are_asked_for_where_versions_are_hidden(self) -> None:
        for status in (400, 403, 404):
            self.on_versions(glances.saying(status))
            for answer in (
                glances.saying(200, b"{}"),
                # Glance's own 401 has the type of HTML.
                glances.saying(401, b"Authentication", Content_Type=_HTML),
                glances.saying(403),
            ):
                self.glance.on("GET", "images", answer)
                self.assertIsNone(self.find())
            self.glance.on("GET", "images", glances.saying(502))
            self.assert_problem(Kind.UNREACHABLE)
            for answer in (
                glances.saying(200, _PAGE, Content_Type=_HTML),
                glances.saying(404, _PAGE, Content_Type=_HTML),
                glances.saying(400, b"HTTP was sent to an HTTPS port"),
                glances.saying(302, Location="/login"),
            ):
                self.glance.on("GET", "images", answer)
                self.assert_problem(Kind.NOT_IMAGE_SERVICE)
