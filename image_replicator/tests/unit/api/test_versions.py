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

"""The choice of the API's version for a request."""

import webob

from image_replicator.tests.unit.api import base

_HEADER = "OpenStack-API-Version"
_BOTH = f"{_HEADER}, X-Auth-Token"


class TestVersions(base.ApiTestCase):
    def ask(self, version: str) -> webob.Response:
        return self.get("/jobs", headers={_HEADER: version})

    def test_version_1_0_is_spoken_to_who_does_not_ask(self) -> None:
        response = self.get("/jobs")
        self.assertEqual("image-replicator 1.0", response.headers[_HEADER])
        self.assertEqual(_BOTH, response.headers["Vary"])

    def test_the_requested_version_is_used(self) -> None:
        for version in (
            "image-replicator 1.0",
            "IMAGE-REPLICATOR 1.0",
            "  image-replicator   1.0 ",
            "compute 2.96, image-replicator 1.0",
        ):
            with self.subTest(version=version):
                response = self.ask(version)
                self.assertEqual(200, response.status_int)
                self.assertEqual(
                    "image-replicator 1.0", response.headers[_HEADER]
                )

    def test_every_version_that_there_is_is_spoken(self) -> None:
        for version in ("1.0", "1.1", "1.2"):
            with self.subTest(version=version):
                response = self.ask(f"image-replicator {version}")
                self.assertEqual(200, response.status_int)
                self.assertEqual(
                    f"image-replicator {version}", response.headers[_HEADER]
                )
                self.assertEqual(_BOTH, response.headers["Vary"])

    def test_latest_is_the_last_that_the_list_of_versions_has(self) -> None:
        latest = self.get("").json["versions"][0]["version"]
        response = self.ask("image-replicator latest")
        self.assertEqual(
            f"image-replicator {latest}", response.headers[_HEADER]
        )

    def test_another_service_s_version_says_nothing_to_us(self) -> None:
        response = self.ask("compute 2.96")
        self.assertEqual(200, response.status_int)
        self.assertEqual("image-replicator 1.0", response.headers[_HEADER])

    def test_unknown_version_is_not_acceptable(self) -> None:
        for version in ("0.9", "1.3", "1.999", "2.0", "999.999"):
            with self.subTest(version=version):
                response = self.ask(f"image-replicator {version}")
                self.assert_error(406, response, "1.0 to 1.2")

    def test_malformed_version_is_a_bad_request(self) -> None:
        for version in (
            "1",
            "one",
            "1.0.0",
            "1.",
            ".1",
            "1.0 2.0",
            "v1.0",
            "1,0",
            "\x00",
            "9" * 5000 + ".0",
        ):
            with self.subTest(version=version):
                response = self.ask(f"image-replicator {version}")
                self.assert_error(400, response, _HEADER)

    def test_errors_say_which_version_they_speak(self) -> None:
        response = self.get("/nowhere")
        self.assertEqual(404, response.status_int)
        self.assertEqual("image-replicator 1.0", response.headers[_HEADER])
        self.assertEqual(_HEADER, response.headers["Vary"])

    def test_without_an_agreement_the_first_version_is_spoken(self) -> None:
        for version, status in (("2.0", 406), ("two", 400)):
            response = self.ask(f"image-replicator {version}")
            self.assertEqual(status, response.status_int)
            self.assertEqual("image-replicator 1.0", response.headers[_HEADER])
            self.assertEqual(_HEADER, response.headers["Vary"])

    def test_the_401_is_the_same_in_every_version(self) -> None:
        for headers in ({}, {_HEADER: "image-replicator 1.1"}, {_HEADER: "x"}):
            response = self.get("/jobs", caller={}, headers=headers)
            self.assertEqual(401, response.status_int)
            self.assertEqual("image-replicator 1.0", response.headers[_HEADER])
            # The reference page has this.
            self.assertEqual("X-Auth-Token", response.headers["Vary"])

    def test_versions_are_listed(self) -> None:
        response = self.get("")
        self.assertEqual(200, response.status_int)
        (version,) = response.json["versions"]
        self.assertEqual("v1", version["id"])
        self.assertEqual("CURRENT", version["status"])
        self.assertEqual("1.0", version["min_version"])
        self.assertEqual("1.2", version["version"])
        self.assertEqual(
            [
                {
                    "rel": "self",
                    "href": "/v2/extension/image_replicator",
                }
            ],
            version["links"],
        )

    def test_anybody_with_a_token_may_list_versions(self) -> None:
        response = self.get("", caller=base.environ(base.OTHER, ()))
        self.assertEqual(200, response.status_int)
