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

"""Measures the work of statements, in the unit that each server counts."""

import itertools
import json
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from image_replicator.tests.functional.db import base

#: The statements that are measured: those that look for rows.
VERBS = ("SELECT", "UPDATE", "DELETE")


class Effort(base.JobsMixin):
    """Measures the efforts of calls."""

    #: The statement that updates the server's statistics.
    statistics: str | None

    def setUp(self) -> None:
        super().setUp()
        self._other = self.new_engine()

    def note_statistics(self) -> None:
        if self.statistics:
            with self.engine.begin() as connection:
                connection.exec_driver_sql(self.statistics)

    def effort(self, call: Callable[[], Any]) -> int:
        """Return the effort of all statements that a call makes."""
        efforts: list[int] = []

        def measure(
            connection: Any,
            cursor: Any,
            statement: str,
            parameters: Any,
            *_: Any,
        ) -> None:
            if statement.startswith(VERBS):
                efforts.append(self._effort(connection, statement, parameters))

        engines = self.stores.database.engines
        for engine in engines:
            sa.event.listen(engine, "before_cursor_execute", measure)
        try:
            call()
        finally:
            for engine in engines:
                sa.event.remove(engine, "before_cursor_execute", measure)
        return sum(efforts)

    def _effort(
        self, used: sa.Connection, statement: str, parameters: Any
    ) -> int:
        """Run the statement on the same data, and roll it back.

        :param used: the connection that is about to run it.
        """
        with self._other.connect() as connection:
            effort = self._measure(connection, statement, parameters)
            connection.rollback()
        return effort

    def _measure(
        self, connection: sa.Connection, statement: str, parameters: Any
    ) -> int:
        raise NotImplementedError


class SQLite(Effort, base.SQLite):
    #: An SQLite file has no statistics in production either.
    statistics: str | None = None

    def _effort(
        self, used: sa.Connection, statement: str, parameters: Any
    ) -> int:
        """Count the steps of SQLite's virtual machine, in tens.

        Another connection could not write while a transaction has written.
        """
        driver: Any = used.connection.driver_connection
        steps = itertools.count()
        driver.execute("SAVEPOINT effort")
        driver.set_progress_handler(lambda: next(steps) < 0, 10)
        driver.execute(statement, parameters).fetchall()
        driver.set_progress_handler(None, 0)
        driver.execute("ROLLBACK TO effort")
        driver.execute("RELEASE effort")
        return next(steps)


class AnalyzedSQLite(SQLite):
    statistics = "ANALYZE"


class MariaDB(Effort, base.MariaDB):
    statistics = "ANALYZE TABLE jobs"

    def _measure(
        self, connection: sa.Connection, statement: str, parameters: Any
    ) -> int:
        """Count the rows that are read from the storage engine."""
        before = self._rows_read(connection)
        connection.exec_driver_sql(statement, parameters)
        return self._rows_read(connection) - before

    def _rows_read(self, connection: sa.Connection) -> int:
        counters = connection.exec_driver_sql(
            "SHOW SESSION STATUS LIKE 'Handler_read_%%'"
        )
        return sum(int(value) for _, value in counters)


class PostgreSQL(Effort, base.PostgreSQL):
    statistics = "ANALYZE jobs"

    def _measure(
        self, connection: sa.Connection, statement: str, parameters: Any
    ) -> int:
        """Count the rows that the plan's nodes return or discard."""
        explained = connection.exec_driver_sql(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters
        ).scalar_one()
        if isinstance(explained, str):
            explained = json.loads(explained)
        return _rows_of(explained[0]["Plan"])


def _rows_of(node: dict[str, Any]) -> int:
    kept = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
    below = sum(_rows_of(child) for child in node.get("Plans", ()))
    return int(kept * node["Actual Loops"]) + below
