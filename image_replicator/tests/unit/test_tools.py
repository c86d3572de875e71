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

"""tools/test_databases.py without a database server."""

import os
import pathlib
import subprocess
import sys

import testtools

TOOL = pathlib.Path(__file__).parents[3] / "tools" / "test_databases.py"

SECRET = "pa55word"


class TestTestDatabases(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        if not TOOL.exists():
            self.skipTest("Not a checkout: there are no tools")

    def _run(self, **environ: str) -> subprocess.CompletedProcess[str]:
        # No server listens on the reserved port 1.
        server = f"admin:{SECRET}@127.0.0.1:1"
        done = subprocess.run(
            [sys.executable, str(TOOL)],
            env={
                **{k: v for k, v in os.environ.items() if k != "CI"},
                "TEST_MYSQL_ADMIN_URL": f"mysql://{server}/",
                "TEST_POSTGRESQL_ADMIN_URL": f"postgresql://{server}/postgres",
                **environ,
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        for name in ("MariaDB", "PostgreSQL"):
            self.assertIn(f"{name}: not prepared", done.stderr)
        self.assertNotIn(SECRET, done.stdout + done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        return done

    def test_a_missing_server_is_told(self) -> None:
        self.assertEqual(0, self._run().returncode)

    def test_a_missing_server_is_an_error_in_ci(self) -> None:
        self.assertEqual(1, self._run(CI="true").returncode)
