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

"""A commit on one node is seen on any other."""

import collections
import contextlib
import logging
import threading
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import fixtures
import pymysql
from oslo_db import exception as db_exc

from devcloud import galera_node
from devcloud import ports
from image_replicator import exception
from image_replicator.db import errors
from image_replicator.db import migration
from image_replicator.db import stores
from image_replicator.jobs import JobStatus
from image_replicator.tests.functional.db import base as db_base
from image_replicator.tests.functional.galera import base

WORKERS = 6
JOBS = 600


class TestCommits(base.Galera):
    def setUp(self) -> None:
        super().setUp()
        self.here, self.there, _third = map(self.new_stores, self.urls)
        migration.upgrade(self.here.database.engine)

    @contextlib.contextmanager
    def _held_back(self) -> Iterator[threading.Event]:
        """Keep the second node from applying commits until an event."""
        node = self.cluster.nodes[1]
        with pymysql.connect(
            host=ports.HOST, port=node.port, user=node.administrator
        ) as connection:
            cursor = connection.cursor()
            cursor.execute("FLUSH TABLES WITH READ LOCK")
            go_on = threading.Event()
            with futures.ThreadPoolExecutor(1) as pool:
                released = pool.submit(self._release, cursor, go_on)
                try:
                    yield go_on
                finally:
                    go_on.set()
                    released.result()

    def _release(self, cursor: Any, go_on: threading.Event) -> None:
        go_on.wait(db_base.PATIENCE)
        cursor.execute("UNLOCK TABLES")

    def test_a_read_waits_for_what_was_answered(self) -> None:
        with self._held_back() as go_on:
            job_id = self.here.jobs.create(db_base.new_job())
            with futures.ThreadPoolExecutor(1) as pool:
                found = pool.submit(self.there.jobs.get, job_id)
                self.assertRaises(TimeoutError, found.result, 0.3)
                go_on.set()
                self.assertEqual(job_id, found.result(db_base.PATIENCE).id)

    def test_an_operator_s_own_value_is_kept(self) -> None:
        conf = db_base.configuration(self.urls[1])
        conf.set_override("mysql_wsrep_sync_wait", 0, "database")
        opened = stores.open_stores(conf)
        self.addCleanup(opened.database.dispose)
        with self._held_back():
            job_id = self.here.jobs.create(db_base.new_job())
            self.assertRaises(exception.JobNotFound, opened.jobs.get, job_id)

    def test_any_node_takes_the_next_step(self) -> None:
        for _each in range(200):
            job_id = self.here.jobs.create(db_base.new_job())
            _job, claim = self.there.queue.claim_next("worker")
            self.here.owned.reserve_image(claim, job_id)
            self.there.owned.finish(claim, 1000, 99, db_base.VERIFICATION)
            self.assertIs(
                JobStatus.REPLICATED, self.here.jobs.get(job_id).status
            )

    def test_any_node_cancels_a_job(self) -> None:
        for _each in range(200):
            job_id = self.here.jobs.create(db_base.new_job())
            self.there.jobs.request_cancel(job_id)

    def test_each_job_is_claimed_once(self) -> None:
        rows = [db_base.row() for _each in range(JOBS)]
        with self.here.database.engine.begin() as connection:
            connection.execute(db_base.JOBS.insert(), rows)
        claimed = db_base.contend(self.url, "claim", WORKERS)
        times = collections.Counter(claimed)
        self.assertEqual({row["id"]: 1 for row in rows}, dict(times))


class TestLostNode(base.Galera):
    def test_a_node_that_lost_the_others_is_waited_for(self) -> None:
        node = self.cluster.nodes[1]
        opened = self.new_stores(self.urls[1])
        migration.upgrade(opened.database.engine)
        job_id = opened.jobs.create(db_base.new_job())
        node.cut_off()
        node.wait_until_serves(False)
        self.assertRaises(db_exc.DBConnectionError, opened.jobs.get, job_id)
        # A new connection sets more bits.
        fresh = self.new_stores(self.urls[1])
        self.assertRaises(db_exc.DBConnectionError, fresh.jobs.get, job_id)
        node.reconnect()
        node.wait_until_serves(True)
        self.assertEqual(job_id, opened.jobs.get(job_id).id)

    def test_a_commit_on_a_lost_node_closes_the_connection(self) -> None:
        """Else a traceback would be logged when it is returned to the pool."""
        node = self.cluster.nodes[1]
        opened = self.new_stores(self.urls[1])
        migration.upgrade(opened.database.engine)
        logger = self.useFixture(fixtures.FakeLogger(level=logging.ERROR))
        error = self.assertRaises(db_exc.DBError, self._lose, opened, node)
        self.assertIn("Primary", str(error))
        self.assertTrue(errors.is_temporary(error))
        self.assertEqual("", logger.output)

    def _lose(self, opened: stores.Stores, node: galera_node.Node) -> None:
        """Commit through a node that is about to lose the others."""
        with opened.database.writer() as connection:
            connection.execute(db_base.JOBS.insert(), db_base.row())
            node.cut_off()
