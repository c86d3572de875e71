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

"""The operator's limits for tenants."""

from devcloud import cloud
from image_replicator.tests.functional.cloud import api_base


class TestLimits(api_base.ApiTestCase):
    options = cloud.Options(
        replicator_config={
            "api": {"max_image_size": 10, "max_active_jobs_per_tenant": 1}
        }
    )

    def test_both(self) -> None:
        """This is one test, as its cloud takes some time to start."""
        images = self.cloud.images("ot1")
        large = images.create(b"01234567890")["id"]
        for reply in (self.copy(large), self.copy_1_1(large)):
            self.assert_error(413, reply, "11 bytes", "10 bytes")
        first, second = (images.create(b"0123456789")["id"] for _ in "ab")
        job_id = self.ask_for_copy(first)
        for reply in (self.copy(second), self.copy_1_1(second)):
            self.assert_error(413, reply, "1 active jobs")
        self.assertEqual(1, self.count_jobs())
        self.check_another_run(job_id, second)

    def check_another_run(self, job_id: str, image_id: str) -> None:
        """A retry counts as a new job does."""
        self.assertEqual(204, self.cancel(job_id).status_code)
        worker = self.start_worker()
        self.wait_for(job_id, "canceled")
        worker.stop()
        self.ask_for_copy(image_id)
        self.assert_error(413, self.retry(job_id), "1 active jobs")
        self.assertEqual("canceled", self.job(job_id)["status"])
        # Another tenant has its own limit.
        theirs = self.cloud.images("ot1", "alice", "destination")
        reply = self.copy(
            theirs.create(b"")["id"], "source", project="destination"
        )
        self.assertEqual(202, reply.status_code, reply.text)
