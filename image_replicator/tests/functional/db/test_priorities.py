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

"""Jobs in the background are done when no other can be: on three databases."""

import datetime
import itertools
from typing import Any

from oslo_db.sqlalchemy import test_fixtures

from image_replicator.db import claim_order
from image_replicator.errors import ErrorCode
from image_replicator.jobs import JobStatus
from image_replicator.jobs import Priority
from image_replicator.tests.functional.db import base

load_tests = test_fixtures.optimize_module_test_loader()

HOUR = 3600.0


class Priorities(base.JobsMixin):
    def setUp(self) -> None:
        super().setUp()
        self._seconds = itertools.count()

    def _ask(
        self, tenant: str, priority: Priority, count: int = 1, **changes: Any
    ) -> list[str]:
        ids = []
        for _each in range(count):
            new = base.new_job(
                source_tenant_id=tenant, priority=priority, **changes
            )
            ids.append(self.jobs.create(new))
            later = datetime.timedelta(seconds=next(self._seconds))
            self.change(ids[-1], created_at=base.LONG_AGO + later)
        return ids

    def _interactive(
        self, tenant: str, count: int = 1, **changes: Any
    ) -> list[str]:
        return self._ask(tenant, Priority.INTERACTIVE, count, **changes)

    def _background(
        self, tenant: str, count: int = 1, **changes: Any
    ) -> list[str]:
        return self._ask(tenant, Priority.BACKGROUND, count, **changes)

    def _serve(self, count: int, *passed_by: str, **worker: Any) -> str:
        """Claim and end a number of jobs; return their tenants."""
        stores: Any = self.new_stores(**worker) if worker else self.stores
        served = ""
        for _each in range(count):
            claimed = stores.queue.claim_next("worker", set(passed_by))
            if claimed is None:
                break
            job, claim = claimed
            stores.owned.finish(claim, 1000, 99, base.VERIFICATION)
            served += job.source_tenant_id
        return served

    def _make_old(self, *job_ids: str) -> None:
        for job_id in job_ids:
            self.change(job_id, background_since=base.LONG_AGO)

    def test_interactive_ones_come_first(self) -> None:
        self._background("A", 3)
        self._interactive("B", 2)
        self.assertEqual("BB", self._serve(2))
        self._interactive("C")
        self.assertEqual("CAAA", self._serve(9))

    def test_tenants_take_turns_within_each(self) -> None:
        self._background("A", 3)
        self._background("B", 2)
        self._interactive("B", 2)
        self._interactive("C", 1)
        self.assertEqual("BCBABABA"[:8], self._serve(9))

    def test_positions_follow(self) -> None:
        (last,) = self._background("A")
        (first,) = self._interactive("B")
        jobs = [self.jobs.get(last), self.jobs.get(first)]
        self.assertEqual({first: 1, last: 2}, self.jobs.queue_positions(jobs))

    def test_one_that_cannot_be_done_holds_none_back(self) -> None:
        self._background("A")
        self._interactive("B")
        _job, claim = self.queue.claim_next("worker")
        self.owned.retry(claim, 1000, ErrorCode.SOURCE_BUSY, "It was busy.")
        self.assertEqual("A", self._serve(2))

    def test_nor_does_one_to_another_region(self) -> None:
        self._background("A", destination_region_id="ot2")
        self._interactive("B", destination_region_id="ot3")
        self.assertEqual("A", self._serve(2, destination_regions=["ot2"]))

    def test_nor_one_of_a_tenant_that_is_passed_by(self) -> None:
        self._interactive("A", 2)
        self._background("B")
        self.assertEqual("B", self._serve(2, "A"))

    def test_among_many_the_other_tenant_s_interactive_one(self) -> None:
        """The search by tenants finds it behind those in the background."""
        self.insert(
            *(
                base.row(source_tenant_id="A", turn=number)
                for number in range(70)
            )
        )
        for tenant in "BCDF":
            self._background(tenant)
        self._interactive("E")
        self.change(self._interactive("E")[0], turn=99)
        self.assertEqual("EE", self._serve(2, "A"))
        self.assertEqual("BCDF", "".join(sorted(self._serve(9, "A"))))

    def test_patience_ends(self) -> None:
        self._make_old(*self._background("A", 3))
        self._background("B", 1)
        self.assertEqual(3, self.queue.promote(HOUR, 10))
        self.assertEqual(0, self.queue.promote(HOUR, 10))
        self._interactive("C", 2)
        # It is one tenant among others, and B still waits for all of them.
        self.assertEqual("ACACAB", self._serve(9))

    def test_the_oldest_are_looked_at_first(self) -> None:
        first, second, third = self._background("A", 3)
        self._make_old(third, second)
        self.change(
            second,
            background_since=base.LONG_AGO - datetime.timedelta(seconds=1),
        )
        self.assertEqual(1, self.queue.promote(HOUR, 1))
        self.assertIsNone(self.jobs.get(second).background_since)
        self.assertEqual(1, self.queue.promote(HOUR, 9))
        self.assertIsNotNone(self.jobs.get(first).background_since)

    def test_one_that_was_promoted_is_shown_as_it_was_asked_for(self) -> None:
        (job_id,) = self._background("A")
        self.assertGreaterEqual(
            self.jobs.get(job_id).turn, claim_order.BACKGROUND
        )
        self._make_old(job_id)
        self.queue.promote(HOUR, 9)
        job = self.jobs.get(job_id)
        self.assertEqual(Priority.BACKGROUND, job.priority)
        self.assertEqual(0, job.turn)

    def test_one_that_runs_is_not_promoted(self) -> None:
        (job_id,) = self._background("A")
        self._make_old(job_id)
        self.queue.claim_next("worker")
        self.assertEqual(0, self.queue.promote(HOUR, 9))
        self.assertGreaterEqual(
            self.jobs.get(job_id).turn, claim_order.BACKGROUND
        )

    def test_one_that_is_tried_again_stays_where_it_was(self) -> None:
        (job_id,) = self._background("A")
        _job, claim = self.queue.claim_next("worker")
        self.owned.retry(claim, 0, ErrorCode.SOURCE_BUSY, "It was busy.")
        self._interactive("B")
        self.assertEqual("BA", self._serve(2))
        self.assertIsNone(self.jobs.get(job_id).background_since)

    def test_another_run_waits_anew(self) -> None:
        (job_id,) = self._background("A")
        self._make_old(job_id)
        _job, claim = self.queue.claim_next("worker")
        self.owned.fail(claim, ErrorCode.SOURCE_BUSY, "It was busy.")
        self.jobs.request_retry(job_id)
        self.assertEqual(0, self.queue.promote(HOUR, 9))
        self._interactive("B")
        self.assertEqual("BA", self._serve(2))

    def test_the_release_before_asks_for_interactive_ones(self) -> None:
        self._background("A")
        self.insert_one(source_tenant_id="B")
        self.assertEqual("BA", self._serve(2))

    def test_its_workers_take_the_same_order(self) -> None:
        """They know the turn alone."""
        self._background("A", 2)
        self._interactive("B", 2)
        waiting = sorted(
            (
                self.read(job_id)
                for job_id in self.all_ids()
                if self.jobs.get(job_id).status
                is JobStatus.REPLICATE_REQUESTED
            ),
            key=lambda row: (row["turn"], row["created_at"], row["id"]),
        )
        self.assertEqual(
            "BBAA", "".join(row["source_tenant_id"] for row in waiting)
        )


class TestPrioritiesSQLite(Priorities, base.SQLite):
    pass


class TestPrioritiesMariaDB(Priorities, base.MariaDB):
    pass


class TestPrioritiesPostgreSQL(Priorities, base.PostgreSQL):
    pass
