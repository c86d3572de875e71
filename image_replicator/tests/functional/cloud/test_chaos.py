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

"""A short run of the chaos suite; see devcloud/chaos."""

import testtools
from testtools import content

from devcloud import galera_node
from devcloud import programs
from devcloud.chaos import plan
from devcloud.chaos import run

SECONDS = 12.0  # of trouble
JOBS = 36
WORKERS = 3


class TestChaos(testtools.TestCase):
    def _check(self, seed: str, database: str) -> None:
        todo = plan.make(
            seed, seconds=SECONDS, jobs=JOBS, workers=WORKERS, tenants=4
        )
        said: list[str] = []
        started = self.useFixture(run.Run(todo, database, report=said.append))
        verdict = started.carry_out()
        told = "\n".join([f"seed {seed}", *said, str(verdict)])
        self.addDetail("run", content.text_content(told))
        self.assertEqual([], list(verdict.violations))
        # A job whose answer was lost may be over before the next request.
        self.assertLessEqual(JOBS, verdict.figures["jobs"])
        self.assertGreater(verdict.figures["in status"]["replicated"], 0)

    def test_on_sqlite(self) -> None:
        self._check("sqlite", "sqlite")

    def test_on_mariadb(self) -> None:
        self._check("mariadb", "mariadb")

    def test_on_postgresql(self) -> None:
        self._check("postgresql", "postgresql")

    def test_on_galera(self) -> None:
        # Here, as the skip of a fixture's fixture is taken for an error.
        galera_node.require_programs()
        programs.find("haproxy")
        self._check("galera", "galera")
