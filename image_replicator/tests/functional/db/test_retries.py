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

"""Jobs that wait for their next attempt, on three databases."""

from image_replicator import exception
from image_replicator.errors import ErrorCode
from image_replicator.jobs import Claim
from image_replicator.jobs import JobStatus
from image_replicator.tests.functional.db import base


class RetriesMixin(base.JobsMixin):
    def _failed(self, seconds: float) -> Claim:
        """Return the claim of an attempt that failed."""
        self.jobs.create(base.new_job())
        claim: Claim = self.queue.claim_next("worker")[1]
        self.owned.record_progress(claim, 500)
        self.owned.retry(claim, seconds, ErrorCode.SOURCE_BUSY, "It was busy.")
        return claim

    def test_it_waits(self) -> None:
        claim = self._failed(1000)
        self.assertIsNone(self.queue.claim_next("worker"))
        row = self.read(claim.job_id)
        self.assertEqual(JobStatus.REPLICATE_REQUESTED, row["status"])
        self.assertEqual("source_busy", row["error_code"])
        self.assertEqual(0, row["bytes_copied"])
        self.assertEqual(1, row["claim_number"])
        wait = (row["retry_at"] - row["updated_at"]).total_seconds()
        self.assertTrue(999 < wait < 1001, wait)

    def test_others_do_not_wait_for_it(self) -> None:
        self._failed(1000)
        other = self.jobs.create(base.new_job())
        self.assertEqual(other, self.queue.claim_next("worker")[0].id)

    def test_its_time_comes(self) -> None:
        claim = self._failed(1000)
        self.change(claim.job_id, retry_at=base.LONG_AGO)
        job, again = self.queue.claim_next("another")
        self.assertEqual(2, again.claim_number)
        self.assertIsNone(job.error_code)
        self.assertIsNone(job.error_message)

    def test_a_cancel_does_not_wait(self) -> None:
        claim = self._failed(1000)
        self.jobs.request_cancel(claim.job_id)
        job, _claim = self.queue.claim_canceled("worker")
        self.assertEqual(claim.job_id, job.id)

    def _canceling(self) -> Claim:
        job_id = self.jobs.create(base.new_job())
        self.jobs.request_cancel(job_id)
        claim: Claim = self.queue.claim_canceled("worker")[1]
        return claim

    def test_a_cancel_that_could_not_be_done_waits(self) -> None:
        claim = self._canceling()
        self.owned.postpone_cancel(claim, 1000)
        row = self.read(claim.job_id)
        self.assertEqual(JobStatus.CANCELING, row["status"])
        self.assertIsNone(row["worker_id"])
        self.assertIsNone(row["lease_expires_at"])
        wait = (row["retry_at"] - row["updated_at"]).total_seconds()
        self.assertTrue(999 < wait < 1001, wait)
        self.assertIsNone(self.queue.claim_canceled("another"))
        self.assertRaises(exception.ClaimLost, self.owned.finish_cancel, claim)

    def test_nobody_waits_for_it(self) -> None:
        self.owned.postpone_cancel(self._canceling(), 1000)
        other = self.jobs.create(base.new_job())
        self.jobs.request_cancel(other)
        self.assertEqual(other, self.queue.claim_canceled("another")[0].id)

    def test_its_time_to_be_canceled_comes(self) -> None:
        claim = self._canceling()
        self.owned.postpone_cancel(claim, 1000)
        self.change(claim.job_id, retry_at=base.LONG_AGO)
        job, again = self.queue.claim_canceled("another")
        self.assertEqual(claim.job_id, job.id)
        self.assertIsNone(job.retry_at)
        self.owned.finish_cancel(again)


class TestRetriesSQLite(RetriesMixin, base.SQLite):
    pass


class TestRetriesMariaDB(RetriesMixin, base.MariaDB):
    pass


class TestRetriesPostgreSQL(RetriesMixin, base.PostgreSQL):
    pass
