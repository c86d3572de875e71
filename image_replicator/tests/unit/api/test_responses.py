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

"""The exact bytes of answers, which old clients parse."""

import datetime
import json
from typing import Any

import testtools
import webob

from image_replicator import exception
from image_replicator.api import http_errors
from image_replicator.api import responses
from image_replicator.jobs import JobStatus
from image_replicator.tests.unit.api import base

_JOB_ID = "33911588-c299-4369-a240-7e5b741cdb6a"

#: The body of the reference page's execution example.
_REFERENCE = (
    b'{"copy_progress": 0, "destination_image_id": null, '
    b'"destination_region_id": "ot2", '
    b'"destination_tenant_id": "91b5c7c09cbd45caa3c146fd67ae471e", '
    b'"job_id": "33911588-c299-4369-a240-7e5b741cdb6a", '
    b'"source_image_id": "335eef3f-551d-46e1-8781-173f43209d48", '
    b'"source_image_name": "Test-image-Ubuntu", '
    b'"source_region_id": "ot1", '
    b'"source_tenant_id": "236ae314ef6944f4ab98fa7519e54325", '
    b'"status": "cancel_requested"}'
)

_TEXT = "text/plain; charset=UTF-8"
_JSON = "application/json; charset=UTF-8"


class TestReferencePage(base.ApiTestCase):
    """The execution examples of "Get image copy job details"."""

    def add_reference_job(self, **values: Any) -> None:
        self.add_job(
            id=_JOB_ID,
            source_image_id="335eef3f-551d-46e1-8781-173f43209d48",
            status=JobStatus.CANCEL_REQUESTED,
            **values,
        )

    def test_job_is_the_example_byte_for_byte(self) -> None:
        self.add_reference_job()
        response = self.get(
            f"/jobs/{_JOB_ID}", headers={"User-Agent": "curl/7.35.0"}
        )
        self.assertEqual("200 OK", response.status)
        self.assertEqual(_REFERENCE, response.body)
        # The page's Content-Length, 426, is not that of its body.
        self.assertEqual("407", response.headers["Content-Length"])
        self.assertEqual(_JSON, response.headers["Content-Type"])

    def test_job_is_json_even_for_who_wants_text(self) -> None:
        self.add_reference_job()
        response = self.get(
            f"/jobs/{_JOB_ID}", headers={"Accept": "text/plain"}
        )
        self.assertEqual(_REFERENCE, response.body)

    def test_keys_of_later_versions_are_not_in_1_0(self) -> None:
        some_time = datetime.datetime(2026, 11, 23, 12)
        self.add_reference_job(
            destination_image_name="another",
            bytes_per_second=1,
            turn=2,
            slot=3,
            worker_id="w",
            claim_number=3,
            uncounted_claims=1,
            retry_at=some_time,
            error_code="x",
            error_message="y",
            verification_algorithm="sha512",
            verification_source="s",
            verification_destination="d",
            started_at=some_time,
            finished_at=some_time,
        )
        for version in (None, "image-replicator 1.0", "compute 2.1"):
            headers = {"OpenStack-API-Version": version} if version else {}
            response = self.get(f"/jobs/{_JOB_ID}", headers=headers)
            self.assertEqual(_REFERENCE, response.body)
            response = self.get("/jobs", headers=headers)
            self.assertEqual(b"[" + _REFERENCE + b"]", response.body)

    def test_version_1_1_has_the_same_form(self) -> None:
        self.add_reference_job()
        response = self.get(f"/jobs/{_JOB_ID}", headers=base.V1_1)
        self.assertEqual(_JSON, response.headers["Content-Type"])
        self.assertEqual(
            json.dumps(response.json, sort_keys=True).encode(), response.body
        )
        reference = json.loads(_REFERENCE)
        self.assertEqual(response.json, response.json | reference)

    def test_listing_is_a_bare_array_of_the_same_bytes(self) -> None:
        self.add_reference_job()
        response = self.get("/jobs")
        self.assertEqual(b"[" + _REFERENCE + b"]", response.body)
        self.assertEqual(_JSON, response.headers["Content-Type"])

    def test_no_token_is_the_example_byte_for_byte(self) -> None:
        request = webob.Request.blank(
            f"/v2/extension/image_replicator/jobs/{_JOB_ID}"
        )
        response = request.get_response(self.app)
        self.assertEqual("401 Unauthorized", response.status)
        self.assertEqual(
            b"401 Unauthorized\n\nAuthentication required.\n\n", response.body
        )
        self.assertEqual("44", response.headers["Content-Length"])
        self.assertEqual(_TEXT, response.headers["Content-Type"])
        self.assertEqual("X-Auth-Token", response.headers["Vary"])

    def test_name_of_any_script_is_ascii_json(self) -> None:
        name = 'Убунту \U0001f427 "q" \\ </script>'
        job_id = self.add_job(source_image_name=name)
        response = self.get(f"/jobs/{job_id}")
        self.assertTrue(response.body.isascii())
        self.assertEqual(name, response.json["source_image_name"])


