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

"""The operations on jobs, without Keystone and a real Glance."""

from http import HTTPStatus
from typing import Any

import webob
from oslo_utils import uuidutils

from image_replicator import context as ir_context
from image_replicator import exception
from image_replicator import identity
from image_replicator.api import router
from image_replicator.jobs import JobStatus
from image_replicator.tests.unit.api import base


class TestCreate(base.ApiTestCase):
    def test_job_is_accepted(self) -> None:
        image = self.glance.add()
        response = self.copy(image["id"])
        self.assertEqual(202, response.status_int)
        self.assertEqual({"job_id"}, set(response.json))
        job = self.repository.get(response.json["job_id"])
        self.assertEqual(image["id"], job.source_image_id)
        self.assertEqual("Test-image-Ubuntu", job.source_image_name)
        self.assertEqual("ot1", job.source_region_id)
        self.assertEqual(base.SOURCE, job.source_tenant_id)
        self.assertEqual("ot2", job.destination_region_id)
        self.assertEqual(base.DESTINATION, job.destination_tenant_id)
        self.assertEqual(4, job.image_size)
        self.assertEqual(JobStatus.REPLICATE_REQUESTED, job.status)

    def test_location_leads_to_the_job(self) -> None:
        response = self.copy(self.glance.add()["id"])
        job_id = response.json["job_id"]
        self.assertEqual(
            f"{router.JOBS_PATH}/{job_id}", response.headers["Location"]
        )

    def test_source_tenant_is_who_asks_not_who_owns_the_image(self) -> None:
        image = self.glance.add(owner=base.OTHER, visibility="public")
        job_id = self.copy(image["id"]).json["job_id"]
        self.assertEqual(
            base.SOURCE, self.repository.get(job_id).source_tenant_id
        )

    def test_image_without_a_name_has_an_empty_one(self) -> None:
        for image in (self.glance.add(name=None), self.glance.add(name="")):
            job_id = self.copy(image["id"]).json["job_id"]
            job = self.get(f"/jobs/{job_id}").json
            self.assertEqual("", job["source_image_name"])

    def test_second_copy_of_the_same_is_a_conflict(self) -> None:
        image = self.glance.add()
        self.assertEqual(202, self.copy(image["id"]).status_int)
        self.assert_error(409, self.copy(image["id"]), "already under way")
        self.assertEqual(1, self.count_jobs())

    def test_copy_that_is_over_does_not_stand_in_the_way(self) -> None:
        image = self.glance.add()
        self.add_job(
            source_image_id=image["id"],
            status=JobStatus.REPLICATED,
            active=None,
        )
        self.assertEqual(202, self.copy(image["id"]).status_int)

    def test_image_that_is_not_there_is_not_found(self) -> None:
        image_id = uuidutils.generate_uuid()
        self.assert_error(404, self.copy(image_id), image_id)

    def test_image_that_is_not_active_is_a_conflict(self) -> None:
        for status in ("queued", "saving", "importing", "deactivated"):
            with self.subTest(status=status):
                image = self.glance.add(status=status, size=None)
                self.assert_error(409, self.copy(image["id"]), status)

    def test_image_of_unknown_size_is_a_conflict(self) -> None:
        image = self.glance.add(size=None)
        self.assert_error(409, self.copy(image["id"]), "size")

    def test_image_of_4_mib_of_properties_is_a_conflict(self) -> None:
        image = self.glance.add(p="x" * 4 * 1024 * 1024)
        self.assert_error(409, self.copy(image["id"]), "properties")
        image = self.glance.add(p="x" * (4 * 1024 * 1024 - 1000))
        self.assertEqual(202, self.copy(image["id"]).status_int)

    def test_image_with_a_refused_property_is_a_conflict(self) -> None:
        image = self.glance.add(kernel_id=uuidutils.generate_uuid())
        self.assert_error(409, self.copy(image["id"]), "kernel_id")

    def test_image_that_may_not_be_downloaded_is_forbidden(self) -> None:
        image = self.glance.add()
        self.glance.download_status = HTTPStatus.FORBIDDEN
        self.assert_error(403, self.copy(image["id"]), "download")

    def test_a_store_without_ranges_is_asked_for_the_whole(self) -> None:
        self.glance.has_ranges = False
        image = self.glance.add()
        self.assertEqual(202, self.copy(image["id"]).status_code)
        self.glance.download_status = HTTPStatus.FORBIDDEN
        self.assert_error(403, self.copy(image["id"], "another"))
        asked = [each.get("HTTP_RANGE") for each in self.glance.asked]
        self.assertEqual([None, "bytes=0-0", None] * 2, asked)

    def test_any_answer_that_allows_a_download_is_one(self) -> None:
        for status in (
            HTTPStatus.OK,
            HTTPStatus.PARTIAL_CONTENT,
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        ):
            with self.subTest(status=status):
                self.glance.download_status = status
                image = self.glance.add()
                self.assertEqual(202, self.copy(image["id"]).status_int)

    def test_no_data_is_all_there_is_of_an_empty_image(self) -> None:
        self.glance.download_status = HTTPStatus.NO_CONTENT
        empty, other = self.glance.add(size=0), self.glance.add()
        self.assertEqual(202, self.copy(empty["id"]).status_int)
        self.assert_error(409, self.copy(other["id"]), "missing")

    def test_glance_that_fails_is_unavailable(self) -> None:
        image = self.glance.add()
        for status in (
            HTTPStatus.INTERNAL_SERVER_ERROR,
            HTTPStatus.SERVICE_UNAVAILABLE,
            HTTPStatus.FOUND,
        ):
            with self.subTest(status=status):
                self.glance.download_status = status
                self.assert_error(503, self.copy(image["id"]), "try again")

    def test_destination_that_is_down_is_a_conflict(self) -> None:
        self.up = False
        image = self.glance.add()
        self.assert_error(409, self.copy(image["id"]), "ot2", "try again")

    def tearDown(self) -> None:
        for asked in self.glance.asked:
            self.assertEqual("GET", asked["REQUEST_METHOD"])
        super().tearDown()


