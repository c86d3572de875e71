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

"""Concurrent calls by threads of one process and by processes."""

import contextlib
import datetime
from collections import Counter
from collections.abc import Callable
from concurrent import futures
from typing import Any

import sqlalchemy as sa
from oslo_db import exception as db_exc
from oslo_db.sqlalchemy import test_fixtures
from oslo_utils import timeutils

from image_replicator import exception
from image_replicator.errors import ErrorCode
from image_replicator.jobs import JobStatus
from image_replicator.jobs import NewJob
from image_replicator.tests.functional.db import base

load_tests = test_fixtures.optimize_module_test_loader()

THREADS = 12
PROCESSES = 3


def at_once(call: Callable[[int], Any]) -> list[Any]:
    """Call functions in many threads, and return their results."""
    with futures.ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(call, range(THREADS)))


class Concurrency(base.JobsMixin):
    def _create(self, new: NewJob) -> Any:
        try:
            return self.jobs.create(new)
        except exception.DuplicateJob:
            return None

    def test_one_of_many_equal_copies_is_made(self) -> None:
        new = base.new_job()
        made = [one for one in at_once(lambda n: self._create(new)) if one]
        self.assertEqual(self.all_ids(), set(made))
        self.assertEqual(1, len(made))

    def test_one_of_many_equal_copies_is_made_by_processes(self) -> None:
        told = base.contend(self.url, "create", PROCESSES)
        self.assertEqual(PROCESSES - 1, told.count("duplicate"))
        self.assertEqual(1, len(self.all_ids()))

    def test_the_status_before_a_change_is_the_true_one(self) -> None:
        """Users and workers change the same jobs at once."""
        for _each in range(8):
            self.jobs.create(base.new_job())

        def change(number: int) -> None:
            while claimed := self.queue.claim_next(f"worker-{number}"):
                job, claim = claimed
                with contextlib.suppress(exception.Conflict):
                    if number % 2:
                        self.jobs.request_cancel(job.id)
                with contextlib.suppress(exception.ClaimLost):
                    self.owned.retry(claim, 0, ErrorCode.SOURCE_BUSY, "Busy.")
                for job_id in sorted(self.all_ids())[number % 4 :: 4]:
                    with contextlib.suppress(exception.Conflict):
                        self.jobs.request_cancel(job_id)

        at_once(change)
        for job_id in self.all_ids():
            changes = [one for one in self.changes if one.job.id == job_id]
            left = Counter(one.old for one in changes)
            reached: Counter[JobStatus | None] = Counter(
                one.new for one in changes
            )
            self.assertEqual(Counter({None: 1}), left - reached)
            self.assertEqual(
                Counter({self.jobs.get(job_id).status: 1}), reached - left
            )

    def test_a_tenant_never_has_more_jobs_than_it_may(self) -> None:
        def create(_number: int) -> bool:
            try:
                self.jobs.create(base.new_job(), 3)
            except exception.TooManyJobs:
                return False
            return True

        for active in (3, 6):
            self.assertEqual(3, sum(at_once(create)))
            self.assertEqual(active, len(self.all_ids()))
            # The second requests find the tenant's row.
            self._end_all()

    def test_nor_by_having_them_run_once_more(self) -> None:
        ids = [self.insert_one(status=JobStatus.ERROR) for _ in range(THREADS)]

        def retry(number: int) -> bool:
            try:
                self.jobs.request_retry(ids[number], 3)
            except exception.TooManyJobs:
                return False
            return True

        self.assertEqual(3, sum(at_once(retry)))

    def _end_all(self) -> None:
        with self.engine.begin() as connection:
            connection.execute(
                sa.update(base.JOBS).values(
                    status=JobStatus.CANCELED, active=None
                )
            )

    def test_each_job_is_claimed_once(self) -> None:
        ids = self.insert(*(base.row() for _ in range(THREADS)))
        claimed = at_once(lambda n: self.queue.claim_next(f"worker {n}"))
        # There are as many jobs as workers, so each must get one.
        self.assertEqual(sorted(ids), sorted(job.id for job, _ in claimed))
        self.assertIsNone(self.queue.claim_next("late"))
        for _, claim in claimed:
            self.owned.record_progress(claim, 1)

    def test_each_job_is_claimed_once_by_processes(self) -> None:
        ids = self.insert(*(base.row() for _ in range(30)))
        claimed = base.contend(self.url, "claim", PROCESSES)
        self.assertEqual(sorted(ids), sorted(claimed))

    def test_a_cancel_and_an_end_exclude_each_other(self) -> None:
        for _ in range(10):
            job_id = self.jobs.create(base.new_job())
            _, claim = self.queue.claim_next("worker")

            def end(n: int, job_id: str = job_id, claim: Any = claim) -> str:
                try:
                    if n % 2:
                        self.jobs.request_cancel(job_id)
                    else:
                        self.owned.finish(claim, 1000, 99, base.VERIFICATION)
                except (exception.Conflict, exception.ClaimLost):
                    return "lost"
                return "canceled" if n % 2 else "finished"

            winners = set(at_once(end)) - {"lost"}
            status = self.jobs.get(job_id).status
            self.assertEqual(
                {
                    JobStatus.CANCEL_REQUESTED: {"canceled"},
                    JobStatus.REPLICATED: {"finished"},
                }[status],
                winners,
            )


