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

"""The routes of paths and methods."""

import copy
from typing import Any

import testtools
import webob

from image_replicator import api
from image_replicator.api import router
from image_replicator.api import versions
from image_replicator.tests.unit.api import base

_JOB = "/jobs/33911588-c299-4369-a240-7e5b741cdb6a"


class TestPaths(base.ApiTestCase):
    def test_unknown_path_is_not_found(self) -> None:
        for path in (
            "/",
            "/nowhere",
            "/jobs/",
            "/jobs//",
            "/job",
            f"{_JOB}/",
            f"{_JOB}/action",
            "/jobs%2f33911588-c299-4369-a240-7e5b741cdb6a",
            "/../images",
            "/jobs/a%2Fb",
            "/jobs/..%2f..",
            "/jobs/%e2%98%83",
            "/jobs/%00",
            "/jobs/%0d%0aSet-Cookie:x",
            "/" + "x" * 8192,
            "/jobs/" + "x" * 8192,
        ):
            for method in ("GET", "DELETE"):
                with self.subTest(method=method, path=path[:40]):
                    response = self.request(method, path)
                    self.assert_error(404, response)
        self.assertEqual([], self.glance.asked)

    def test_path_that_is_not_utf_8_is_not_found(self) -> None:
        for path in ("/jobs/\xff\xfe", "/\xc3"):
            with self.subTest(path=path):
                response = self.get("/jobs", PATH_INFO=router.BASE_PATH + path)
                self.assert_error(404, response)

    def test_wrong_method_is_told_the_right_ones(self) -> None:
        for path, allowed, methods in (
            ("", "GET", ("POST", "PUT", "DELETE", "PATCH", "OPTIONS")),
            ("/jobs", "GET, POST", ("PUT", "DELETE", "PATCH", "OPTIONS")),
            (_JOB, "GET, DELETE", ("PUT", "POST", "PATCH", "OPTIONS")),
        ):
            for method in methods:
                with self.subTest(method=method, path=path):
                    response = self.request(method, path)
                    self.assert_error(405, response, method)
                    self.assertEqual(allowed, response.headers["Allow"])

    def test_head_is_no_method_of_ours_and_has_no_body(self) -> None:
        for path in ("", "/jobs", _JOB):
            with self.subTest(path=path):
                response = self.request("HEAD", path)
                self.assertEqual(405, response.status_int)
                self.assertIn("GET", response.headers["Allow"])
                self.assertEqual(b"", response.body)

    def test_every_operation_is_routed_to_its_row(self) -> None:
        for version in versions.VERSIONS:
            routes = router.Router(version)
            for route in router.ROUTES:
                with self.subTest(version=version, route=route):
                    if route.since <= version:
                        self.assert_routed(routes, route)

    def assert_routed(
        self, routes: router.Router, route: router.Route
    ) -> None:
        path = route.path.format(job_id="some-id")
        request = webob.Request.blank(path, method=route.method)
        found, variables = routes.match(request)
        self.assertIn(route, found)
        expected = {"job_id": "some-id"} if "{" in route.path else {}
        self.assertEqual(expected, variables)

    def test_a_new_path_does_not_exist_in_older_versions(self) -> None:
        """An older version answers 404, not 405."""
        path = f"/jobs/{self.add_job()}/action"
        unknown = self.get("/nowhere")
        for method in ("GET", "POST", "PUT", "DELETE", "HEAD"):
            for body in (b"", b'{"retry": {}}'):
                response = self.request(method, path, body=body)
                self.assertEqual(404, response.status_int)
                self.assertNotIn("Allow", response.headers)
                if method != "HEAD":
                    self.assertEqual(unknown.body, response.body)

    def test_wrong_method_in_a_later_version(self) -> None:
        path = f"/jobs/{self.add_job()}/action"
        for method in ("GET", "PUT", "DELETE", "PATCH"):
            response = self.request(method, path, headers=base.V1_1)
            self.assert_error(405, response, method)
            self.assertEqual("POST", response.headers["Allow"])


class TestSchemas(testtools.TestCase):
    def test_the_newest_that_the_version_has_counts(self) -> None:
        one, two = versions.V1_0, versions.V1_1
        later = versions.Version(1, 99)
        for known, expected in (
            ({}, [None, None, None]),
            ({one: {"a": 1}}, [{"a": 1}] * 3),
            ({one: {"a": 1}, two: {"b": 1}}, [{"a": 1}, {"b": 1}, {"b": 1}]),
            ({two: {"b": 1}}, [None, {"b": 1}, {"b": 1}]),
        ):
            route = router.Route(
                method="POST",
                path="/",
                controller="jobs",
                action="create",
                rule="",
                bodies=known,
                queries=known,
            )
            for schema in (route.body, route.query):
                found = [schema(version) for version in (one, two, later)]
                self.assertEqual(expected, found)


class TestPathsOfGlance(base.ApiTestCase):
    """All other paths are passed on to Glance unchanged."""

    def test_environ_is_handed_on_as_it_came(self) -> None:
        for path in (
            "/",
            "/v2/images",
            "/v2/extension",
            "/v2/extensionX",
            "/v2/extension/image_replicatorX",
            "/v2/extension/other/jobs",
            "/v2//extension/image_replicator/jobs",
            "/V2/extension/image_replicator",
            "/x/v2/extension/image_replicator/jobs",
            "",
        ):
            with self.subTest(path=path):
                self.assert_untouched(path)

    def assert_untouched(self, path: str) -> None:
        given = webob.Request.blank("/").environ
        given |= {"PATH_INFO": path, "HTTP_X_AUTH_TOKEN": "t0ken"}
        seen: list[dict[str, Any]] = []
        before = copy.copy(given)

        def glance(environ: dict[str, Any], start_response: Any) -> list[Any]:
            seen.append(environ)
            self.assertEqual(before, environ)
            return answer

        def start_response(*args: Any) -> None:
            """Accept a call, which this Glance never makes."""

        answer: list[Any] = []
        extension = self.wrap(glance)
        self.assertIs(answer, extension(given, start_response))
        self.assertIs(given, seen[0])

    def wrap(self, glance: Any) -> Any:
        return api.wrap(glance, self.conf)

    def test_glance_s_answer_comes_back_as_it_is(self) -> None:
        request = webob.Request.blank("/v2/images/none")
        response = request.get_response(self.app)
        self.assertEqual(b"Glance's own 404", response.body)
        self.assertNotIn("X-Openstack-Request-Id", response.headers)

    def test_a_request_without_path_is_glance_s(self) -> None:
        given = webob.Request.blank("/").environ
        del given["PATH_INFO"]
        with self.assertRaises(KeyError):
            # This Glance checks the path.
            self.extension(given, lambda *args: None)
        self.assertEqual(1, len(self.glance.asked))
