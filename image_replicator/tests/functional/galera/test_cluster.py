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
"""The fixture: failures of nodes, and the cluster's recovery."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

import sqlalchemy as sa
import testtools
from sqlalchemy import pool

from devcloud import galera
from devcloud import galera_node
from image_replicator.tests.functional.galera import base

#: The timeout of waits, in seconds.
PATIENCE = 30


def engine(url: str) -> sa.Engine:
    return sa.create_engine(url, poolclass=pool.NullPool)


def run(url: str, statement: str) -> None:
    with engine(url).begin() as connection:
        connection.exec_driver_sql(statement)


class TestNodes(base.Galera):
    def setUp(self) -> None:
        super().setUp()
        run(self.urls[0], "CREATE TABLE things (id INT PRIMARY KEY)")
        self.addCleanup(run, self.urls[0], "DROP TABLE things")
        # Before that, the cluster is whole again.
        self.addCleanup(self.cluster.make_good)
        self.node = self.cluster.nodes[1]

    def _add(self, thing: int) -> None:
        run(self.urls[0], f"INSERT INTO things VALUES ({thing})")

    def _assert_has(self, url: str, *things: int) -> None:
        with engine(url).connect() as connection:
            connection.exec_driver_sql("SET SESSION wsrep_sync_wait = 1")
            found = connection.exec_driver_sql("SELECT id FROM things")
            self.assertEqual(set(things), set(found.scalars()))

    def test_a_killed_node_has_what_it_missed(self) -> None:
        self._add(1)
        self.node.stop(kill=True)
        self._add(2)
        self.cluster.start()
        self._assert_has(self.urls[1], 1, 2)

    def test_a_node_that_was_cut_off_has_what_it_missed(self) -> None:
        self._add(1)
        self.node.cut_off()
        self.node.wait_until_serves(False)
        self._add(2)
        error = self.assertRaises(
            sa.exc.OperationalError, run, self.urls[1], "DELETE FROM things"
        )
        self.assertIn("1047", str(error))
        self.node.reconnect()
        self.node.wait_until_serves(True)
        self._assert_has(self.urls[1], 1, 2)

    def test_all_nodes_crash(self) -> None:
        self._add(1)
        for node in self.cluster.nodes:
            node.stop(kill=True)
        self.cluster.start()
        self._assert_has(self.urls[1], 1)
        self._assert_has(self.urls[2], 1)


class TestWhatIsLeft(testtools.TestCase):
    def test_nothing_is_of_a_cluster_whose_process_is_killed(self) -> None:
        galera_node.require_programs()
        script = (
            "import sys, time\n"
            "from devcloud import galera\n"
            "cluster = galera.Cluster()\n"
            "cluster.setUp()\n"
            "print(*(node.directory for node in cluster.nodes), flush=True)\n"
            "time.sleep(600)\n"
        )
        child = subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
        )
        self.addCleanup(child.kill)
        assert child.stdout is not None
        directories = child.stdout.readline().split()
        self.assertEqual(galera.SIZE, len(directories))
        self.assertEqual(set(directories), self._used(directories))
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
        deadline = time.monotonic() + PATIENCE
        while self._used(directories) or self._there(directories):
            self.assertLess(time.monotonic(), deadline, "something is left")
            time.sleep(0.1)

    def _there(self, directories: list[str]) -> list[str]:
        return [each for each in directories if pathlib.Path(each).exists()]

    def _used(self, directories: list[str]) -> set[str]:
        """Return the directories in the arguments of running processes."""
        commands = []
        for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            # A process may end after it was listed.
            with contextlib.suppress(OSError):
                commands.append(path.read_bytes().decode(errors="replace"))
        return {
            each
            for each in directories
            if any(f"--datadir={each}/" in command for command in commands)
        }
