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

"""Links have the operator's host, never that of the request."""

import webob

from image_replicator.api import router
from image_replicator.tests.unit.api import base


class TestLinks(base.ApiTestCase):
    def links(self, **extra_environ: str) -> tuple[str, str, str]:
        """Return the links of answers, without the job's ID.

        :returns: those of the list of versions, of a new job and of a retry
        """
        (version,) = self.get("", **extra_environ).json["versions"]
        (link,) = version["links"]
        new = self.copy(self.glance.add()["id"], **extra_environ)
        again = self.retry(self.add_job_that_is_over(), **extra_environ)
        return (link["href"], self.location(new), self.location(again))

    def location(self, response: webob.Response) -> str:
        """Return the link in ``Location``, without the job's ID."""
        self.assertEqual(202, response.status_int, response.text)
        location: str = response.headers["Location"]
        return location.rpartition("/")[0]

    def assert_begin(self, expected: str, **extra_environ: str) -> None:
        """Check the beginning of each link."""
        self.assertEqual(
            (
                expected + router.BASE_PATH,
                expected + router.JOBS_PATH,
                expected + router.JOBS_PATH,
            ),
            self.links(**extra_environ),
        )

    def test_host_of_the_request_is_not_in_them(self) -> None:
        self.assert_begin("", HTTP_HOST="evil.example.com")

    def test_prefix_of_a_proxy_is_in_them(self) -> None:
        self.assert_begin("/image", SCRIPT_NAME="/image")

    def test_prefix_does_not_become_a_host(self) -> None:
        self.assert_begin(
            "/evil.example.com", SCRIPT_NAME="//evil.example.com"
        )
        self.add_job()
        response = self.get("/jobs?limit=1", SCRIPT_NAME="//evil.example.com")
        self.assertTrue(
            response.headers["Link"].startswith(
                f"</evil.example.com{router.JOBS_PATH}?limit=1&marker="
            ),
            response.headers["Link"],
        )

    def test_prefix_that_is_no_path_is_quoted(self) -> None:
        self.assert_begin("/%FF%20%3E", SCRIPT_NAME="/\xff >")

    def test_public_endpoint_is_what_they_begin_with(self) -> None:
        for endpoint in (
            "https://image.example.com",
            "https://image.example.com:9292/image/",
        ):
            self.build(api={"public_endpoint": endpoint})
            self.assert_begin(
                endpoint.rstrip("/"),
                HTTP_HOST="evil.example.com",
                SCRIPT_NAME="/evil",
            )
