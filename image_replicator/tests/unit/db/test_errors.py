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

"""Each error of the database is a DBError."""

import sqlite3

import testtools
from oslo_db import exception as db_exc
from sqlalchemy import exc as sa_exc

from image_replicator.db import errors


class TestDatabaseErrors(testtools.TestCase):
    def _raised(self, error: Exception) -> Exception:
        try:
            with errors.database_errors():
                raise error
        except Exception as raised:
            return raised

    def test_no_connection(self) -> None:
        cause = sa_exc.OperationalError(None, None, sqlite3.Error("refused"))
        self.assertIsInstance(self._raised(cause), db_exc.DBConnectionError)

    def test_a_statement_that_fails(self) -> None:
        cause = sa_exc.ProgrammingError(
            "SELECT", {}, sqlite3.Error("no table")
        )
        raised = self._raised(cause)
        self.assertIs(db_exc.DBError, type(raised))
        self.assertIs(cause, raised.__cause__)

    def test_an_exhausted_pool(self) -> None:
        raised = self._raised(sa_exc.TimeoutError("pool limit reached"))
        self.assertIsInstance(raised, db_exc.DBError)

    def test_other_errors_pass(self) -> None:
        for error in (db_exc.DBDeadlock(), ValueError()):
            self.assertIs(error, self._raised(error))