class TestDestinationTenant(base.ApiTestCase):
    """Tests of Keystone's answers about the destination."""

    def setUp(self) -> None:
        self.roles: tuple[str, ...] = base.MEMBER
        self.region = "ot2"
        super().setUp()
        self.image_id = self.glance.add()["id"]

    def caller_in_project(
        self, project_id: str, context: ir_context.RequestContext
    ) -> ir_context.RequestContext:
        if project_id == base.OTHER:
            raise exception.NotFound("No destination tenant.")
        if project_id == context.project_id:
            return context
        return ir_context.RequestContext(
            project_id=project_id, roles=list(self.roles), overwrite=False
        )

    def destination_region(
        self,
        context: ir_context.RequestContext,
        source_region: str,
        wanted: str | None = None,
    ) -> identity.DestinationRegion:
        if not self.region:
            raise exception.Conflict("No destination region is known.")
        return super().destination_region(
            context, source_region, wanted or self.region
        )

    def test_unknown_tenant_is_not_found(self) -> None:
        self.assert_error(404, self.copy(self.image_id, base.OTHER))
        self.assertEqual(0, self.count_jobs())

    def test_reader_of_the_destination_is_forbidden(self) -> None:
        for roles in ((), base.READER):
            self.roles = roles
            self.assert_error(403, self.copy(self.image_id))
        self.assertEqual(0, self.count_jobs())

    def test_unknown_region_is_a_conflict(self) -> None:
        self.region = ""
        self.assert_error(409, self.copy(self.image_id), "region")

    def test_copy_onto_itself_is_a_bad_request(self) -> None:
        self.region = "ot1"
        response = self.copy(self.image_id, base.SOURCE)
        self.assert_error(400, response, "already")
        self.assertEqual(0, self.count_jobs())

    def test_own_tenant_in_another_region_is_fine(self) -> None:
        response = self.copy(self.image_id, base.SOURCE)
        self.assertEqual(202, response.status_int)

    def test_another_tenant_in_the_same_region_is_fine(self) -> None:
        self.region = "ot1"
        # A Glance of one thread cannot answer itself, so it is not asked.
        self.up = False
        self.assertEqual(202, self.copy(self.image_id).status_int)

    def test_another_s_image_may_be_copied_to_the_own_tenant(self) -> None:
        self.region = "ot1"
        image = self.glance.add(owner=base.OTHER, visibility="shared")
        response = self.copy(image["id"], base.SOURCE)
        self.assertEqual(202, response.status_int)