class Deadlocks(base.JobsMixin):
    """A method is tried again after a real deadlock."""

    #: Counts the transactions that wait for a lock.
    waiting: str

    def test_a_deadlock_is_tried_again(self) -> None:
        # The server chooses the victim; after some tries it is ours.
        for _ in range(3):
            if self._provoke():
                return
        self.fail("The server has never chosen our transaction")

    def _provoke(self) -> bool:
        """Cause a deadlock with a purge; return whether the purge failed."""
        ids = self.insert(
            *(
                base.row(
                    id=f"{number}",
                    status=JobStatus.ERROR,
                    created_at=base.LONG_AGO
                    + datetime.timedelta(hours=number),
                )
                for number in (1, 2)
            )
        )
        # These rows add weight, so that MariaDB does not choose this
        # transaction.
        others = self.insert(*(base.row() for _ in range(100)))
        attempts = self._count("DELETE")
        other = self.new_engine()
        with futures.ThreadPoolExecutor(1) as pool:
            with other.connect() as connection:
                _touch(connection, [ids[1], *others])
                purging = pool.submit(
                    self.jobs.purge, datetime.timedelta(0), 10
                )
                self._wait_for_the_lock()
                try:
                    _touch(connection, [ids[0]])
                except sa.exc.DBAPIError:
                    connection.rollback()
                else:
                    connection.commit()
            self.assertEqual(2, purging.result(base.PATIENCE))
        self.assertEqual(set(others), self.all_ids())
        tried = len(attempts)
        with self.engine.begin() as connection:
            connection.execute(base.JOBS.delete())
        return tried > 1

    def _count(self, verb: str) -> list[str]:
        """Return a list to which each such statement is added."""
        seen: list[str] = []

        def note(_: Any, __: Any, statement: str, *___: Any) -> None:
            if statement.startswith(verb):
                seen.append(statement)

        sa.event.listen(self.engine, "before_cursor_execute", note)
        self.addCleanup(
            sa.event.remove, self.engine, "before_cursor_execute", note
        )
        return seen

    def _wait_for_the_lock(self) -> None:
        watch = timeutils.StopWatch(base.PATIENCE)
        watch.start()
        with self.new_engine().connect() as connection:
            while not connection.exec_driver_sql(self.waiting).scalar():
                connection.rollback()
                self.assertFalse(watch.expired(), "Nothing waits")

    def test_only_a_deadlock_is(self) -> None:
        statements = self._count("SELECT")

        def fail(*args: Any) -> None:
            raise db_exc.DBError()

        sa.event.listen(self.engine, "before_cursor_execute", fail)
        self.addCleanup(
            sa.event.remove, self.engine, "before_cursor_execute", fail
        )
        self.assertRaises(db_exc.DBError, self.queue.claim_next, "worker")
        self.assertEqual(1, len(statements))


def _touch(connection: sa.Connection, ids: list[str]) -> None:
    for job_id in ids:
        connection.execute(
            sa.update(base.JOBS)
            .where(base.JOBS.c.id == job_id)
            .values(bytes_copied=base.JOBS.c.bytes_copied + 1)
        )


class TestConcurrencySQLite(Concurrency, base.SQLite):
    pass


class TestConcurrencyMariaDB(Concurrency, base.MariaDB):
    pass


class TestConcurrencyPostgreSQL(Concurrency, base.PostgreSQL):
    pass


class TestDeadlocksMariaDB(Deadlocks, base.MariaDB):
    waiting = (
        "SELECT COUNT(*) FROM information_schema.innodb_trx AS trx "
        "JOIN information_schema.processlist AS process "
        "ON process.id = trx.trx_mysql_thread_id "
        "WHERE trx.trx_state = 'LOCK WAIT' AND process.db = DATABASE()"
    )


class TestDeadlocksPostgreSQL(Deadlocks, base.PostgreSQL):
    waiting = (
        "SELECT COUNT(*) FROM pg_stat_activity "
        "WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
