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

"""Errors that may pass, and values that a database refuses."""

from urllib import parse

import sqlalchemy as sa
from oslo_db.sqlalchemy import test_fixtures

from image_replicator.db import errors
from image_replicator.db import stores as db_stores
from image_replicator.tests.functional.db import base

load_tests = test_fixtures.optimize_module_test_loader()


class Errors(base.JobsMixin):
    #: Limits the sessions' waits for a lock to a second.
    impatient: dict[str, str]

    def _error(self, stores: db_stores.Stores, statement: str) -> Exception:
        try:
            with stores.database.writer() as connection:
                connection.execute(sa.text(statement))
        except Exception as error:
            return error
        raise AssertionError(f"{statement} was done")

    def _assert_refused(self, *changes: str) -> None:
        job_id = self.jobs.create(base.new_job())
        for change in changes:
            error = self._error(
                self.stores, f"UPDATE jobs SET {change} WHERE id = '{job_id}'"
            )
            with base.telling(f"{change}: {error!r}"):
                self.assertFalse(errors.is_temporary(error))

    def test_a_duplicate(self) -> None:
        one, other = (self.jobs.create(base.new_job()) for _ in range(2))
        error = self._error(
            self.stores, f"UPDATE jobs SET id = '{one}' WHERE id = '{other}'"
        )
        self.assertFalse(errors.is_temporary(error))

    def test_a_lock_that_is_not_had_in_time(self) -> None:
        self.jobs.create(base.new_job())
        stores = self.new_stores(
            f"{self.url}?{parse.urlencode(self.impatient)}"
        )
        with self.engine.begin() as connection:
            connection.execute(sa.text("UPDATE jobs SET turn = 5"))
            error = self._error(stores, "UPDATE jobs SET turn = 7")
        with base.telling(repr(error)):
            self.assertTrue(errors.is_temporary(error))


class TestErrorsSQLite(base.JobsMixin, base.SQLite):
    def test_the_disk_is_full(self) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.text("PRAGMA max_page_count = 1"))
        try:
            for _each in range(1000):
                self.jobs.create(base.new_job(source_image_name="n" * 255))
        except Exception as error:
            self.assertIn("full", str(error))
            self.assertTrue(errors.is_temporary(error))
            return
        self.fail("it is not full")

    def test_a_number_that_is_too_large(self) -> None:
        try:
            self.jobs.create(base.new_job(image_size=2**70))
        except Exception as error:
            self.assertFalse(errors.is_temporary(error))
            return
        self.fail("it was stored")


class TestErrorsMariaDB(Errors, base.MariaDB):
    impatient = {"init_command": "SET innodb_lock_wait_timeout = 1"}

    def test_refused_values_are_not_temporary(self) -> None:
        self._assert_refused(
            "status = NULL",
            "source_tenant_id = REPEAT('x', 65)",
            "source_image_name = _binary X'ff'",
            "image_size = 1e30",
            "created_at = 'never'",
            "no such syntax",
        )

    def test_a_row_that_changed_since_it_was_read_is_tried_again(self) -> None:
        """This is the default of MariaDB 11.6 and later."""
        job_id = self.jobs.create(base.new_job())
        setting = parse.quote("SET innodb_snapshot_isolation = ON")
        stores = self.new_stores(f"{self.url}?init_command={setting}")
        turns = []

        @errors.retry_on_deadlock
        def change() -> None:
            with stores.database.writer() as connection:
                read = sa.select(base.JOBS.c.turn).where(
                    base.JOBS.c.id == job_id
                )
                turns.append(connection.scalar(read))
                if len(turns) == 1:
                    self.change(job_id, turn=5)
                connection.execute(
                    sa.update(base.JOBS)
                    .where(base.JOBS.c.id == job_id)
                    .values(turn=base.JOBS.c.turn + 1)
                )

        change()
        self.assertEqual([0, 5], turns)
        self.assertEqual(6, self.jobs.get(job_id).turn)


class TestErrorsPostgreSQL(Errors, base.PostgreSQL):
    impatient = {"options": "-c lock_timeout=1s"}

    def test_refused_values_are_not_temporary(self) -> None:
        self._assert_refused(
            "status = NULL",
            "source_tenant_id = REPEAT('x', 65)",
            "source_image_name = chr(0)",
            "source_image_name = 'a\x00b'",
            "image_size = 1e30",
            "created_at = 'never'",
            "no such syntax",
        )
