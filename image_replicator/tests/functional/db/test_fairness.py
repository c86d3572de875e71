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

"""Tenants are served in rounds: on three databases."""

import datetime
import itertools
from typing import Any

import fixtures
from oslo_db.sqlalchemy import test_fixtures

from image_replicator.db import claim_order
from image_replicator.errors import ErrorCode
from image_replicator.jobs import Claim
from image_replicator.jobs import JobStatus
from image_replicator.tests.functional.db import base

load_tests = test_fixtures.optimize_module_test_loader()


class Fairness(base.JobsMixin):
    def setUp(self) -> None:
        super().setUp()
        self._seconds = itertools.count()

    def _ask(self, tenant: str, count: int = 1, **changes: Any) -> None:
        for _each in range(count):
            new = base.new_job(source_tenant_id=tenant, **changes)
            # This also works with a coarse clock of the database.
            later = datetime.timedelta(seconds=next(self._seconds))
            self.change(
                self.jobs.create(new), created_at=base.LONG_AGO + later
            )

    def _serve(self, count: int, **worker: Any) -> str:
        """Claim and end a number of jobs; return their tenants."""
        stores: Any = self.new_stores(**worker) if worker else self.stores
        served = ""
        for _each in range(count):
            job, claim = stores.queue.claim_next("worker")
            stores.owned.finish(claim, 1000, 99, base.VERIFICATION)
            served += job.source_tenant_id
        return served

    def _claim(self) -> Claim:
        claim: Claim = self.queue.claim_next("worker")[1]
        return claim

    def test_of_one_tenant_in_the_order_of_asking(self) -> None:
        ids = [self.jobs.create(base.new_job()) for _ in range(5)]
        claimed = [self.queue.claim_next("worker")[0].id for _ in ids]
        self.assertEqual(ids, claimed)

    def test_many_of_one_do_not_stand_before_anothers_first(self) -> None:
        self._ask("A", 50)
        self._ask("B")
        self.assertEqual("ABAAA", self._serve(5))

    def test_rounds(self) -> None:
        self._ask("A", 4)
        self._ask("B", 2)
        self._ask("C", 3)
        self.assertEqual("ABCABCACA", self._serve(9))

    def test_a_newcomer_joins_the_round_that_is_served(self) -> None:
        self._ask("A", 6)
        self.assertEqual("AAA", self._serve(3))
        self._ask("B", 3)
        self.assertEqual("ABABAB", self._serve(6))

    def test_a_tenant_with_running_jobs_gets_the_next_turn(self) -> None:
        self._ask("A", 3)
        for _each in range(3):
            self._claim()
        self._ask("B")
        self._ask("A")
        self._ask("C")
        self.assertEqual("BCA", self._serve(3))

    def test_one_that_never_stops_asking(self) -> None:
        self._ask("A", 10)
        served = ""
        for _each in range(5):
            self._ask("B", 2)
            served += self._serve(2)
        self.assertEqual(5, served.count("A"))

    def test_a_new_queue_begins_anew(self) -> None:
        self._ask("A", 3)
        self._serve(3)
        self._ask("B")
        self.assertEqual(0, self.jobs.get(*self._waiting()).turn)

    def _waiting(self) -> list[str]:
        return [
            job_id
            for job_id in self.all_ids()
            if self.read(job_id)["status"] == "replicate_requested"
        ]

    def test_a_job_that_is_tried_again_keeps_its_turn(self) -> None:
        self._ask("A", 2)
        claim = self._claim()
        turn = self.read(claim.job_id)["turn"]
        self._ask("B", 3)
        self.owned.retry(claim, 0, ErrorCode.SOURCE_BUSY, "It was busy.")
        self.assertEqual(turn, self.read(claim.job_id)["turn"])
        self.assertEqual(claim.job_id, self._claim().job_id)

    def test_one_that_waits_for_another_attempt_holds_nobody_back(
        self,
    ) -> None:
        self._ask("A", 9)
        self.owned.retry(
            self._claim(), 1000, ErrorCode.SOURCE_BUSY, "It was busy."
        )
        self.assertEqual("AAAA", self._serve(4))
        # Otherwise all of B's jobs would come before A's last ones.
        self._ask("B", 4)
        self.assertEqual("ABABABAB", self._serve(8))

    def test_nor_does_one_that_no_worker_serves(self) -> None:
        self._ask("X", destination_region_id="nowhere")
        self._ask("A", 8)
        served = {"destination_regions": ["ot2"]}
        self.assertEqual("AAAA", self._serve(4, **served))
        self._ask("B", 4)
        self.assertEqual("ABABABAB", self._serve(8, **served))

    def test_each_region_has_its_rounds(self) -> None:
        self._ask("A", 50)
        self._ask("B", 3, destination_region_id="ot3")
        self._ask("A", 2, destination_region_id="ot3")
        self.assertEqual("BABAB", self._serve(5, destination_regions=["ot3"]))

    def test_a_region_that_nothing_waits_for_begins_where_others_are(
        self,
    ) -> None:
        self._ask("A", 9)
        self._ask("B", 9)
        self.assertEqual("ABABABAB", self._serve(8))
        claim = self._claim()
        self._ask("C", 9, destination_region_id="ot3")
        self.owned.give_back(claim)
        self.assertEqual("ABCABCABC", self._serve(9))

    def test_jobs_of_the_release_before_come_first(self) -> None:
        self._ask("A", 3)
        self._claim()
        # The release before inserts no turn.
        old = [self.insert_one(source_tenant_id="B") for _ in range(3)]
        claimed = [self._claim().job_id for _ in old]
        self.assertEqual(sorted(old), sorted(claimed))
        self.assertEqual("AA", self._serve(2))


