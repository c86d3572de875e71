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

"""The methods of the stores, each with one job."""

import dataclasses
import datetime

from oslo_db.sqlalchemy import test_fixtures

from image_replicator import exception
from image_replicator.errors import ErrorCode
from image_replicator.jobs import FINAL
from image_replicator.jobs import Job
from image_replicator.jobs import JobStatus
from image_replicator.jobs import Verification
from image_replicator.tests.functional.db import base

load_tests = test_fixtures.optimize_module_test_loader()

HOUR = datetime.timedelta(hours=1)


class Creating(base.JobsMixin):
    def test_a_job_is_read_as_it_was_asked_for(self) -> None:
        new = base.new_job(image_size=5 * 2**40)
        job = self.jobs.get(self.jobs.create(new))
        for field in dataclasses.fields(new):
            self.assertEqual(
                getattr(new, field.name), getattr(job, field.name)
            )
        self.assertIs(JobStatus.REPLICATE_REQUESTED, job.status)
        self.assertEqual((0, 0), (job.claim_number, job.bytes_copied))
        self.assertEqual(job.created_at, job.updated_at)
        for name in (
            "destination_image_id",
            "reserved_image_id",
            "worker_id",
            "error_code",
            "error_message",
            "started_at",
            "finished_at",
        ):
            self.assertIsNone(getattr(job, name), name)

    def test_there_is_no_such_job(self) -> None:
        self.assertRaises(exception.JobNotFound, self.jobs.get, "none")
        self.assertRaises(
            exception.JobNotFound, self.jobs.request_cancel, "none"
        )

    def test_the_same_copy_twice(self) -> None:
        new = base.new_job()
        job_id = self.jobs.create(new)
        for status in JobStatus:
            with base.telling(status):
                self.change(
                    job_id,
                    status=status,
                    active=None if status in FINAL else True,
                )
                if status in FINAL:
                    second = self.jobs.create(new)
                    self.assertNotEqual(job_id, second)
                    self.change(second, active=None, status="error")
                else:
                    self.assertRaises(
                        exception.DuplicateJob, self.jobs.create, new
                    )

    def test_the_columns_that_make_a_copy_another(self) -> None:
        values = {"source_image_id": "image"}
        self.jobs.create(base.new_job(**values))
        for name in (
            "source_image_id",
            "source_region_id",
            "destination_tenant_id",
            "destination_region_id",
        ):
            self.jobs.create(base.new_job(**values | {name: "another"}))
        for name in ("source_tenant_id", "source_image_name", "request_id"):
            self.assertRaises(
                exception.DuplicateJob,
                self.jobs.create,
                base.new_job(**values | {name: "another"}),
            )


