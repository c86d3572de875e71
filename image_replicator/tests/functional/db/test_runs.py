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

"""Further runs of a job, and the limit on a tenant's active jobs."""

import datetime
from typing import Any

from oslo_db.sqlalchemy import test_fixtures

from image_replicator import exception
from image_replicator.errors import ErrorCode
from image_replicator.jobs import ACTIVE
from image_replicator.jobs import Claim
from image_replicator.jobs import JobStatus
from image_replicator.jobs import RETRYABLE
from image_replicator.tests.functional.db import base

load_tests = test_fixtures.optimize_module_test_loader()


class Runs(base.JobsMixin):
    def _failed(self, attempts: int = 1) -> Claim:
        """Return the last claim of a job that failed some times."""
        job_id = self.jobs.create(base.new_job())
        for number in range(1, attempts + 1):
            claim: Claim = self.queue.claim_next("worker")[1]
            self.assertEqual(
                (job_id, number), (claim.job_id, claim.claim_number)
            )
            if number < attempts:
                self.owned.retry(
                    claim, 0, ErrorCode.SOURCE_BUSY, "It was busy."
                )
        self.owned.reserve_image(claim, "left behind")
        self.owned.image_created(claim, "left behind")
        self.owned.record_progress(claim, 500, 50)
        self.owned.fail(claim, ErrorCode.SOURCE_BUSY, "It was busy.")
        return claim

    def test_every_status(self) -> None:
        for status in JobStatus:
            with base.telling(status):
                job_id = self.insert_one(status=status)
                if status in RETRYABLE:
                    self.jobs.request_retry(job_id)
                else:
                    error = self.assertRaises(
                        exception.Conflict, self.jobs.request_retry, job_id
                    )
                    self.assertIn(status, str(error))
                expected = (
                    "replicate_requested" if status in RETRYABLE else (status)
                )
                self.assertEqual(expected, self.read(job_id)["status"])

    def test_there_is_no_such_job(self) -> None:
        self.assertRaises(
            exception.JobNotFound, self.jobs.request_retry, "none"
        )

    def test_it_begins_as_if_it_were_new(self) -> None:
        job_id = self._failed().job_id
        before = self.jobs.get(job_id)
        self.jobs.request_retry(job_id)
        after = self.jobs.get(job_id)
        for name in (
            "worker_id",
            "lease_expires_at",
            "retry_at",
            "slot",
            "bytes_per_second",
            "error_code",
            "error_message",
            "started_at",
            "finished_at",
        ):
            self.assertIsNone(getattr(after, name), name)
        self.assertEqual((0, 0), (after.bytes_copied, after.copy_progress))
        self.assertEqual(before.created_at, after.created_at)
        self.assertLess(before.updated_at, after.updated_at)
        # The worker must remove it first.
        self.assertEqual("left behind", after.reserved_image_id)
        self.assertEqual("left behind", after.destination_image_id)
        self.assertIs(True, self.read(job_id)["active"])

    def test_a_worker_takes_it(self) -> None:
        job_id = self._failed().job_id
        self.jobs.request_retry(job_id)
        job, claim = self.queue.claim_next("worker")
        self.assertEqual(job_id, job.id)
        self.assertIsNotNone(job.started_at)
        self.owned.finish(claim, 1000, 99, base.VERIFICATION)
        self.assertIs(JobStatus.REPLICATED, self.jobs.get(job_id).status)

    def test_its_attempts_are_counted_anew_but_never_told_twice(self) -> None:
        last = self._failed(attempts=3)
        self.jobs.request_retry(last.job_id)
        waiting = self.jobs.get(last.job_id)
        self.assertEqual((3, 0), (waiting.claim_number, waiting.attempts))
        job, claim = self.queue.claim_next("worker")
        self.assertEqual((4, 1), (claim.claim_number, job.attempts))
        self.assertRaises(
            exception.ClaimLost, self.owned.reserve_image, last, "image"
        )
        self.owned.give_back(claim)
        given_back = self.jobs.get(last.job_id)
        self.assertEqual(
            (4, 0), (given_back.claim_number, given_back.attempts)
        )

    def test_it_stands_behind_those_that_wait(self) -> None:
        job_id = self._failed().job_id
        others = [self.jobs.create(base.new_job()) for _ in range(2)]
        self.jobs.request_retry(job_id)
        claimed = [self.queue.claim_next("worker")[0].id for _ in range(3)]
        self.assertEqual([*others, job_id], claimed)

    def test_the_same_copy_is_under_way(self) -> None:
        new = base.new_job()
        job_id = self.jobs.create(new)
        self.jobs.request_cancel(job_id)
        self.owned.finish_cancel(self.queue.claim_canceled("worker")[1])
        self.jobs.create(new)
        before = self.read(job_id)
        self.assertRaises(
            exception.DuplicateJob, self.jobs.request_retry, job_id
        )
        self.assertEqual(before, self.read(job_id))

    def test_it_can_be_canceled(self) -> None:
        job_id = self._failed().job_id
        self.jobs.request_retry(job_id)
        self.jobs.request_cancel(job_id)
        job, _claim = self.queue.claim_canceled("worker")
        self.assertEqual(job_id, job.id)