class TestCaching(base.ApiTestCase):
    """An answer is for one caller, and is not cached."""

    def test_no_answer_to_a_token_may_be_stored(self) -> None:
        job_id = self.add_job()
        for response in (
            self.get(""),
            self.get("/jobs"),
            self.get(f"/jobs/{job_id}", headers=base.V1_1),
            self.copy(self.glance.add()["id"]),
            self.retry(self.add_job_that_is_over()),
            self.request("DELETE", f"/jobs/{job_id}"),
        ):
            self.assertLess(response.status_int, 300)
            self.assertEqual("no-store", response.headers["Cache-Control"])
            self.assertEqual(
                "OpenStack-API-Version, X-Auth-Token", response.headers["Vary"]
            )
        for response in (self.get("/jobs/none"), self.request("PUT", "/jobs")):
            self.assertEqual("no-store", response.headers["Cache-Control"])

    def test_no_token_is_as_the_reference_page_has_it(self) -> None:
        response = self.get("/jobs", caller={})
        self.assertNotIn("Cache-Control", response.headers)
        self.assertEqual("X-Auth-Token", response.headers["Vary"])


class TestErrorForm(testtools.TestCase):
    """An error is text if the request asks for text or nothing, else JSON."""

    def answer(self, accept: str | None) -> webob.Response:
        headers = {} if accept is None else {"Accept": accept}
        return responses.error_response(
            webob.Request.blank("/", headers=headers),
            http_errors.api_error(exception.Conflict("It cannot be."), ""),
        )

    def test_text(self) -> None:
        for accept in (
            None,
            "",
            "  ",
            "text/plain",
            "TEXT/PLAIN",
            "text/*",
            "text/plain; charset=utf-8",
            "text/plain, application/json;q=0.9",
            "application/json;q=0.1, text/plain;q=0.2",
            "application/xml, text/plain",
            "*/*;q=0.1, text/plain",
        ):
            with self.subTest(accept=accept):
                response = self.answer(accept)
                self.assertEqual(
                    b"409 Conflict\n\nIt cannot be.\n\n", response.body
                )
                self.assertEqual(_TEXT, response.headers["Content-Type"])

    def test_json(self) -> None:
        for accept in (
            "application/json",
            "*/*",
            "application/*",
            "application/json, text/plain",
            "text/plain;q=0.1, application/json",
            "text/html",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "text/plain;q=0",
            "application/json;q=0",
            "garbage",
            "text/plain;q=none",
            ";;;,,,///",
            "text/plain\x00",
            "a" * 10000,
        ):
            with self.subTest(accept=accept):
                response = self.answer(accept)
                self.assertEqual(
                    b'{"error": {"code": 409, "message": "It cannot be.", '
                    b'"title": "Conflict"}}',
                    response.body,
                )
                self.assertEqual(_JSON, response.headers["Content-Type"])

    def test_unusual_characters_are_no_obstacle(self) -> None:
        for accept in ("text/plain", "application/json"):
            response = responses.error_response(
                webob.Request.blank("/", headers={"Accept": accept}),
                http_errors.BadRequest("Убунту \ud800"),
            )
            self.assertEqual(400, response.status_int)
            self.assertIn(b"400", response.body)


class TestEmptyResponse(testtools.TestCase):
    def test_has_neither_body_nor_type(self) -> None:
        for status in (204, 202):
            response = responses.empty_response(status)
            self.assertEqual(status, response.status_int)
            self.assertEqual(b"", response.body)
            self.assertNotIn("Content-Type", response.headers)
