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

"""Tests of jobs that wait for another copy of their image."""

import datetime
from typing import Any

import sqlalchemy as sa

from image_replicator.authority import Authority
from image_replicator.errors import ErrorCode
from image_replicator.jobs import JobStatus
from image_replicator.nearness import Route
from image_replicator.tests.functional.db import base
from image_replicator.tests.functional.db import test_nearest
from image_replicator.tests.functional.db.test_nearest import SIZE
from image_replicator.tests.functional.db.test_nearest import TOKEN
from image_replicator.tests.functional.db.test_nearest import TRUSTS


class Waits(test_nearest.NearestMixin):
    def ask_for_three(self) -> list[str]:
        """Ask for copies to three tenants of one user."""
        for tenant in ("A", "B", "C"):
            self.trust(tenant)
        return [self.ask(tenant) for tenant in ("A", "B", "C")]

    def begin(self, **progress: Any) -> str:
        """Let a worker copy the image to tenant A; return the job's id.

        The user can read the images of A and B.
        """
        for tenant in ("A", "B"):
            self.trust(tenant)
        job_id = self.ask("A")
        _job, claim = self.claimed()
        self.owned.reserve_image(claim, "reserved")
        if progress:
            self.change(job_id, **progress)
        return job_id

    def waits(self, job_id: str) -> Any:
        """Return what a job waits for, after a look at the queue."""
        self.assertIsNone(self.claim())
        return self.jobs.get(job_id).waiting_for

    def look_again(self, job_id: str) -> None:
        """Let the time of the next look at a job come."""
        self.change(job_id, retry_at=base.LONG_AGO)

    def test_the_others_wait_for_the_first(self) -> None:
        first, second, third = self.ask_for_three()
        self.claimed()
        self.assertEqual(first, self.waits(second))
        self.assertEqual(first, self.waits(third))
        waiting = self.jobs.get(second)
        self.assertEqual(
            (JobStatus.REPLICATE_REQUESTED, 0, 0),
            (waiting.status, waiting.attempts, waiting.claim_number),
        )
        # No change of its status was published.
        self.assertEqual(
            [None, None, None, JobStatus.REPLICATE_REQUESTED],
            [change.old for change in self.changes],
        )

    def test_they_go_on_when_it_has_ended(self) -> None:
        for end in ("finish", "fail", "give_back", "lost"):
            with base.telling(end):
                self._end(end)

    def _end(self, end: str) -> None:
        """Check that a job goes on when the one it waits for has ended."""
        with self.engine.begin() as connection:
            connection.execute(sa.delete(base.JOBS))
        for tenant in ("A", "B"):
            self.trust(tenant)
        self.ask("A")
        _job, claim = self.claimed()
        self.owned.reserve_image(claim, "reserved")
        second = self.ask("B")
        self.assertIsNotNone(self.waits(second))
        match end:
            case "finish":
                self.owned.finish(claim, SIZE, 99, base.VERIFICATION)
            case "fail":
                self.owned.fail(claim, ErrorCode.SOURCE_BUSY, "It was.")
            case "give_back":
                self.owned.retry(claim, 99.0, ErrorCode.SOURCE_BUSY, "It.")
            case "lost":
                self.change(
                    claim.job_id,
                    worker_id=None,
                    lease_expires_at=None,
                    status=JobStatus.CANCEL_REQUESTED,
                )
        self.look_again(second)
        job, _claim = self.claimed()
        self.assertEqual(second, job.id)
        self.assertIsNone(job.waiting_for)
        self.assertIsNone(job.waiting_since)

    def test_a_rate_tells_how_long(self) -> None:
        first = self.begin(bytes_copied=SIZE // 2, bytes_per_second=100)
        second = self.ask("B")
        self.assertEqual(first, self.waits(second))
        row = self.read(second)
        wait = row["retry_at"] - row["waiting_since"]
        self.assertAlmostEqual(5.0, wait.total_seconds(), delta=1.0)

    def test_one_that_would_be_sooner_alone_does_not_wait(self) -> None:
        for region, rate in (("ot1", 1e5), ("ot2", 2e5)):
            self.stores.routes.record(
                "ot2", region, Route(latency=0.1, rate=rate)
            )
        self.begin(bytes_copied=1, bytes_per_second=10)
        second = self.ask("B")
        job, _claim = self.claimed()
        self.assertEqual(second, job.id)

    def test_nor_one_that_could_read_a_nearer_copy(self) -> None:
        self.begin(read_region_id="ot2")
        second = self.ask("B")
        job, _claim = self.claimed()
        self.assertEqual(second, job.id)

    def test_nor_one_that_could_not_read_the_copy(self) -> None:
        self.begin()
        for tenant, right in (
            ("D", Authority(user_id="x", source_trust_id="of-x")),
            ("E", TOKEN),
        ):
            expected = self.ask(tenant, right)
            job, _claim = self.claimed()
            self.assertEqual(expected, job.id)

    def test_nor_one_of_another_image_or_another_way(self) -> None:
        self.begin()
        for column in (
            "source_image_id",
            "source_region_id",
            "destination_region_id",
        ):
            expected = self.ask("B", TRUSTS, **{column: "another"})
            job, _claim = self.claimed()
            self.assertEqual(expected, job.id)

    def test_nor_one_within_a_region(self) -> None:
        self.ask("A", destination_region_id="ot1")
        self.claimed()
        self.ask("B", destination_region_id="ot1")
        self.claimed()

    def test_the_wait_has_an_end(self) -> None:
        self.begin()
        second = self.ask("B")
        self.assertIsNotNone(self.waits(second))
        self.change(
            second,
            retry_at=base.LONG_AGO,
            waiting_since=datetime.datetime.now(datetime.UTC).replace(
                tzinfo=None
            )
            - datetime.timedelta(seconds=3601),
        )
        job, _claim = self.claimed()
        self.assertEqual(second, job.id)

    def test_no_wait_at_all(self) -> None:
        for options in ({"nearest_source_wait": 0}, {"nearest_source": False}):
            with self.engine.begin() as connection:
                connection.execute(sa.delete(base.JOBS))
            self.begin()
            self.ask("B")
            stores = self.new_stores(transfer=options)
            self.assertIsNotNone(stores.queue.claim_next("worker"))

    def test_one_that_waits_holds_no_other_back(self) -> None:
        self.begin()
        self.ask("B")
        other = self.ask("B", source_image_id="another")
        job, _claim = self.claimed()
        self.assertEqual(other, job.id)

    def test_one_that_waits_can_be_canceled(self) -> None:
        self.begin()
        second = self.ask("B")
        self.assertIsNotNone(self.waits(second))
        self.jobs.request_cancel(second)
        claimed = self.queue.claim_canceled("worker")
        assert claimed
        self.owned.finish_cancel(claimed[1])
        self.assertIsNone(self.jobs.get(second).waiting_for)

    def test_many_workers_and_one_leader(self) -> None:
        """Workers on one database claim one of the jobs, and no two wait."""
        self.ask_for_three()
        first, _claim = self.claimed()
        for stores in (self.new_stores(), self.new_stores()):
            self.assertIsNone(stores.queue.claim_next("another"))
        statuses = sorted(
            job.status for job in map(self.jobs.get, self._all())
        )
        self.assertEqual(
            ["replicate_requested"] * 2 + ["replicating"], statuses
        )
        self.assertEqual(
            {first.id, None},
            {self.jobs.get(job_id).waiting_for for job_id in self._all()},
        )

    def _all(self) -> list[str]:
        with self.engine.begin() as connection:
            return list(connection.scalars(sa.select(base.JOBS.c.id)))


class TestWaitingSQLite(Waits, base.SQLite):
    """The tests on SQLite."""


class TestWaitingMariaDB(Waits, base.MariaDB):
    """The tests on MariaDB."""


class TestWaitingPostgreSQL(Waits, base.PostgreSQL):
    """The tests on PostgreSQL."""
