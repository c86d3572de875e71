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

"""The list of workers, and the regions that they serve."""

import datetime
from typing import Any

from oslo_db.sqlalchemy import test_fixtures

from image_replicator.errors import ErrorCode
from image_replicator.jobs import JobStatus
from image_replicator.jobs import WorkerDescription
from image_replicator.tests.functional.db import base

load_tests = test_fixtures.optimize_module_test_loader()


class Regions(base.JobsMixin):
    def setUp(self) -> None:
        super().setUp()
        self.here = self.new_stores(destination_regions=["here", "near"]).queue

    def _claimed(self, claim: Any) -> list[str]:
        """Claim jobs until none waits, and return their regions."""
        regions = []
        while taken := claim("worker"):
            regions.append(taken[0].destination_region_id)
        return regions

    def test_copies_of_the_regions_that_are_served(self) -> None:
        for region in ("there", "here", "near", "there", "here"):
            self.jobs.create(base.new_job(destination_region_id=region))
        self.assertEqual(
            ["here", "here", "near"],
            sorted(self._claimed(self.here.claim_next)),
        )
        self.assertEqual(["there"] * 2, self._claimed(self.queue.claim_next))

    def test_their_turns_are_merged(self) -> None:
        ids = {
            self.insert_one(
                turn=turn, destination_region_id=("here", "near")[turn % 2]
            ): turn
            for turn in (5, 2, 7, 4, 1, 0, 3, 6, 8, 9)
        }
        turns = [
            ids[self.here.claim_next("worker")[0].id] for _each in range(10)
        ]
        self.assertEqual(sorted(turns), turns)

    def test_many_for_others_do_not_stand_before_ours(self) -> None:
        self.insert(
            *(base.row(destination_region_id="there") for _ in range(30))
        )
        ours = self.insert_one(destination_region_id="here")
        self.assertEqual(ours, self.here.claim_next("worker")[0].id)
        self.assertIsNone(self.here.claim_next("worker"))

    def test_cancelations(self) -> None:
        for status in (JobStatus.CANCEL_REQUESTED, JobStatus.CANCELING):
            for region in ("there", "here", "near"):
                self.insert_one(status=status, destination_region_id=region)
        self.assertEqual(
            ["here", "here", "near", "near"],
            sorted(self._claimed(self.here.claim_canceled)),
        )
        self.assertEqual(
            ["there", "there"], self._claimed(self.queue.claim_canceled)
        )

    def test_expired_jobs_of_all_regions_are_released(self) -> None:
        self.jobs.create(base.new_job(destination_region_id="there"))
        _job, claim = self.queue.claim_next("lost")
        self.change(claim.job_id, lease_expires_at=base.LONG_AGO)
        self.assertEqual([claim], self.here.release_expired("worker", []))
        self.assertIsNone(self.here.claim_next("worker"))


class Workers(base.JobsMixin):
    def _worker(
        self, worker_id: str = "host-1", **changes: Any
    ) -> WorkerDescription:
        values: dict[str, Any] = {
            "host": "host",
            "version": "1.2.3",
            "concurrency": 4,
        }
        return WorkerDescription(id=worker_id, **values | changes)

    def _age(self, worker_id: str, seconds: float) -> None:
        with self.engine.begin() as connection:
            row = connection.execute(
                base.WORKERS.select().where(base.WORKERS.c.id == worker_id)
            ).one()
            connection.execute(
                base.WORKERS.update()
                .where(base.WORKERS.c.id == worker_id)
                .values(
                    seen_at=row.seen_at - datetime.timedelta(seconds=seconds)
                )
            )

    def _ids(self) -> list[str]:
        return [worker.id for worker, _silent, _jobs in self.workers.list()]

    def test_there_is_none(self) -> None:
        self.assertEqual([], self.workers.list())

    def test_it_is_shown_as_it_describes_itself(self) -> None:
        described = self._worker(destination_regions="ot2,ot3")
        self.workers.register(described)
        ((worker, silent, working_on),) = self.workers.list()
        for name in vars(described):
            self.assertEqual(getattr(described, name), getattr(worker, name))
        self.assertEqual(worker.started_at, worker.seen_at)
        self.assertTrue(0 <= silent < base.PATIENCE, silent)
        self.assertEqual([], working_on)

    def test_signs_of_life(self) -> None:
        self.workers.register(self._worker())
        self._age("host-1", 500)
        ((silent_one, silent, _working_on),) = self.workers.list()
        self.assertTrue(500 <= silent < 500 + base.PATIENCE, silent)
        self.workers.register(self._worker())
        ((worker, silent, _working_on),) = self.workers.list()
        self.assertTrue(0 <= silent < base.PATIENCE, silent)
        self.assertEqual(silent_one.started_at, worker.started_at)

    def test_the_jobs_of_each_worker(self) -> None:
        for worker_id in ("a", "b", "idle"):
            self.workers.register(self._worker(worker_id))
        for _each in range(6):
            self.jobs.create(base.new_job())
        claims = [
            self.queue.claim_next(worker_id)[1]
            for worker_id in ("a", "b", "a", "not shown", "b")
        ]
        self.owned.finish(claims[0], 1000, 99, base.VERIFICATION)
        self.owned.retry(claims[1], 0, ErrorCode.SOURCE_BUSY, "It was busy.")
        self.jobs.request_cancel(claims[4].job_id)
        self.assertEqual(
            {"a": [claims[2].job_id], "b": [claims[4].job_id], "idle": []},
            {
                worker.id: working_on
                for worker, _silent, working_on in self.workers.list()
            },
        )

    def test_one_that_ends_in_good_order(self) -> None:
        for worker_id in ("a", "b"):
            self.workers.register(self._worker(worker_id))
        for _twice in range(2):
            self.workers.unregister("a")
            self.assertEqual(["b"], self._ids())

    def test_the_silent_are_forgotten(self) -> None:
        for worker_id in ("a", "b", "c"):
            self.workers.register(self._worker(worker_id))
        self._age("a", 1000)
        self._age("b", 3000)
        self.workers.forget_silent(2000.0)
        self.assertEqual(["a", "c"], self._ids())
        self.workers.forget_silent(500.5)
        self.assertEqual(["c"], self._ids())

    def test_one_that_was_forgotten_comes_back(self) -> None:
        self.workers.register(self._worker())
        self._age("host-1", 10)
        self.workers.forget_silent(5.0)
        self.workers.register(self._worker())
        self.assertEqual(["host-1"], self._ids())

    def test_many_come_at_once(self) -> None:
        told = base.contend(self.url, "appear", 4)
        self.assertEqual(sorted(told), self._ids())


class TestRegionsSQLite(Regions, base.SQLite):
    pass


class TestRegionsMariaDB(Regions, base.MariaDB):
    pass


class TestRegionsPostgreSQL(Regions, base.PostgreSQL):
    pass


class TestWorkersSQLite(Workers, base.SQLite):
    pass


class TestWorkersMariaDB(Workers, base.MariaDB):
    pass


class TestWorkersPostgreSQL(Workers, base.PostgreSQL):
    pass
