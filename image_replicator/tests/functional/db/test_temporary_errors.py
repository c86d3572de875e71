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

"""A worker waits for a database only after errors that may pass."""

import functools
import threading
from collections.abc import Callable
from typing import Any

import fixtures
import sqlalchemy as sa
from oslo_db import exception as db_exc
from oslo_db.sqlalchemy import test_fixtures

from image_replicator.tests.functional.db import base
from image_replicator.worker import availability

load_tests = test_fixtures.optimize_module_test_loader()

#: Values that each database refuses, by column.
REFUSED: dict[str, dict[str, Any]] = {
    "NULL": {"status": None},
    "too large": {"bytes_copied": 2**63},
}


class TemporaryErrors(base.JobsMixin):
    """Tests with the errors of real databases.

    :ivar read_only: statements that make the next write fail, and reverse
        that.
    """

    read_only: tuple[str, str]

    def setUp(self) -> None:
        super().setUp()
        self.useFixture(
            fixtures.MonkeyPatch(
                f"{availability.__name__}.RETRY_INTERVAL", 0.01
            )
        )
        self.availability = availability.DatabaseAvailability()
        self.calls = 0

    def _call(self, write: Callable[[], None]) -> None:
        """Call until available, but at most three times."""
        stop = threading.Event()
        self.calls = 0

        def count() -> None:
            self.calls += 1
            if self.calls == 3:
                stop.set()
            write()

        self.availability.call_until_available(stop, count)

    def _write(self, job_id: str, *first: str, **values: Any) -> None:
        with self.stores.database.writer() as connection:
            for statement in first:
                connection.exec_driver_sql(statement)
            connection.execute(
                sa.update(base.JOBS)
                .where(base.JOBS.c.id == job_id)
                .values(**values)
            )

    def test_values_that_are_refused_are_refused_once(self) -> None:
        job_id = self.insert_one()
        for name, values in REFUSED.items():
            with base.telling(name):
                self.assertRaises(
                    db_exc.DBError,
                    self._call,
                    functools.partial(self._write, job_id, **values),
                )
                self.assertEqual(1, self.calls)

    def test_a_database_that_only_reads_is_waited_for(self) -> None:
        job_id = self.insert_one()
        begin, end = self.read_only
        error = self.assertRaises(
            db_exc.DBError,
            self._call,
            lambda: self._write(job_id, begin, turn=1),
        )
        self.assertEqual(3, self.calls, str(error))
        self._call(lambda: self._write(job_id, end, turn=1))
        self.assertEqual(1, self.calls)


class TestTemporaryErrorsSQLite(TemporaryErrors, base.SQLite):
    read_only = ("PRAGMA query_only = 1", "PRAGMA query_only = 0")


class TestTemporaryErrorsMariaDB(TemporaryErrors, base.MariaDB):
    read_only = (
        "SET SESSION TRANSACTION READ ONLY",
        "SET SESSION TRANSACTION READ WRITE",
    )


class TestTemporaryErrorsPostgreSQL(TemporaryErrors, base.PostgreSQL):
    read_only = ("SET TRANSACTION READ ONLY", "SELECT 1")