class TestSubRequests(base.ApiTestCase):
    """The requests to Glance have the caller's identity and nothing else."""

    def setUp(self) -> None:
        super().setUp()
        image = self.glance.add()
        self.response = self.copy(
            image["id"],
            headers={
                "X-Openstack-Request-Id": "req-forged",
                "Cookie": "secret=1",
                "Range": "bytes=5-6",
                "X-Forwarded-For": "192.0.2.1",
                "OpenStack-API-Version": "image-replicator 1.0",
            },
        )
        self.image_path = f"/v2/images/{image['id']}"

    def test_paths_are_made_of_the_checked_id_alone(self) -> None:
        self.assertEqual(
            [self.image_path, f"{self.image_path}/file"],
            [asked["PATH_INFO"] for asked in self.glance.asked],
        )
        for asked in self.glance.asked:
            self.assertEqual("", asked["QUERY_STRING"])
            self.assertEqual("", asked["SCRIPT_NAME"])

    def test_one_byte_is_asked_for(self) -> None:
        self.assertNotIn("HTTP_RANGE", self.glance.asked[0])
        self.assertEqual("bytes=0-0", self.glance.asked[1]["HTTP_RANGE"])

    def test_identity_goes_along(self) -> None:
        for asked in self.glance.asked:
            for key, value in base.environ().items():
                if key.startswith("HTTP_"):
                    self.assertEqual(value, asked[key])
            self.assertIn(ir_context.TOKEN_AUTH, asked)

    def test_the_other_header_for_a_token_goes_along(self) -> None:
        caller = base.environ()
        caller["HTTP_X_STORAGE_TOKEN"] = caller.pop("HTTP_X_AUTH_TOKEN")
        self.copy(self.glance.add()["id"], caller=caller)
        asked = self.glance.asked[-1]
        self.assertEqual("t0ken-of-the-caller", asked["HTTP_X_STORAGE_TOKEN"])

    def test_request_id_goes_along(self) -> None:
        request_id = self.response.headers["X-Openstack-Request-Id"]
        for asked in self.glance.asked:
            self.assertEqual(request_id, asked["HTTP_X_OPENSTACK_REQUEST_ID"])

    def test_nothing_else_goes_along(self) -> None:
        for asked in self.glance.asked:
            for name in (
                "COOKIE",
                "X_FORWARDED_FOR",
                "OPENSTACK_API_VERSION",
                "ACCEPT",
            ):
                self.assertNotIn(f"HTTP_{name}", asked)
            self.assertNotIn(asked.get("CONTENT_LENGTH", "0"), ("1", "2"))


class TestCancel(base.ApiTestCase):
    def delete(self, job_id: str, **kwargs: Any) -> webob.Response:
        return self.request("DELETE", f"/jobs/{job_id}", **kwargs)

    def test_waiting_job_is_to_be_canceled_and_stays_readable(self) -> None:
        job_id = self.add_job()
        response = self.delete(job_id)
        self.assertEqual(204, response.status_int)
        self.assertEqual(b"", response.body)
        job = self.get(f"/jobs/{job_id}").json
        self.assertEqual("cancel_requested", job["status"])

    def test_job_that_cannot_be_canceled_says_why(self) -> None:
        for status in JobStatus:
            if status in ("replicate_requested", "replicating"):
                continue
            with self.subTest(status=status):
                response = self.delete(self.add_job(status=status))
                self.assert_error(409, response, status)

    def test_unknown_job_is_not_found(self) -> None:
        for job_id in (uuidutils.generate_uuid(), "none", "..", "%00"):
            with self.subTest(job_id=job_id):
                self.assert_error(404, self.delete(job_id))

    def test_destination_tenant_may_look_but_not_touch(self) -> None:
        job_id = self.add_job()
        caller = base.environ(base.DESTINATION)
        self.assertEqual(
            200, self.get(f"/jobs/{job_id}", caller=caller).status_int
        )
        self.assert_error(403, self.delete(job_id, caller=caller))

    def test_unrelated_tenant_s_job_looks_like_none(self) -> None:
        job_id = self.add_job()
        none = uuidutils.generate_uuid()
        caller = base.environ(base.OTHER)
        for method in ("GET", "DELETE"):
            hidden, missing = (
                self.request(method, f"/jobs/{path}", caller=caller)
                for path in (job_id, none)
            )
            self.assert_error(404, hidden)
            self.assertEqual(missing.text.replace(none, job_id), hidden.text)
        self.assertEqual(
            JobStatus.REPLICATE_REQUESTED, self.repository.get(job_id).status
        )

    def test_administrator_may_cancel_any(self) -> None:
        admin = base.environ("f" * 32, base.ADMIN)
        response = self.delete(self.add_job(), caller=admin)
        self.assertEqual(204, response.status_int)
