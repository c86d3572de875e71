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

"""Leases and their expiry, on three databases."""

import datetime
import time
from concurrent import futures

import sqlalchemy as sa

from image_replicator import exception
from image_replicator.db import times
from image_replicator.errors import ErrorCode
from image_replicator.jobs import Claim
from image_replicator.jobs import JobStatus
from image_replicator.tests.functional.db import base


class LeasesMixin(base.JobsMixin):
    def _claimed(self) -> Claim:
        self.jobs.create(base.new_job())
        taken = self.queue.claim_next("first")
        self.assertIsNotNone(taken)
        claim: Claim = taken[1]
        return claim

    def _let_expire(self, claim: Claim) -> None:
        self.change(claim.job_id, lease_expires_at=base.LONG_AGO)

    def _seconds_left(self, claim: Claim) -> float:
        """Return the seconds until the lease expires, by the database."""
        with self.engine.connect() as connection:
            now = connection.scalars(times.utcnow().select()).one()
        lease: datetime.datetime = self.read(claim.job_id)["lease_expires_at"]
        return float((lease - now).total_seconds())

    def test_a_claim_has_a_lease(self) -> None:
        left = self._seconds_left(self._claimed())
        self.assertTrue(50 < left <= 60, left)

    def test_progress_renews_it(self) -> None:
        claim = self._claimed()
        self._let_expire(claim)
        self.owned.record_progress(claim, 1)
        self.assertTrue(50 < self._seconds_left(claim) <= 60)

    def test_it_is_renewed_while_canceling(self) -> None:
        claim = self._claimed()
        self.jobs.request_cancel(claim.job_id)
        self.owned.begin_cancel(claim)
        self._let_expire(claim)
        self.assertEqual(
            JobStatus.CANCELING, self.owned.record_progress(claim, 1)
        )
        self.assertTrue(self._seconds_left(claim) > 50)

    def test_one_that_lasts_is_let_be(self) -> None:
        claim = self._claimed()
        self.assertEqual([], self.queue.release_expired("second", []))
        self.assertEqual("first", self.read(claim.job_id)["worker_id"])

    def test_another_takes_the_job_and_the_zombie_is_fenced_off(self) -> None:
        lost = self._claimed()
        self.owned.reserve_image(lost, "left-behind")
        self._let_expire(lost)
        self.assertEqual([lost], self.queue.release_expired("second", []))
        taken = self.queue.claim_next("second")
        self.assertEqual(2, taken[1].claim_number)
        self.assertEqual("left-behind", taken[0].reserved_image_id)
        before = self.read(lost.job_id)
        for write in (
            lambda: self.owned.record_progress(lost, 5),
            lambda: self.owned.reserve_image(lost, "image"),
            lambda: self.owned.image_created(lost, "image"),
            lambda: self.owned.image_removed(lost),
            lambda: self.owned.finish(lost, 1000, 99, base.VERIFICATION),
            lambda: self.owned.fail(lost, ErrorCode.INTERNAL_ERROR, "message"),
            lambda: self.owned.give_back(lost),
        ):
            self.assertRaises(exception.ClaimLost, write)
        self.assertEqual(before, self.read(lost.job_id))

    def test_one_that_is_renewed_and_runs_out_while_it_is_looked_at(
        self,
    ) -> None:
        """The owner is halted between the renewal and its commit."""
        claim = self._claimed()
        self._let_expire(claim)
        with (
            futures.ThreadPoolExecutor(1) as pool,
            self.engine.connect() as owner,
        ):
            owner.execute(
                sa.update(base.JOBS)
                .where(base.JOBS.c.id == claim.job_id)
                .values(lease_expires_at=times.from_now(0.5))
            )
            releasing = pool.submit(self.queue.release_expired, "second", [])
            # The wait is long enough for the renewed lease to expire.
            time.sleep(1)
            self.commit_late(owner)
            releasing.result(base.PATIENCE)
        self.assertIn(
            self._owned(claim),
            [
                (JobStatus.REPLICATING, "first"),
                (JobStatus.REPLICATE_REQUESTED, None),
            ],
        )
        self.queue.release_expired("second", [])
        self.assertEqual(
            (JobStatus.REPLICATE_REQUESTED, None), self._owned(claim)
        )

    def commit_late(self, owner: sa.Connection) -> None:
        """Commit while another transaction waits for the lock."""
        owner.commit()

    def _owned(self, claim: Claim) -> tuple[str, str | None]:
        row = self.read(claim.job_id)
        return row["status"], row["worker_id"]

    def test_a_cancel_goes_on_elsewhere(self) -> None:
        for begun in (False, True):
            lost = self._claimed()
            self.jobs.request_cancel(lost.job_id)
            if begun:
                self.owned.begin_cancel(lost)
            self._let_expire(lost)
            self.assertEqual([lost], self.queue.release_expired("second", []))
            job, claim = self.queue.claim_canceled("second")
            self.assertEqual(lost.job_id, job.id)
            self.assertEqual(JobStatus.CANCELING, job.status)
            self.assertRaises(
                exception.ClaimLost, self.owned.finish_cancel, lost
            )
            self.owned.finish_cancel(claim)

    def _lose(self, claim: Claim) -> Claim:
        self._let_expire(claim)
        self.assertEqual([claim], self.queue.release_expired("second", []))
        return claim

    def test_a_lost_claim_stays_void_after_later_claims(self) -> None:
        """A lost claim does not become valid through a later one."""
        lost = [self._lose(self._claimed())]
        self.jobs.request_cancel(lost[0].job_id)
        for _number in range(2):
            _job, claim = self.queue.claim_canceled("first")
            lost.append(self._lose(claim))
        job, claim = self.queue.claim_canceled("first")
        for each in lost:
            self.assertRaises(
                exception.ClaimLost, self.owned.reserve_image, each, "image"
            )
            self.assertRaises(
                exception.ClaimLost, self.owned.finish_cancel, each
            )
        self.assertEqual(1, job.attempts)
        self.owned.finish_cancel(claim)

    def test_a_worker_does_not_release_its_running_jobs(self) -> None:
        claim = self._claimed()
        self._let_expire(claim)
        self.assertEqual(
            [], self.queue.release_expired("first", [claim.job_id])
        )
        self.assertEqual([claim], self.queue.release_expired("first", []))

    def test_an_ended_job_has_no_lease(self) -> None:
        claim = self._claimed()
        self.owned.finish(claim, 1000, 99, base.VERIFICATION)
        self.assertIsNone(self.read(claim.job_id)["lease_expires_at"])
        self.jobs.create(base.new_job())
        _job, given = self.queue.claim_next("first")
        self.owned.give_back(given)
        self.assertIsNone(self.read(given.job_id)["lease_expires_at"])


class TestLeasesSQLite(LeasesMixin, base.SQLite):
    pass


class TestLeasesMariaDB(LeasesMixin, base.MariaDB):
    pass


class TestLeasesPostgreSQL(LeasesMixin, base.PostgreSQL):
    pass
