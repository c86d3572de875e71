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

"""The release before and this one on one database."""

import datetime
import threading
from concurrent import futures

import sqlalchemy as sa
from oslo_db.sqlalchemy import enginefacade
from oslo_db.sqlalchemy import test_fixtures

from image_replicator import exception
from image_replicator.db import errors
from image_replicator.db import listing
from image_replicator.db import migration
from image_replicator.jobs import Claim
from image_replicator.jobs import JobStatus
from image_replicator.jobs import WorkerDescription
from image_replicator.tests.functional.db import base
from image_replicator.tests.functional.db import before

load_tests = test_fixtures.optimize_module_test_loader()

#: The jobs of each thread of the release before, before and after.
ROUNDS = 5


class Upgrade(base.Mixin):
    def setUp(self) -> None:
        super().setUp()
        # An SQLite file without a table would get the newest schema.
        before.upgrade(self.new_engine())
        self.old = before.Release(self.new_engine())
        self.use(self.new_stores())

    def _expand(self) -> None:
        migration.upgrade(self.engine, "expand")

    def _claim(self, worker_id: str = "new worker") -> Claim:
        claim: Claim = self.queue.claim_next(worker_id)[1]
        return claim

    def test_the_schema_is_told_to_be_behind(self) -> None:
        expand, contract = migration.versions(self.engine)
        self.assertFalse(expand.is_current)
        self.assertTrue(contract.is_current)
        self._expand()
        for version in migration.versions(self.engine):
            self.assertTrue(version.is_current, version)

    def test_too_early(self) -> None:
        """This release asks for the upgrade, and works after it."""
        self.old.create(base.new_job())
        worker = WorkerDescription(
            id="w", host="h", version="1", concurrency=1
        )
        page = listing.Page(limit=1, tenant_id="source")
        for name, call in {
            "create": lambda: self.jobs.create(base.new_job()),
            "get": lambda: self.jobs.get("job"),
            "list": lambda: self.jobs.list(page),
            "request_cancel": lambda: self.jobs.request_cancel("job"),
            "claim_next": lambda: self.queue.claim_next("worker"),
            "claim_canceled": lambda: self.queue.claim_canceled("worker"),
            "show_sign_of_life": lambda: self.workers.register(worker),
            "workers": self.workers.list,
        }.items():
            with base.telling(name):
                error = self.assertRaises(errors.SchemaTooOld, call)
                self.assertIn(
                    "image-replicator-manage db upgrade --expand", str(error)
                )
        self._expand()
        self.assertIsNotNone(self.queue.claim_next("worker"))

    def test_jobs_survive(self) -> None:
        waiting, running, copied, canceled = (
            self.old.create(base.new_job(source_image_name=name))
            for name in ("waiting", "running", "copied", "canceled")
        )
        for job_id in (copied, running):
            self.old._change(
                {JobStatus.REPLICATE_REQUESTED},
                JobStatus.REPLICATING,
                sa.column("id") == job_id,
                worker_id="old worker",
                attempts=1,
            )
        self.assertTrue(self.old.finish(copied, "old worker", 1))
        self.assertTrue(self.old.request_cancel(canceled))
        kept = {
            job_id: self.old.get(job_id)
            for job_id in (waiting, running, copied, canceled)
        }
        self._expand()
        for job_id, row in kept.items():
            self.assertEqual(row, self.old.get(job_id))
            job = self.jobs.get(job_id)
            self.assertEqual(row["source_image_name"], job.source_image_name)
            self.assertEqual(row["status"], job.status)
            self.assertEqual(
                (0, None, row["attempts"]),
                (job.turn, job.slot, job.attempts),
            )
        page = listing.Page(limit=9, tenant_id="source")
        self.assertEqual(set(kept), {job.id for job in self.jobs.list(page)})
        self.assertEqual(waiting, self._claim().job_id)
        self.assertEqual(canceled, self.queue.claim_canceled("new")[0].id)
        migration.upgrade(self.engine, "contract")
        self.assertEqual(JobStatus.REPLICATED, self.jobs.get(copied).status)

    def test_old_jobs_new_workers(self) -> None:
        self._expand()
        job_id = self.old.create(base.new_job())
        claim = self._claim()
        self.assertEqual(job_id, claim.job_id)
        self.owned.record_progress(claim, 500, 50)
        self.assertEqual(500, self.old.get(job_id)["bytes_copied"])
        # The release before does not claim or change an owned job.
        self.assertIsNone(self.old.claim_next("old worker"))
        self.assertFalse(self.old.finish(job_id, "old worker", 1))
        self.owned.finish(claim, 1000, 99, base.VERIFICATION)
        self.assertEqual("replicated", self.old.get(job_id)["status"])

    def test_new_jobs_old_workers(self) -> None:
        self._expand()
        job_id = self.jobs.create(base.new_job())
        self.assertEqual((job_id, 1), self.old.claim_next("old worker"))
        self.assertIsNone(self.queue.claim_next("new worker"))
        self.assertTrue(self.old.record_progress(job_id, "old worker", 1, 99))
        self.assertEqual(99, self.jobs.get(job_id).bytes_copied)
        self.assertTrue(self.old.give_back(job_id, "old worker", 1))
        claim = self._claim()
        self.owned.give_back(claim)
        self.assertEqual((job_id, 2), self.old.claim_next("old worker"))
        self.assertTrue(self.old.finish(job_id, "old worker", 2))
        job = self.jobs.get(job_id)
        self.assertIs(JobStatus.REPLICATED, job.status)
        self.assertIsNone(job.verification_algorithm)

    def test_canceling_each_others(self) -> None:
        self._expand()
        by_old = self.jobs.create(base.new_job())
        claim = self._claim()
        self.assertTrue(self.old.request_cancel(by_old))
        self.assertIs(
            JobStatus.CANCEL_REQUESTED, self.owned.record_progress(claim, 1)
        )
        self.owned.begin_cancel(claim)
        self.owned.finish_cancel(claim)
        self.assertEqual("canceled", self.old.get(by_old)["status"])

        by_new = self.old.create(base.new_job())
        self.jobs.request_cancel(by_new)
        self.assertEqual((by_new, 0), self.old.claim_canceled("old worker"))
        self.assertTrue(self.old.finish_cancel(by_new, "old worker", 0))
        self.assertIs(JobStatus.CANCELED, self.jobs.get(by_new).status)

    def test_each_takes_from_the_others_lost_worker(self) -> None:
        self._expand()
        job_id = self.jobs.create(base.new_job())
        lost = self._claim()
        self._let_expire()
        self.assertEqual([job_id], self.old.release_expired())
        self.assertRaises(
            exception.ClaimLost, self.owned.record_progress, lost, 1
        )
        self.assertEqual((job_id, 2), self.old.claim_next("old worker"))
        self._let_expire()
        (void,) = self.queue.release_expired("new worker", [])
        self.assertEqual("old worker", void.worker_id)
        self.assertFalse(self.old.record_progress(job_id, "old worker", 2, 1))
        self.assertEqual(3, self._claim().claim_number)

    def _let_expire(self) -> None:
        with self.engine.begin() as connection:
            connection.execute(
                sa.update(base.JOBS).values(lease_expires_at=base.LONG_AGO)
            )

    def test_places_come_back_from_the_release_before(self) -> None:
        """It releases or ends a job without freeing its slot."""
        self._expand()
        limited = self.new_stores(max_copies_per_region={"*": 1})
        first, second = (self.jobs.create(base.new_job()) for _ in range(2))
        self.assertEqual(first, limited.queue.claim_next("lost worker")[0].id)
        self.assertIsNone(limited.queue.claim_next("new worker"))
        self._let_expire()
        self.assertEqual([first], self.old.release_expired())
        self.assertEqual((first, 2), self.old.claim_next("old worker"))
        self.assertTrue(self.old.finish(first, "old worker", 2))
        self.assertEqual(second, limited.queue.claim_next("new worker")[0].id)

    def test_the_release_before_works_on_while_the_schema_expands(
        self,
    ) -> None:
        expanded = threading.Event()
        with futures.ThreadPoolExecutor(3) as pool:
            busy = [
                pool.submit(self._work_on, f"old worker {number}", expanded)
                for number in range(3)
            ]
            try:
                self._expand()
            finally:
                expanded.set()
            done = sum(future.result(base.PATIENCE) for future in busy)
        page = listing.Page(limit=100000, tenant_id="source")
        statuses = [job.status for job in self.jobs.list(page)]
        self.assertEqual([JobStatus.REPLICATED] * done, statuses)

    def _work_on(self, worker_id: str, expanded: threading.Event) -> int:
        """Create jobs and finish as many; return their number."""
        old = before.Release(self._own_engine())
        done = left = 0
        while left < ROUNDS:
            left += expanded.is_set()
            old.create(base.new_job())
            claimed = None
            # Others may have claimed it; then there is another one.
            while claimed is None:
                claimed = old.claim_next(worker_id)
            job_id, attempt = claimed
            self.assertTrue(old.record_progress(job_id, worker_id, attempt, 1))
            self.assertTrue(old.finish(job_id, worker_id, attempt))
            done += 1
        return done

    def _own_engine(self) -> sa.Engine:
        """Return an engine with the settings of the release before."""
        facade = enginefacade.transaction_context()
        facade.configure(connection=self.url)
        engine: sa.Engine = facade.writer.get_engine()
        self.addCleanup(engine.dispose)
        return engine

    def test_purging_old_jobs(self) -> None:
        job_id = self.old.create(base.new_job())
        self._expand()
        self.assertEqual((job_id, 1), self.old.claim_next("old worker"))
        self.assertTrue(self.old.finish(job_id, "old worker", 1))
        # SQLite's clock has milliseconds, and may not have advanced yet.
        in_a_second = datetime.timedelta(seconds=-1)
        self.assertEqual(1, self.jobs.purge(in_a_second, 10))


class TestUpgradeSQLite(Upgrade, base.SQLite):
    pass


class TestUpgradeMariaDB(Upgrade, base.MariaDB):
    pass


class TestUpgradePostgreSQL(Upgrade, base.PostgreSQL):
    pass