class Working(base.JobsMixin):
    def test_nothing_waits(self) -> None:
        self.assertIsNone(self.queue.claim_next("worker"))
        self.assertIsNone(self.queue.claim_canceled("worker"))

    def test_a_copy_from_claim_to_end(self) -> None:
        job_id = self.jobs.create(base.new_job())
        job, claim = self.queue.claim_next("worker")
        self.assertEqual(job, self.jobs.get(job_id))
        self.assertEqual(("worker", 1), (job.worker_id, job.claim_number))
        self.assertEqual(job.started_at, job.updated_at)
        self.assertLessEqual(job.created_at, job.started_at)

        self.owned.reserve_image(claim, "image")
        job = self.jobs.get(job_id)
        self.assertEqual("image", job.reserved_image_id)
        self.assertIsNone(job.destination_image_id)
        self.owned.image_created(claim, "image")
        self.assertEqual("image", self.jobs.get(job_id).destination_image_id)
        self.assertIs(
            JobStatus.REPLICATING,
            self.owned.record_progress(claim, 999, 3 * 2**40),
        )
        job = self.jobs.get(job_id)
        self.assertEqual((999, 99), (job.bytes_copied, job.copy_progress))
        self.assertEqual(3 * 2**40, job.bytes_per_second)

        self.owned.finish(claim, 1000, 77, base.VERIFICATION)
        job = self.jobs.get(job_id)
        self.assertEqual((1000, 100), (job.bytes_copied, job.copy_progress))
        self.assertEqual(77, job.bytes_per_second)
        self.assertEqual(base.VERIFICATION, _verification(job))
        self.assertEqual("image", job.destination_image_id)
        self.assertIsNone(job.reserved_image_id)
        self.assertEqual(job.finished_at, job.updated_at)

    def test_oldest_first(self) -> None:
        minutes = [7, 2, 9, 4, 0]
        ids = self.insert(
            *(
                base.row(
                    created_at=base.LONG_AGO + datetime.timedelta(minutes=m)
                )
                for m in minutes
            )
        )
        claimed = [self.queue.claim_next("worker")[0].id for _ in ids]
        self.assertEqual(
            [ids[minutes.index(minute)] for minute in sorted(minutes)], claimed
        )

    def test_oldest_canceled_first(self) -> None:
        old, older = self.insert(
            *(
                base.row(
                    status=JobStatus.CANCEL_REQUESTED,
                    created_at=base.LONG_AGO - datetime.timedelta(hours=hours),
                )
                for hours in (1, 2)
            )
        )
        claimed = [self.queue.claim_canceled("worker") for _ in range(2)]
        self.assertEqual([older, old], [job.id for job, _ in claimed])

    def test_a_canceled_job_is_cleaned_up_under_its_claim(self) -> None:
        job_id = self.jobs.create(base.new_job())
        self.jobs.request_cancel(job_id)
        self.assertIsNone(self.queue.claim_next("worker"))
        job, claim = self.queue.claim_canceled("worker")
        self.assertIs(JobStatus.CANCELING, job.status)
        self.assertEqual((1, 0), (claim.claim_number, job.attempts))
        self.owned.finish_cancel(claim)
        self.assertIs(JobStatus.CANCELED, self.jobs.get(job_id).status)

    def test_the_owner_learns_of_a_cancel_by_its_progress(self) -> None:
        job_id = self.jobs.create(base.new_job())
        _, claim = self.queue.claim_next("worker")
        self.owned.record_progress(claim, 300)
        self.jobs.request_cancel(job_id)
        self.assertIsNone(self.queue.claim_canceled("another"))
        self.assertIs(
            JobStatus.CANCEL_REQUESTED, self.owned.record_progress(claim, 600)
        )
        self.assertEqual(300, self.jobs.get(job_id).bytes_copied)
        self.owned.begin_cancel(claim)
        self.owned.image_removed(claim)
        self.owned.finish_cancel(claim)
        job = self.jobs.get(job_id)
        self.assertIs(JobStatus.CANCELED, job.status)
        self.assertIsNone(job.destination_image_id)

    def test_giving_back_spends_no_attempt(self) -> None:
        job_id = self.jobs.create(base.new_job())
        first, claim = self.queue.claim_next("worker")
        self.owned.reserve_image(claim, "left behind")
        self.owned.record_progress(claim, 300)
        self.owned.give_back(claim)
        job = self.jobs.get(job_id)
        self.assertEqual(
            (0, 0, None),
            (job.attempts, job.bytes_copied, job.worker_id),
        )
        # The row must still name the image for the next worker.
        self.assertEqual("left behind", job.reserved_image_id)
        again, _ = self.queue.claim_next("another")
        self.assertEqual(1, again.attempts)
        self.assertEqual(first.started_at, again.started_at)

    def test_a_given_back_job_is_older_than_those_behind_it(self) -> None:
        job_id = self.insert_one()
        _, claim = self.queue.claim_next("worker")
        self.jobs.create(base.new_job())
        self.owned.give_back(claim)
        self.assertEqual(job_id, self.queue.claim_next("another")[0].id)

    def test_a_failure_is_kept_in_full(self) -> None:
        job_id = self.jobs.create(base.new_job())
        _, claim = self.queue.claim_next("worker")
        message = "Größe paßt nicht: \U0001f4a5 " * 100
        self.owned.fail(claim, ErrorCode.VERIFICATION_FAILED, message)
        job = self.jobs.get(job_id)
        self.assertEqual("verification_failed", job.error_code)
        self.assertEqual(message, job.error_message)

    def test_a_removed_image_is_forgotten(self) -> None:
        job_id = self.jobs.create(base.new_job())
        _, claim = self.queue.claim_next("worker")
        self.owned.reserve_image(claim, "image")
        self.owned.image_created(claim, "image")
        self.owned.image_removed(claim)
        job = self.jobs.get(job_id)
        self.assertIsNone(job.reserved_image_id)
        self.assertIsNone(job.destination_image_id)

    def test_why_a_job_cannot_be_canceled(self) -> None:
        job_id = self.insert_one(status=JobStatus.REPLICATED)
        error = self.assertRaises(
            exception.Conflict, self.jobs.request_cancel, job_id
        )
        self.assertIn("replicated", str(error))

    def test_an_image_without_bytes_has_no_speed(self) -> None:
        job_id = self.jobs.create(base.new_job(image_size=0))
        _, claim = self.queue.claim_next("worker")
        self.owned.finish(claim, 0, None, base.VERIFICATION)
        job = self.jobs.get(job_id)
        self.assertIsNone(job.bytes_per_second)
        self.assertEqual(100, job.copy_progress)

    def test_an_attempt_that_failed_has_no_rate(self) -> None:
        for end in (
            lambda claim: self.owned.fail(
                claim, ErrorCode.DESTINATION_QUOTA_EXCEEDED, "No room is left."
            ),
            lambda claim: self.owned.retry(
                claim, 0, ErrorCode.SOURCE_BUSY, "It was busy."
            ),
            self.owned.give_back,
        ):
            job_id = self.jobs.create(base.new_job())
            _, claim = self.queue.claim_next("worker")
            self.owned.record_progress(claim, 500, 50)
            end(claim)
            self.assertIsNone(self.jobs.get(job_id).bytes_per_second)
            self.change(job_id, status=JobStatus.ERROR)


