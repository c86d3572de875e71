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

"""A Galera cluster of three nodes on 127.0.0.1.

Each node is a MariaDB with a temporary directory and ports of its own. A node
can be killed, halted or cut off from the others, and can rejoin::

    cluster = self.useFixture(galera.Cluster())
    urls = cluster.create_database("jobs")  # one for each node
    cluster.nodes[1].stop(kill=True)
    cluster.start()

It needs Debian's packages mariadb-server, galera-4 and rsync. If they are
missing, a test is skipped; in CI (CI=true) it fails.
"""

import time
from concurrent import futures
from typing import Final

import fixtures
import pymysql

from devcloud import galera_node
from devcloud import ports
from devcloud import process
from devcloud.galera_node import Node

SIZE: Final = 3  # nodes

_PATIENCE: Final = 60.0  # seconds for all nodes to agree
_LOOK: Final = 0.05  # seconds between two looks


class Cluster(fixtures.Fixture):
    """The nodes of a cluster.

    :ivar nodes: all of them, running or not
    """

    def _setUp(self) -> None:
        # It is checked here, as a skip in a fixture of this one counts as an
        # error.
        galera_node.require_programs()
        own = _reserve_ports()
        group = [each.group for each in own]
        self.nodes = [
            Node(number, each, group) for number, each in enumerate(own, 1)
        ]
        for node in self.nodes:
            # They start one by one, as each gets its data from an earlier one.
            self.useFixture(node)
        self.addCleanup(self._kill)

    def _kill(self) -> None:
        for node in self.nodes:
            node.stop(kill=True)

    def create_database(self, name: str) -> list[str]:
        """Create an empty database; return its owner's URL at each node."""
        running = next(node for node in self.nodes if node.running)
        running.create_database(name)
        return [node.url(name) for node in self.nodes]

    def drop_database(self, name: str) -> None:
        """Drop a database and its owner."""
        self.nodes[0].drop_database(name)

    def create_checker(self) -> None:
        """Create the user haproxy, as which HAProxy checks the nodes."""
        self.nodes[0].tell(f"CREATE USER IF NOT EXISTS haproxy@{ports.HOST}")

    def make_good(self) -> None:
        """Make all nodes run and serve after any failure.

        :raises process.ProcessError: with the end of a log, when one does not
        """
        self.start()
        for node in self.nodes:
            node.resume()
            node.reconnect()
        deadline = time.monotonic() + _PATIENCE
        while not self._is_whole():
            if time.monotonic() > deadline:
                raise process.ProcessError(self.nodes[0].log_tail())
            time.sleep(_LOOK)

    def wait_until_given_up(self, lost: Node) -> None:
        """Wait until the other nodes go on without one of them.

        :raises process.ProcessError: with the end of a log, when they do not
        """
        other = next(node for node in self.nodes if node is not lost)
        deadline = time.monotonic() + _PATIENCE
        while other.status("wsrep_cluster_size") != str(SIZE - 1):
            if time.monotonic() > deadline:
                raise process.ProcessError(other.log_tail())
            time.sleep(_LOOK)

    def _is_whole(self) -> bool:
        """Tell whether all nodes serve, and agree on the members.

        A node that was halted may not know yet that the others excluded it.
        """
        try:
            found = {
                tuple(
                    node.status(f"wsrep_{name}")
                    for name in ("ready", "cluster_size", "cluster_conf_id")
                )
                for node in self.nodes
            }
        except pymysql.OperationalError:
            return False
        return len(found) == 1 and found.pop()[:2] == ("ON", str(SIZE))

    def start(self) -> None:
        """Start all nodes that do not run.

        :raises process.ProcessError: with the end of a log, when one cannot
        """
        stopped = [node for node in self.nodes if not node.running]
        if len(stopped) == len(self.nodes):
            for node in stopped:
                if node.stopped_last:
                    node.start(forms_cluster=True)
                    break
        waiting = [node for node in stopped if not node.running]
        # They start at once: if all crashed, none serves before the others
        # run.
        with futures.ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(Node.start, waiting))


def _reserve_ports() -> list[galera_node.Ports]:
    listeners = [
        [ports.listen(None, "Galera") for _each in range(3)]
        for _node in range(SIZE)
    ]
    found = [
        galera_node.Ports(*map(ports.number, of_node)) for of_node in listeners
    ]
    for of_node in listeners:
        for listener in of_node:
            listener.close()
    return found
