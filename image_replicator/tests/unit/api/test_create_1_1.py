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

"""Requests for a copy in version 1.1, and the operator's limits."""

import io
import json
from typing import Any

import webob

from image_replicator import context as ir_context
from image_replicator import exception
from image_replicator import identity
from image_replicator import jobs
from image_replicator.api import router
from image_replicator.jobs import JobStatus
from image_replicator.tests.unit.api import base


class CreateTestCase(base.ApiTestCase):
    def create(self, **values: Any) -> webob.Response:
        """Request a copy in version 1.1.

        :param values: of the body; the image exists
        """
        body = {"tenant_id_dst": base.DESTINATION, **values}
        body.setdefault("image_id", self.glance.add()["id"])
        return self.post(body, headers=base.V1_1)

    def created(self, **values: Any) -> jobs.Job:
        """Request a copy, and return its job."""
        response = self.create(**values)
        self.assertEqual(202, response.status_int, response.body)
        self.assertEqual({"job_id"}, set(response.json))
        return self.repository.get(response.json["job_id"])


class TestChunked(CreateTestCase):
    def test_body_without_a_length_is_read_where_it_ends(self) -> None:
        body = {
            "image_id": self.glance.add()["id"],
            "tenant_id_dst": base.DESTINATION,
        }
        request = webob.Request.blank(
            router.JOBS_PATH, environ=base.environ(), method="POST"
        )
        request.environ |= {
            "wsgi.input": io.BytesIO(json.dumps(body).encode()),
            "wsgi.input_terminated": True,
            "HTTP_TRANSFER_ENCODING": "chunked",
        }
        response = request.get_response(self.extension)
        self.assertEqual(202, response.status_int, response.text)


class TestRegion(CreateTestCase):
    def destination_region(
        self,
        context: ir_context.RequestContext,
        source_region: str,
        wanted: str | None = None,
    ) -> identity.DestinationRegion:
        if wanted == "nowhere":
            raise exception.Conflict("The region nowhere offers no images.")
        return super().destination_region(context, source_region, wanted)

    def test_the_requested_region_is_the_destination(self) -> None:
        for region in ("ot3", "ot1", "регион"):
            job = self.created(region_id_dst=region)
            self.assertEqual(region, job.destination_region_id)

    def test_nothing_needs_to_be_asked_for(self) -> None:
        self.assertEqual("ot2", self.created().destination_region_id)

    def test_region_that_is_not_there_is_a_conflict(self) -> None:
        response = self.create(region_id_dst="nowhere")
        self.assert_error(409, response, "nowhere")
        self.assertEqual(0, self.count_jobs())

    def test_copy_onto_itself_is_a_bad_request(self) -> None:
        response = self.create(tenant_id_dst=base.SOURCE, region_id_dst="ot1")
        self.assert_error(400, response, "already")
        self.assertEqual(0, self.count_jobs())

    def test_region_that_is_down_is_a_conflict(self) -> None:
        self.up = False
        response = self.create(region_id_dst="ot3")
        self.assert_error(409, response, "ot3", "try again")

    def test_the_same_to_two_regions_are_two_copies(self) -> None:
        image_id = self.glance.add()["id"]
        for region in ("ot2", "ot3"):
            self.created(image_id=image_id, region_id_dst=region)
        response = self.create(image_id=image_id, region_id_dst="ot3")
        self.assert_error(409, response, "under way")


class TestName(CreateTestCase):
    def test_the_requested_name_is_the_copys(self) -> None:
        for name in ("golden", "", "Убунту \uffee '\"\\", "x" * 255):
            job = self.created(name=name)
            self.assertEqual(name, job.destination_image_name)
            self.assertEqual("Test-image-Ubuntu", job.source_image_name)

    def test_nothing_needs_to_be_asked_for(self) -> None:
        self.assertIsNone(self.created().destination_image_name)


class TestLimits(CreateTestCase):
    def test_image_that_is_too_large_is_refused_with_the_figure(self) -> None:
        self.build(api={"max_image_size": 1000})
        for size in (0, 999, 1000):
            self.created(image_id=self.glance.add(size=size)["id"])
        large = self.glance.add(size=1001)["id"]
        for response in (self.create(image_id=large), self.copy(large)):
            self.assert_error(413, response, "1001", "1000 bytes")
        self.assertEqual(3, self.count_jobs())

    def test_without_a_limit_any_size_will_do(self) -> None:
        self.created(image_id=self.glance.add(size=2**62)["id"])

    def test_too_many_active_jobs_are_refused_with_the_figure(self) -> None:
        self.build(api={"max_active_jobs_per_tenant": 2})
        self.created()
        self.created()
        for response in (self.create(), self.copy(self.glance.add()["id"])):
            self.assert_error(413, response, "2 active jobs")
        self.assertEqual(2, self.count_jobs())

    def test_jobs_that_are_over_and_those_of_others_do_not_count(self) -> None:
        self.build(api={"max_active_jobs_per_tenant": 1})
        self.add_job(source_tenant_id=base.OTHER)
        for status in jobs.FINAL:
            self.add_job(status=status, active=None)
        self.created()

    def test_another_run_counts_like_a_new_job(self) -> None:
        self.build(api={"max_active_jobs_per_tenant": 1})
        job_id = self.add_job_that_is_over()
        self.created()
        self.assert_error(413, self.retry(job_id), "1 active jobs")
        self.assertEqual(
            JobStatus.CANCELED, self.repository.get(job_id).status
        )

    def test_another_run_is_of_an_image_that_may_be_copied(self) -> None:
        self.build(api={"max_image_size": 3})
        self.assert_error(413, self.retry(self.add_job_that_is_over()), "3")