class PassingBy(base.JobsMixin):
    """The claims of a worker that passes some tenants by."""

    def _claim_but(self, *passed_by: str, **worker: Any) -> str | None:
        queue = self.new_stores(**worker).queue
        claimed = queue.claim_next("worker", set(passed_by))
        return str(claimed[0].source_tenant_id) if claimed else None

    def _fill(self, tenants: str, count: int) -> None:
        """Insert many waiting jobs of each tenant, to each of two regions."""
        self.insert(
            *(
                base.row(
                    source_tenant_id=tenant,
                    destination_region_id=region,
                    turn=number,
                )
                for number in range(count)
                for tenant in tenants
                for region in ("ot2", "ot3")
            )
        )

    def test_the_next_of_another(self) -> None:
        self._fill("AB", 2)
        self.assertEqual("B", self._claim_but("A"))
        self.assertEqual("A", self._claim_but("B", "C"))
        self.assertIsNone(self._claim_but("A", "B"))

    def test_of_another_behind_many(self) -> None:
        self._fill("ACE", 50)
        self.assertIsNone(self._claim_but("A", "C", "E"))
        limits = {"*": 9}
        for tenant in ("0", "B", "D", "F"):
            self.insert_one(
                source_tenant_id=tenant,
                destination_region_id="ot3",
                turn=99,
            )
            self.assertIsNone(
                self._claim_but("A", "C", "E", destination_regions=["ot2"])
            )
            self.assertEqual(
                tenant,
                self._claim_but("A", "C", "E", max_copies_per_region=limits),
            )
            self.assertIsNone(self._claim_but("A", "C", "E"))

    def test_of_others_the_one_whose_turn_it_is(self) -> None:
        self._fill("A", 50)
        for region, turn in (("ot2", 70), ("ot3", 60)):
            self.insert_one(
                source_tenant_id=region,
                destination_region_id=region,
                turn=turn,
            )
        self.assertEqual("ot3", self._claim_but("A"))
        self.assertEqual("ot2", self._claim_but("A"))

    def test_jobs_that_wait_for_a_retry_are_passed_by(self) -> None:
        self._fill("A", 50)
        self.insert_one(
            source_tenant_id="B",
            retry_at=base.LONG_AGO + datetime.timedelta(days=9999),
        )
        self.assertIsNone(self._claim_but("A"))


class Positions(base.JobsMixin):
    def _positions(self) -> dict[str, int]:
        jobs = [self.jobs.get(job_id) for job_id in self.all_ids()]
        positions: dict[str, int] = self.jobs.queue_positions(jobs)
        return positions

    def _create(self, tenant: str) -> str:
        job_id: str = self.jobs.create(base.new_job(source_tenant_id=tenant))
        return job_id

    def test_they_tell_who_is_next(self) -> None:
        ids = [self._create(tenant) for tenant in "AAABBC"]
        positions = self._positions()
        self.assertEqual(set(ids), set(positions))
        for place in range(1, len(ids) + 1):
            job, _claim = self.queue.claim_next("worker")
            self.assertEqual(place, positions[job.id])
            behind = {
                job_id: position - place
                for job_id, position in positions.items()
                if position > place
            }
            self.assertEqual(behind, self._positions())

    def test_only_what_waits_has_one(self) -> None:
        for status in JobStatus:
            self.insert_one(status=status)
        (waiting,) = (
            job_id
            for job_id in self.all_ids()
            if self.jobs.get(job_id).status is JobStatus.REPLICATE_REQUESTED
        )
        self.assertEqual({waiting: 1}, self._positions())

    def test_of_some_jobs(self) -> None:
        _first, second, _third = (self._create(tenant) for tenant in "AAA")
        jobs = [self.jobs.get(second)]
        self.assertEqual({second: 2}, self.jobs.queue_positions(jobs))
        self.assertEqual({}, self.jobs.queue_positions([]))

    def test_only_the_head_of_the_queue_is_counted(self) -> None:
        self.useFixture(
            fixtures.MonkeyPatch(f"{claim_order.__name__}.COUNTED", 3)
        )
        ids = [self._create("A") for _each in range(5)]
        self.assertEqual({ids[0]: 1, ids[1]: 2, ids[2]: 3}, self._positions())

    def test_of_one_that_was_claimed_meanwhile(self) -> None:
        job = self.jobs.get(self._create("A"))
        self.queue.claim_next("worker")
        self.assertEqual({}, self.jobs.queue_positions([job]))


class Queue(Fairness, PassingBy, Positions):
    pass


class TestQueueSQLite(Queue, base.SQLite):
    pass


class TestQueueMariaDB(Queue, base.MariaDB):
    pass


class TestQueuePostgreSQL(Queue, base.PostgreSQL):
    pass
