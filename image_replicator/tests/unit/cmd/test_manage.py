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

"""image-replicator-manage, as operators run it."""

import pathlib
import sqlite3

from image_replicator.cmd import manage
from image_replicator.db.alembic import versions
from image_replicator.tests.unit.cmd import base


def newest(branch: str) -> str:
    """Return the newest revision of a branch, by its file's name."""
    directory = pathlib.Path(versions.__file__).parent
    path = max(directory.glob(f"{branch}_*.py"))
    return "_".join(path.stem.split("_")[:2])


EXPANDED, CONTRACTED = newest("expand"), newest("contract")


class TestManage(base.CommandTestCase):
    def _manage(self, *argv: str) -> base.Done:
        return self.call(manage.main, *argv)

    def _sql(self, statement: str, *parameters: object) -> list[tuple[object]]:
        path = self.directory / "state" / "image-replicator.sqlite"
        with sqlite3.connect(path) as connection:
            found = connection.execute(statement, parameters).fetchall()
        connection.close()
        return found

    def _empty_database(self) -> None:
        """Create a database with a table, so that no schema is created."""
        (self.directory / "state").mkdir()
        self._sql("CREATE TABLE other (id INTEGER)")

    def assert_versions(
        self, done: base.Done, expand: str, contract: str
    ) -> None:
        self.assertEqual((0, ""), (done.status, done.errors))
        self.assertEqual(
            [
                f"expand: {expand} (newest: {EXPANDED})",
                f"contract: {contract} (newest: {CONTRACTED})",
            ],
            done.output.splitlines(),
        )

    def test_upgrade_from_nothing(self) -> None:
        for _ in range(2):
            done = self.run_process("manage", "db", "upgrade")
            self.assert_versions(done, EXPANDED, CONTRACTED)

    def test_a_rolling_upgrade(self) -> None:
        self._empty_database()
        version = self._manage("db", "version")
        self.assert_versions(version, "none", "none")
        done = self._manage("db", "upgrade", "--expand")
        self.assert_versions(done, EXPANDED, "none")
        done = self._manage("db", "upgrade", "--contract")
        self.assert_versions(done, EXPANDED, CONTRACTED)

    def test_one_phase_at_a_time(self) -> None:
        done = self._manage("db", "upgrade", "--expand", "--contract")
        self.assertEqual(2, done.status)
        self.assert_explained(done, "not allowed with")

    def test_a_database_of_a_newer_release(self) -> None:
        self._manage("db", "upgrade")
        self._sql("INSERT INTO alembic_version VALUES ('expand_9999')")
        for action in ("upgrade", "version"):
            done = self._manage("db", action)
            self.assertEqual(1, done.status)
            self.assert_explained(done, "expand_9999", "newer release")

    def test_purge_what_is_old(self) -> None:
        self._manage("db", "upgrade")
        columns = (
            "status source_image_id source_image_name source_region_id "
            "source_tenant_id destination_region_id destination_tenant_id "
            "image_size bytes_copied attempts request_id created_at updated_at"
        ).split()
        for number, age in enumerate((9, 8, 8, 1)):
            moment = f"strftime('%Y-%m-%d %H:%M:%f000', 'now', '-{age} days')"
            self._sql(
                f"INSERT INTO jobs (id, finished_at, {', '.join(columns)}) "
                f"VALUES (?, {moment}, 'error', {'?, ' * 10} {moment}, "
                f"{moment})",
                f"job-{number}",
                *"abcdef",
                *"1234",
            )
        done = self._manage(
            "db", "purge", "--older-than", "7", "--batch-size", "2"
        )
        self.assertEqual((0, "3 jobs purged\n"), (done.status, done.output))
        self.assertEqual([("job-3",)], self._sql("SELECT id FROM jobs"))
        done = self._manage("db", "purge", "--older-than", "0.5")
        self.assertEqual("1 jobs purged\n", done.output)

    def test_a_database_that_has_no_schema(self) -> None:
        self._empty_database()
        done = self._manage("db", "purge", "--older-than", "1")
        self.assertEqual(1, done.status)
        self.assert_explained(
            done, "image-replicator-manage: the database:", "--expand"
        )

    def test_a_database_that_is_not_there(self) -> None:
        for scheme in ("mysql+pymysql", "postgresql+psycopg2"):
            # No server listens on the reserved port 1.
            url = f"{scheme}://user:{base.SECRET}@127.0.0.1:1/jobs"
            self.configure(database={"connection": url})
            done = self._manage("db", "version")
            self.assertEqual(1, done.status)
            self.assert_explained(done, "the database:", "127.0.0.1")

    def test_bad_arguments(self) -> None:
        for argv, word in (
            ([], "command"),
            (["db"], "action"),
            (["db", "downgrade"], "downgrade"),
            (["db", "purge"], "--older-than"),
            (["db", "purge", "--older-than", "week"], "'week'"),
            (["db", "purge", "--older-than", "-1"], "older-than"),
            (["db", "purge", "--older-than", "nan"], "'nan'"),
            (["db", "purge", "--older-than", "365000"], "'365000'"),
            (
                ["db", "purge", "--older-than", "1", "--batch-size", "0"],
                "'0'",
            ),
            (["db", "upgrade", "--sideways"], "--sideways"),
            (["worker"], "action"),
            (["worker", "list", "--format", "xml"], "'xml'"),
            (["image"], "action"),
        ):
            done = self._manage(*argv)
            self.assertEqual(2, done.status)
            self.assert_explained(done, word)

    def test_help_names_every_command(self) -> None:
        for argv, words in (
            (
                ["--help"],
                ["--config-file", "db", "worker", "image", "--version"],
            ),
            (["db", "--help"], ["upgrade", "version", "purge"]),
            (["db", "upgrade", "--help"], ["--expand", "--contract"]),
            (["db", "purge", "--help"], ["--older-than", "--batch-size"]),
            (["worker", "list", "--help"], ["--format"]),
            (
                ["image", "orphans", "--help"],
                ["--region", "--source-region", "--older-than", "--remove"],
            ),
        ):
            done = self._manage(*argv)
            self.assertEqual(0, done.status)
            for word in words:
                self.assertIn(word, done.output)

    def test_it_says_its_version(self) -> None:
        done = self._manage("--version")
        self.assertEqual(0, done.status)
        self.assertRegex(done.output, r"^\d+\.\d+")
