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

"""HAProxy before the cluster, with the documentation's configuration."""

import pathlib
import threading
import time
from typing import Any

import sqlalchemy as sa
from oslo_db import exception as db_exc
from sqlalchemy import pool

from devcloud import galera_front
from image_replicator.db import migration
from image_replicator.tests.functional.db import base as db_base
from image_replicator.tests.functional.galera import base
from image_replicator.worker import availability

NODES = {"node-1", "node-2", "node-3"}

#: The number of connections: enough for each node to get one.
MANY = 6


class HAProxyTestCase(base.Galera):
    configuration: pathlib.Path

    def setUp(self) -> None:
        super().setUp()
        front = galera_front.GaleraFront(self.cluster, self.configuration)
        self.url = self.useFixture(front).url_of(self.name)
        self.opened = self.new_stores()
        migration.upgrade(self.opened.database.engine)
        self.job_id = self.opened.jobs.create(db_base.new_job())

    def nodes(self) -> set[str]:
        """Return the nodes that new connections reach.

        :raises sqlalchemy.exc.DBAPIError: if one of them does not
        """
        engine = sa.create_engine(self.url, poolclass=pool.NullPool)
        # All are open at once, so that HAProxy chooses different nodes.
        connections = [engine.connect() for _each in range(MANY)]
        try:
            return {
                connection.exec_driver_sql(
                    "SELECT @@wsrep_node_name"
                ).scalar_one()
                for connection in connections
            }
        finally:
            for connection in connections:
                connection.close()

    def wait_for_nodes(self, expected: set[str]) -> None:
        """Wait until new connections reach exactly these nodes."""
        deadline = time.monotonic() + db_base.PATIENCE
        found: Any = None
        while found != expected:
            self.assertLess(time.monotonic(), deadline, f"found {found}")
            try:
                found = self.nodes()
            except (sa.exc.DBAPIError, db_exc.DBError) as error:
                found = error
            time.sleep(0.1)

    def wait_until_serves(self) -> None:
        """Wait until the stores can read and write again."""
        database = availability.DatabaseAvailability()
        stop = threading.Event()
        timer = threading.Timer(db_base.PATIENCE, stop.set)
        timer.start()
        self.addCleanup(timer.cancel)
        job = database.call_until_available(
            stop, self.opened.jobs.get, self.job_id
        )
        self.assertEqual(self.job_id, job.id)
        database.call_until_available(
            stop, self.opened.jobs.create, db_base.new_job()
        )


class TestSingleWriter(HAProxyTestCase):
    configuration = galera_front.SINGLE_WRITER

    def test_one_node_serves(self) -> None:
        self.assertEqual({"node-1"}, self.nodes())

    def test_a_killed_writer(self) -> None:
        self.cluster.nodes[0].stop(kill=True)
        self.wait_for_nodes({"node-2"})
        self.wait_until_serves()
        self.cluster.start()
        self.wait_for_nodes({"node-1"})
        self.wait_until_serves()

    def test_a_writer_that_lost_the_others(self) -> None:
        self.cluster.nodes[0].cut_off()
        self.wait_for_nodes({"node-2"})
        self.wait_until_serves()

    def test_a_writer_that_stands_still(self) -> None:
        self.cluster.nodes[0].halt()
        self.wait_for_nodes({"node-2"})
        self.wait_until_serves()


class TestAllWriters(HAProxyTestCase):
    configuration = galera_front.ALL_WRITERS

    def test_each_node_serves_some(self) -> None:
        self.assertEqual(NODES, self.nodes())

    def test_a_node_that_lost_the_others(self) -> None:
        self.cluster.nodes[2].cut_off()
        self.wait_for_nodes(NODES - {"node-3"})
        self.wait_until_serves()
        self.cluster.nodes[2].reconnect()
        self.wait_for_nodes(NODES)

    def test_a_killed_node(self) -> None:
        self.cluster.nodes[1].stop(kill=True)
        self.wait_for_nodes(NODES - {"node-2"})
        self.wait_until_serves()
