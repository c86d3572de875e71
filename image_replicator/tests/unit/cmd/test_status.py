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

"""image-replicator-status, as operators run it."""

import json
import pathlib
import sqlite3
from typing import Any

from image_replicator.cmd import manage
from image_replicator.cmd import status
from image_replicator.tests.unit.cmd import base

CHECKS = ["Configuration", "Database schema", "Policy", "Service credentials"]

SUCCESS, WARNING, FAILURE = 0, 1, 2


class TestStatus(base.CommandTestCase):
    def _check(self) -> tuple[int, dict[str, Any]]:
        """Return the exit status, and each check's result and details."""
        done = self.call(status.main, "upgrade", "check", "--json")
        self.assertEqual("", done.errors)
        self.assertNotIn("Traceback", done.output)
        self.assertNotIn(base.SECRET, done.output)
        told = json.loads(done.output)
        self.assertEqual(CHECKS, [check["check"] for check in told["checks"]])
        return done.status, {
            check["check"]: (check["result"], check["details"])
            for check in told["checks"]
        }

    def assert_found(self, check: str, result: int, *words: str) -> None:
        """One check finds something; the others find nothing."""
        code, found = self._check()
        self.assertEqual(result, code)
        for name in CHECKS:
            self.assertEqual(
                result if name == check else SUCCESS, found[name][0], name
            )
        for word in words:
            self.assertIn(word, found[check][1])

    def _database(self) -> sqlite3.Connection:
        state = self.directory / "state"
        state.mkdir(exist_ok=True)
        connection = sqlite3.connect(state / "image-replicator.sqlite")
        self.addCleanup(connection.close)
        return connection

    def test_all_is_well(self) -> None:
        code, found = self._check()
        self.assertEqual(SUCCESS, code)
        self.assertEqual({(SUCCESS, None)}, set(found.values()))

    def test_a_table_for_people(self) -> None:
        done = self.run_process("status", "upgrade", "check")
        self.assertEqual(SUCCESS, done.status)
        for name in CHECKS:
            self.assertIn(f"Check: {name}", done.output)

    def test_a_database_that_is_not_upgraded(self) -> None:
        self._database().execute("CREATE TABLE other (id INTEGER)")
        self.assert_found(
            "Database schema", FAILURE, "image-replicator-manage db upgrade"
        )

    def test_a_database_of_the_release_before(self) -> None:
        self.call(manage.main, "db", "upgrade")
        with self._database() as connection:
            connection.execute("DELETE FROM alembic_version")
            connection.execute(
                "INSERT INTO alembic_version VALUES ('contract_0001')"
            )
        self.assert_found(
            "Database schema",
            FAILURE,
            "expand_0001",
            "image-replicator-manage db upgrade --expand",
        )

    def test_a_database_that_is_expanded_only(self) -> None:
        self._database().execute("CREATE TABLE other (id INTEGER)")
        self.call(manage.main, "db", "upgrade", "--expand")
        self.assert_found("Database schema", WARNING, "--contract")

    def test_a_database_that_is_upgraded(self) -> None:
        self._database().execute("CREATE TABLE other (id INTEGER)")
        self.call(manage.main, "db", "upgrade")
        self.assertEqual(SUCCESS, self._check()[0])

    def test_a_database_of_a_newer_release(self) -> None:
        self.call(manage.main, "db", "upgrade")
        with self._database() as connection:
            connection.execute(
                "INSERT INTO alembic_version VALUES ('expand_9999')"
            )
        self.assert_found("Database schema", FAILURE, "expand_9999")

    def test_a_database_that_is_not_there(self) -> None:
        url = f"mysql+pymysql://user:{base.SECRET}@127.0.0.1:1/jobs"
        self.configure(database={"connection": url})
        self.assert_found("Database schema", FAILURE, "127.0.0.1")

    def test_a_database_directory_that_cannot_be(self) -> None:
        self.configure(DEFAULT={"state_path": self.directory / "no" / "state"})
        self.assert_found("Database schema", FAILURE, "state_path")

    def test_a_value_that_cannot_be(self) -> None:
        self.configure(worker={"concurrency": "many"})
        code, found = self._check()
        self.assertEqual(FAILURE, code)
        result, details = found["Configuration"]
        self.assertEqual(FAILURE, result)
        self.assertIn("[worker] concurrency", details)

    def test_a_policy_file_that_is_missing(self) -> None:
        self.configure(oslo_policy={"policy_file": "/missing/policy.yaml"})
        self.assert_found("Policy", FAILURE, "[oslo_policy] policy_file")

    def test_a_policy_file_that_is_broken(self) -> None:
        policy = pathlib.Path(self.directory, "policy.yaml")
        policy.write_text("image_replicator:jobs:show: [unclosed")
        self.configure(oslo_policy={"policy_file": policy})
        self.assert_found("Policy", FAILURE, "[oslo_policy] policy_file")

    def test_no_credentials(self) -> None:
        self.configure(service_auth={"auth_type": None})
        self.assert_found("Service credentials", FAILURE, "auth_type")

    def test_no_url_of_keystone(self) -> None:
        self.configure(service_auth={"auth_url": None})
        self.assert_found("Service credentials", FAILURE, "auth_url")

    def test_a_file_that_cannot_be_read(self) -> None:
        self.config_file.unlink()
        done = self.run_process("status", "upgrade", "check")
        self.assertEqual(255, done.status)
        self.assert_explained(
            done, "image-replicator-status:", str(self.config_file)
        )
