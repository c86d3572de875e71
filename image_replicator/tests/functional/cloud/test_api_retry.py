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

"""Retries of jobs, and the rights that they need."""

import collections
from typing import Any

from oslo_utils import uuidutils

from image_replicator.jobs import JobStatus
from image_replicator.tests.functional.cloud import api_base


class TestRun(api_base.ApiTestCase):
    def assert_retried(self, job_id: str) -> None:
        """Retry a job, and check that it is replicated."""
        reply = self.retry(job_id)
        self.assertEqual(202, reply.status_code, reply.text)
        self.assertEqual(b"", reply.content)
        self.assertNotIn("Content-Type", reply.headers)
        self.assertTrue(
            reply.headers["Location"].endswith(
                f"/v2/extension/image_replicator/jobs/{job_id}"
            )
        )
        self.wait_for(job_id, "replicated", "error")
        job = self.job_1_1(job_id)
        self.assertEqual("replicated", job["status"])
        self.assertEqual(1, job["attempts"])
        self.assertIsNone(job["error"])
        self.assertLessEqual(job["created_at"], job["started_at"])
        images = self.cloud.images("ot2", "alice", "destination")
        copy = images.get(job["destination_image_id"])
        self.assertEqual("active", copy["status"])
        self.assertEqual(
            copy["os_hash_value"], job["verification"]["destination"]
        )

    def test_job_that_was_canceled(self) -> None:
        image_id = self.cloud.images("ot1").create()["id"]
        job_id = self.ask_for_copy(image_id)
        self.assertEqual(204, self.cancel(job_id).status_code)
        self.start_worker()
        self.wait_for(job_id, "canceled")
        self.assert_retried(job_id)

    def test_job_that_failed(self) -> None:
        relay = self.relay("ot1")
        relay.refuse()
        image_id = self.cloud.images("ot1").create()["id"]
        job_id = self.ask_for_copy(image_id)
        self.start_worker()
        self.wait_for(job_id, "error")
        self.assertEqual(
            "source_unreachable", self.job_1_1(job_id)["error"]["code"]
        )
        relay.refuse(False)
        self.assert_retried(job_id)


class RetryTestCase(api_base.ApiTestCase):
    """Tests without a worker, of whether a job is queued again.

    :ivar image_id: an image
    :ivar job_id: a canceled job of it
    """

    def setUp(self) -> None:
        super().setUp()
        self.image_id = self.cloud.images("ot1").create()["id"]
        self.job_id = self.add_job_that_is_over()

    def add_job_that_is_over(self, **values: Any) -> str:
        (job_id,) = self.add_jobs(
            {
                "source_image_id": self.image_id,
                "status": JobStatus.CANCELED,
                "active": None,
                **values,
            }
        )
        return job_id

    def assert_as_for_a_new_job(
        self, status: int, *words: str, **who: Any
    ) -> None:
        """Check that a retry is refused as a new job is."""
        new = self.copy(self.image_id, **who)
        again = self.retry(self.job_id, **who)
        self.assert_error(status, again, *words)
        self.assertEqual(new.json(), again.json())
        self.assertEqual("canceled", self.job(self.job_id)["status"])


class TestWhichJobs(RetryTestCase):
    def test_job_whose_source_is_in_the_other_region(self) -> None:
        """Both regions' APIs show it, but only the source's can retry it."""
        reply = self.retry(self.job_id, region="ot2")
        self.assert_error(409, reply, "region ot1")
        self.assertEqual(202, self.retry(self.job_id).status_code)

    def test_many_ask_at_once_and_one_is_served(self) -> None:
        self.cloud.token()
        replies = self.at_once(lambda number: self.retry(self.job_id))
        statuses = collections.Counter(reply.status_code for reply in replies)
        self.assertEqual({202: 1, 409: api_base.CROWD - 1}, statuses)


class TestProof(RetryTestCase):
    """A retry needs the rights that a new job needs."""

    def new_member(self, role_in_destination: str | None = None) -> str:
        """Return a member of the source tenant.

        :param role_in_destination: None for no role there
        """
        name = uuidutils.generate_uuid()
        roles = {"source": "member"}
        if role_in_destination:
            roles["destination"] = role_in_destination
        self.cloud.create_user(name, roles)
        return name

    def test_member_of_both_who_did_not_make_the_job(self) -> None:
        reply = self.retry(self.job_id, user=self.new_member("member"))
        self.assertEqual(202, reply.status_code, reply.text)

    def test_member_without_a_role_in_the_destination(self) -> None:
        self.assert_as_for_a_new_job(
            404, "destination tenant", user=self.new_member()
        )

    def test_reader_of_the_destination(self) -> None:
        self.assert_as_for_a_new_job(
            403, "roles", user=self.new_member("reader")
        )

    def test_application_credential(self) -> None:
        session = self.cloud.application_credential("alice", "source")
        self.assert_as_for_a_new_job(
            403, "application credential", session=session
        )

    def test_administrator_without_a_role_in_the_destination(self) -> None:
        reply = self.retry(self.job_id, user="admin", project="admin")
        self.assert_error(404, reply, "destination tenant")

    def test_image_that_was_deleted(self) -> None:
        self.cloud.images("ot1").delete(self.image_id)
        self.assert_as_for_a_new_job(404, self.image_id)

    def test_image_that_was_deactivated(self) -> None:
        self.cloud.image_client("ot1", "admin", "admin").post(
            f"/v2/images/{self.image_id}/actions/deactivate"
        )
        self.assert_as_for_a_new_job(409, "deactivated")

    def test_image_that_is_not_shared_any_more(self) -> None:
        """The job is of a community image that its owner made private."""
        owner = self.cloud.images("ot1", "alice", "destination")
        self.image_id = owner.create(visibility="community")["id"]
        self.job_id = self.add_job_that_is_over()
        owner.client.patch(
            f"/v2/images/{self.image_id}",
            json=[
                {"op": "replace", "path": "/visibility", "value": "private"}
            ],
            headers={
                "Content-Type": "application/openstack-images-v2.1-json-patch"
            },
        )
        self.assert_as_for_a_new_job(404, self.image_id)

    def test_destination_that_is_down(self) -> None:
        self.take_down("ot2")
        self.assert_as_for_a_new_job(409, "ot2", "try again")
