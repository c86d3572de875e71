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

"""A copy is tried again only if that can help."""

from typing import Any

from devcloud import process
from image_replicator.tests.functional.cloud import base


class TestRetry(base.HeldUploadTestCase):
    def _worker(self, **options: Any) -> process.Process:
        return self.start_worker(
            worker={"max_attempts": 9, "retry_delay": 0.2, **options}
        )

    def _cut_in_the_middle(self) -> str:
        """Begin a copy, and cut the destination off during the upload."""
        job_id = self.hold_upload()
        self.relay_to_ot2.cut()
        self.relay_to_ot2.release()
        return job_id

    def test_a_copy_that_broke_off_is_done_in_the_end(self) -> None:
        self._worker()
        job_id = self._cut_in_the_middle()
        self.assert_right(job_id)
        row = self.job_row(job_id)
        self.assertGreaterEqual(row.attempts, 2)
        self.assertIsNone(row.error_code)

    def test_a_copy_that_waits_can_be_canceled(self) -> None:
        self._worker(retry_delay=1000, retry_max_delay=1000)
        job_id = self._cut_in_the_middle()
        self.wait_for(job_id, "replicate_requested")
        self.assertEqual(
            "destination_unreachable", self.job_row(job_id).error_code
        )
        self.assertEqual(204, self.cancel(job_id).status_code)
        self.wait_for(job_id, "canceled")
        self.wait_until_clean(job_id, self.before)