def _verification(job: Job) -> Verification:
    return Verification(
        algorithm=job.verification_algorithm or "",
        source=job.verification_source or "",
        destination=job.verification_destination or "",
    )


class Purging(base.JobsMixin):
    def _finished(self, ago: datetime.timedelta, **changes: object) -> str:
        """Insert a job that ended some time ago, by the database's clock."""
        now = self.jobs.get(self.jobs.create(base.new_job())).created_at
        return self.insert_one(
            **{"status": JobStatus.ERROR, "finished_at": now - ago} | changes
        )

    def test_only_final_and_old_ones(self) -> None:
        kept = {self._finished(HOUR * 23)}
        for status in JobStatus:
            job_id = self._finished(HOUR * 25, status=status)
            if status not in FINAL:
                kept.add(job_id)
        purged = self.jobs.purge(HOUR * 24, 1000)
        self.assertEqual(len(FINAL), purged)
        left = self.all_ids()
        self.assertEqual(kept, kept & left)
        waiting = JobStatus.REPLICATE_REQUESTED
        for job_id in left - kept:
            self.assertEqual(waiting, self.read(job_id)["status"])

    def test_in_batches_oldest_first(self) -> None:
        ids = [self._finished(HOUR * hours) for hours in (30, 50, 40, 10)]
        batches = []
        while purged := self.jobs.purge(HOUR, 3):
            batches.append((purged, self.all_ids() & set(ids)))
        self.assertEqual([(3, {ids[3]}), (1, set())], batches)

    def test_nothing_to_do(self) -> None:
        self.jobs.create(base.new_job())
        self.assertEqual(0, self.jobs.purge(datetime.timedelta(0), 10))
        self.assertEqual(1, len(self.all_ids()))

    def test_the_longest_time_there_is(self) -> None:
        self._finished(HOUR)
        self.assertEqual(0, self.jobs.purge(365000 * 24 * HOUR, 10))


class Everything(Creating, Working, Purging):
    pass


class TestRepositorySQLite(Everything, base.SQLite):
    pass


class TestRepositoryMariaDB(Everything, base.MariaDB):
    pass


class TestRepositoryPostgreSQL(Everything, base.PostgreSQL):
    pass