class Admission(base.JobsMixin):
    def _ask(self, at_most: int, **changes: Any) -> str:
        job_id: str = self.jobs.create(base.new_job(**changes), at_most)
        return job_id

    def test_any_number(self) -> None:
        for _each in range(5):
            self._ask(0)

    def test_not_one_more(self) -> None:
        for _each in range(3):
            self._ask(3)
        self.assertRaises(exception.TooManyJobs, self._ask, 3)
        self.assertEqual(3, len(self.all_ids()))
        self._ask(4)

    def test_finished_jobs_do_not_count(self) -> None:
        for status in JobStatus:
            self.insert_one(status=status)
        active = len(ACTIVE)
        self.assertRaises(exception.TooManyJobs, self._ask, active)
        self._ask(active + 1)

    def test_jobs_of_other_tenants_do_not_count(self) -> None:
        for tenant in ("A", "B"):
            self._ask(1, source_tenant_id=tenant, destination_tenant_id="C")
        self._ask(1, source_tenant_id="C")

    def test_another_run_is_one_more(self) -> None:
        job_id = self.insert_one(status=JobStatus.ERROR)
        self._ask(1)
        before = self.read(job_id)
        self.assertRaises(
            exception.TooManyJobs, self.jobs.request_retry, job_id, 1
        )
        self.assertEqual(before, self.read(job_id))
        self.jobs.request_retry(job_id, 2)

    def test_an_active_job_is_a_conflict_before_the_limit(self) -> None:
        job_id = self._ask(1)
        self.assertRaises(
            exception.Conflict, self.jobs.request_retry, job_id, 1
        )


class LeftBehind(base.JobsMixin):
    def _left(self, **changes: Any) -> str:
        values = {
            "status": JobStatus.ERROR,
            "reserved_image_id": "image",
            "destination_image_id": "image",
        }
        return self.insert_one(**values | changes)

    def _found(self, limit: int = 100, **worker: Any) -> list[str]:
        stores = self.new_stores(**worker) if worker else self.stores
        return [job.id for job in stores.leftovers.find(limit)]

    def test_only_of_jobs_that_are_over(self) -> None:
        left = {
            self._left(status=status): status in ACTIVE for status in JobStatus
        }
        self.assertEqual(
            sorted(job_id for job_id, active in left.items() if not active),
            sorted(self._found()),
        )

    def test_only_if_it_left_something(self) -> None:
        self._left(reserved_image_id=None)
        self.assertEqual([], self._found())

    def test_once_each_and_no_more_than_asked_for(self) -> None:
        ids = [
            self._left(reserved_image_id=f"{number:x}-image")
            for number in range(16)
        ]
        for _each in range(8):
            self.assertEqual(sorted(ids), sorted(self._found()))
            self.assertEqual(5, len(set(self._found(5))))

    def test_images_that_stay_do_not_delay_the_others(
        self,
    ) -> None:
        ids = {
            self._left(reserved_image_id=f"{digit}-image") for digit in "37bf"
        }
        # Each comes first at random; 200 draws make a failure very unlikely.
        found = set()
        for _each in range(200):
            found |= set(self._found(1))
        self.assertEqual(ids, found)

    def test_in_the_regions_that_are_served(self) -> None:
        here = self._left(destination_region_id="here")
        there = self._left(destination_region_id="there")
        self.assertEqual([here], self._found(destination_regions=["here"]))
        self.assertEqual(
            sorted([here, there]),
            sorted(self._found(destination_regions=["here", "there"])),
        )

    def test_a_removed_image_is_cleared_from_its_row(self) -> None:
        job_id = self._left()
        (job,) = self.leftovers.find(1)
        self.leftovers.record_removed(job)
        row = self.read(job_id)
        self.assertIsNone(row["reserved_image_id"])
        self.assertIsNone(row["destination_image_id"])
        self.assertEqual([], self._found())

    def test_a_job_that_is_run_again_meanwhile(self) -> None:
        job_id = self._left()
        (job,) = self.leftovers.find(1)
        self.jobs.request_retry(job_id)
        before = self.read(job_id)
        self.leftovers.record_removed(job)
        self.assertEqual(before, self.read(job_id))
        # The second run left another image.
        _job, claim = self.queue.claim_next("worker")
        self.owned.reserve_image(claim, "another image")
        self.owned.fail(
            claim, ErrorCode.DESTINATION_QUOTA_EXCEEDED, "No room is left."
        )
        before = self.read(job_id)
        self.leftovers.record_removed(job)
        self.assertEqual(before, self.read(job_id))
        self.assertEqual([job_id], self._found())

    def test_purging_leaves_it(self) -> None:
        kept = self._left()
        self._left(reserved_image_id=None)
        purged = self.jobs.purge(datetime.timedelta(days=1), 10)
        self.assertEqual((1, {kept}), (purged, self.all_ids()))

    def test_the_images_that_jobs_name(self) -> None:
        self._left(reserved_image_id="reserved", destination_image_id=None)
        self._left(
            status=JobStatus.REPLICATED,
            reserved_image_id=None,
            destination_image_id="copied",
        )
        self._left(reserved_image_id="new", destination_image_id="old")
        asked = ["reserved", "copied", "new", "old", "unknown"]
        self.assertEqual(set(asked[:-1]), self.jobs.known_images(asked))
        self.assertEqual(
            {"reserved"}, self.jobs.known_images(["reserved", "other"])
        )
        self.assertEqual(set(), self.jobs.known_images([]))


class TestRunsSQLite(Runs, base.SQLite):
    pass


class TestRunsMariaDB(Runs, base.MariaDB):
    pass


class TestRunsPostgreSQL(Runs, base.PostgreSQL):
    pass


class TestAdmissionSQLite(Admission, base.SQLite):
    pass


class TestAdmissionMariaDB(Admission, base.MariaDB):
    pass


class TestAdmissionPostgreSQL(Admission, base.PostgreSQL):
    pass


class TestLeftBehindSQLite(LeftBehind, base.SQLite):
    pass


class TestLeftBehindMariaDB(LeftBehind, base.MariaDB):
    pass


class TestLeftBehindPostgreSQL(LeftBehind, base.PostgreSQL):
    pass
