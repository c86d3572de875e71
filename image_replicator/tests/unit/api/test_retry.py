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

"""Retries: the jobs that allow one, and the rights that they need."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from oslo_utils import uuidutils

from image_replicator import context as ir_context
from image_replicator import exception
from image_replicator import jobs
from image_replicator.api import router
from image_replicator.jobs import JobStatus
from image_replicator.tests.unit.api import base


class TestRetry(base.ApiTestCase):
    def test_job_is_queued_once_more(self) -> None:
        for status in (JobStatus.CANCELED, JobStatus.ERROR):
            job_id = self.add_job_that_is_over(
                status=status, error_code="internal_error", claim_number=5
            )
            response = self.retry(job_id)
            self.assertEqual(202, response.status_int, response.body)
            self.assertEqual(b"", response.body)
            self.assertNotIn("Content-Type", response.headers)
            self.assertEqual(
                f"{router.JOBS_PATH}/{job_id}", response.headers["Location"]
            )
            job = self.get(f"/jobs/{job_id}", headers=base.V1_1).json
            self.assertEqual("replicate_requested", job["status"])
            self.assertIsNone(job["error"])
            self.assertEqual(0, job["attempts"])

    def test_job_that_is_not_over_or_was_successful_is_a_conflict(
        self,
    ) -> None:
        for status in set(JobStatus) - jobs.RETRYABLE:
            # Its image does not exist, but the message must not be about that.
            response = self.retry(self.add_job(status=status, active=None))
            self.assert_error(409, response, status, "canceled or in error")

    def test_second_retry_is_a_conflict(self) -> None:
        job_id = self.add_job_that_is_over()
        self.assertEqual(202, self.retry(job_id).status_int)
        self.assert_error(409, self.retry(job_id), "replicate_requested")

    def test_the_same_copy_under_way_is_a_conflict(self) -> None:
        job_id = self.add_job_that_is_over()
        image_id = self.repository.get(job_id).source_image_id
        self.assertEqual(202, self.copy(image_id).status_int)
        self.assert_error(409, self.retry(job_id), "already under way")

    def test_unknown_job_is_not_found(self) -> None:
        for job_id in (uuidutils.generate_uuid(), "none", "%00"):
            self.assert_error(404, self.retry(job_id))

    def test_job_whose_source_is_in_another_region_is_a_conflict(self) -> None:
        """Our own image service is not that of the job's source."""
        job_id = self.add_job_that_is_over(source_region_id="ot3")
        self.assert_error(409, self.retry(job_id), "ot3")
        self.assertEqual([], self.glance.asked)

    def test_region_of_the_job_is_kept(self) -> None:
        job_id = self.add_job_that_is_over(destination_region_id="ot4")
        self.assertEqual(202, self.retry(job_id).status_int)
        job = self.repository.get(job_id)
        self.assertEqual("ot4", job.destination_region_id)


class TestWhoMayRetry(base.ApiTestCase):
    def test_destination_tenant_may_look_but_not_touch(self) -> None:
        job_id = self.add_job_that_is_over()
        caller = base.environ(base.DESTINATION)
        self.assert_error(403, self.retry(job_id, caller=caller))

    def test_reader_may_not(self) -> None:
        caller = base.environ(roles=base.READER)
        job_id = self.add_job_that_is_over()
        self.assert_error(403, self.retry(job_id, caller=caller))

    def test_unrelated_tenant_s_job_looks_like_none(self) -> None:
        job_id, none = self.add_job_that_is_over(), uuidutils.generate_uuid()
        caller = base.environ(base.OTHER)
        hidden = self.retry(job_id, caller=caller)
        missing = self.retry(none, caller=caller)
        self.assert_error(404, hidden)
        self.assertEqual(missing.text.replace(none, job_id), hidden.text)

    def test_administrator_may_for_the_tenant_that_asked(self) -> None:
        job_id = self.add_job_that_is_over()
        admin = base.environ("f" * 32, base.ADMIN)
        self.assertEqual(202, self.retry(job_id, caller=admin).status_int)
        self.assertEqual(
            base.SOURCE, self.repository.get(job_id).source_tenant_id
        )

    def test_without_rights_nothing_is_learned_from_validation(self) -> None:
        job_id = self.add_job_that_is_over()
        for caller, status in (
            (base.environ(roles=base.READER), 403),
            (base.environ(base.OTHER), 404),
        ):
            for body in (b"", b"{", b" " * 100000, b'{"x": {}}'):
                response = self.act(job_id, body, caller=caller)
                self.assert_error(status, response)

    def test_valid_body_comes_before_the_job_s_status(self) -> None:
        response = self.act(self.add_job(), {"restart": {}})
        self.assert_error(400, response, "restart")


class TestProof(base.ApiTestCase):
    """Another run needs the same rights as a new job."""

    def setUp(self) -> None:
        self.roles: tuple[str, ...] = base.MEMBER
        self.error: exception.RequestError | None = None
        super().setUp()

    def caller_in_project(
        self, project_id: str, context: ir_context.RequestContext
    ) -> ir_context.RequestContext:
        if self.error:
            raise self.error
        self.assertEqual(base.DESTINATION, project_id)
        return ir_context.RequestContext(
            project_id=project_id, roles=list(self.roles), overwrite=False
        )

    def assert_same(
        self, status: int, change: Callable[[dict[str, Any]], Any]
    ) -> None:
        """Check that a retry is refused as a new job is.

        :param change: of the image after its first job
        """
        image = self.glance.add()
        job_id = self.add_job_that_is_over(source_image_id=image["id"])
        change(image)
        new, again = self.copy(image["id"]), self.retry(job_id)
        self.assert_error(status, again)
        self.assertEqual(new.json, again.json)
        job = self.repository.get(job_id)
        self.assertEqual(JobStatus.CANCELED, job.status)

    def test_caller_has_no_role_in_the_destination_by_now(self) -> None:
        self.roles = ()
        self.assert_same(403, lambda image: None)
        self.roles = base.READER
        self.assert_same(403, lambda image: None)

    def test_caller_cannot_get_at_the_destination_by_now(self) -> None:
        for status, error in (
            (404, exception.NotFound("No destination tenant.")),
            (403, exception.Forbidden("An application credential.")),
            (503, exception.ServiceUnavailable("No Keystone.")),
        ):
            self.error = error
            self.assert_same(status, lambda image: None)

    def test_image_is_gone_by_now(self) -> None:
        self.assert_same(404, lambda image: self.glance.images.clear())

    def test_image_is_not_active_by_now(self) -> None:
        self.assert_same(409, lambda i: i.update(status="deactivated"))

    def test_image_has_a_refused_property_by_now(self) -> None:
        self.assert_same(409, lambda i: i.update(kernel_id="x"))

    def test_image_may_not_be_downloaded_by_now(self) -> None:
        self.glance.download_status = HTTPStatus.FORBIDDEN
        self.assert_same(403, lambda image: None)

    def test_destination_is_down(self) -> None:
        self.up = False
        self.assert_same(409, lambda image: None)
