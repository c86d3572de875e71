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

"""An SQLite file that several processes share."""

import os
import sqlite3
import stat
import threading

import sqlalchemy as sa
from oslo_db import exception as db_exc

from image_replicator import exception
from image_replicator.db import migration
from image_replicator.db import stores as db_stores
from image_replicator.tests.functional.db import base


class TestFile(base.SQLite):
    def test_processes_that_begin_at_once(self) -> None:
        found = base.contend(self.url, "begin", 6)
        self.assertEqual(["found nothing"] * 6, found)
        versions = migration.versions(self.new_engine())
        self.assertEqual(
            [True, True], [version.is_current for version in versions]
        )

    def test_processes_that_write_at_once(self) -> None:
        self.assertEqual(["done"] * 4, base.contend(self.url, "work", 4))
        with self.new_engine().connect() as connection:
            unfinished = connection.scalar(
                sa.select(sa.func.count())
                .select_from(base.JOBS)
                .where(base.JOBS.c.status != "replicated")
            )
        self.assertEqual(0, unfinished)

    def test_a_first_use_while_another_process_writes(self) -> None:
        """SQLite itself does not wait before it changes the file's mode."""
        path = sa.make_url(self.url).database
        assert path
        writer = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False
        )
        self.addCleanup(writer.close)
        writer.execute("BEGIN IMMEDIATE")
        end = threading.Timer(0.3, writer.execute, ["ROLLBACK"])
        end.start()
        self.addCleanup(end.join)
        stores = self.new_stores()
        self.assertRaises(exception.JobNotFound, stores.jobs.get, "job")

    def test_an_old_schema_is_the_operators_to_upgrade(self) -> None:
        migration.upgrade(self.new_engine(), "expand")
        stores = self.new_stores()
        self.assertEqual(
            [True, False],
            [v.is_current for v in migration.versions(stores.database.engine)],
        )

    def test_a_file_of_somebody_elses_is_left_alone(self) -> None:
        engine = self.new_engine()
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE theirs (id INTEGER)"))
        stores = self.new_stores()
        self.assertRaises(db_exc.DBError, stores.jobs.get, "job")
        self.assertEqual(["theirs"], sa.inspect(engine).get_table_names())

    def test_nothing_is_there_before_the_first_use(self) -> None:
        self.new_stores()
        self.assertEqual([], list(self.directory.iterdir()))

    def test_connections_are_used_again(self) -> None:
        """To open one takes longer than a transaction."""
        stores = self.new_stores()
        opened: list[object] = []
        sa.event.listen(
            stores.database.engine,
            "connect",
            lambda *args: opened.append(args),
        )
        for _each in range(3):
            self.assertRaises(exception.JobNotFound, stores.jobs.get, "job")
        self.assertEqual([], opened)

    def test_it_is_no_database(self) -> None:
        (self.directory / "jobs.sqlite").write_text("no database " * 1000)
        stores = db_stores.open_stores(base.configuration(self.url))
        self.assertRaises(db_exc.DBError, stores.jobs.get, "job")


class TestDirectory(base.SQLite):
    def setUp(self) -> None:
        super().setUp()
        self.state = self.directory / "state"
        self.url = f"sqlite:///{self.state}/jobs.sqlite"

    def _refusal(self) -> str:
        error = self.assertRaises(exception.ConfigurationError, self._use)
        self.assertIn("[database] connection", str(error))
        self.assertIn("state_path", str(error))
        self.assertIn(str(self.state), str(error))
        return str(error)

    def _use(self) -> None:
        self.new_stores().jobs.create(base.new_job())

    def test_it_is_made(self) -> None:
        self.addCleanup(os.umask, os.umask(0))
        self._use()
        self.assertEqual(0o750, stat.S_IMODE(self.state.stat().st_mode))

    def test_it_is_there(self) -> None:
        self.state.mkdir(mode=0o700)
        self._use()
        self.assertEqual(0o700, stat.S_IMODE(self.state.stat().st_mode))

    def test_there_is_more_missing(self) -> None:
        self.state = self.state / "below"
        self.url = f"sqlite:///{self.state}/jobs.sqlite"
        self.assertIn("No such file or directory", self._refusal())

    def test_it_is_a_file(self) -> None:
        self.state.touch()
        self.assertIn("File exists", self._refusal())

    def test_it_is_not_ours_to_write_in(self) -> None:
        if os.geteuid() == 0:
            self.skipTest("root may write anywhere")
        self.state.mkdir(mode=0o500)
        self.assertIn("not writable", self._refusal())

    def test_its_parent_is_not_ours_to_write_in(self) -> None:
        if os.geteuid() == 0:
            self.skipTest("root may write anywhere")
        self.directory.chmod(0o500)
        self.addCleanup(self.directory.chmod, 0o700)
        self.assertIn("Permission denied", self._refusal())

    def test_there_is_none_in_memory(self) -> None:
        for url in ("sqlite://", "sqlite:///:memory:"):
            stores = self.new_stores(url)
            self.assertTrue(stores.jobs.create(base.new_job()))
