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

"""Tests on a Galera cluster of three nodes.

Starting one takes ten seconds, so all tests of a process share it and one
database. Each test leaves the database without rows, and all nodes running.
"""

import atexit
import functools
from typing import Final

import sqlalchemy as sa

from devcloud import galera
from devcloud import galera_front
from devcloud import galera_node
from devcloud import programs
from image_replicator.db import galera as db_galera
from image_replicator.db import models
from image_replicator.tests.functional.db import base

_DATABASE: Final = "tests"


@functools.cache
def shared_cluster() -> galera.Cluster:
    """Return this process's cluster, started at the first call.

    :raises unittest.SkipTest: if it cannot start; in CI AssertionError
    """
    galera_node.require_programs()
    shared = galera.Cluster()
    shared.setUp()
    atexit.register(shared.cleanUp)
    return shared


@functools.cache
def shared_front() -> galera_front.GaleraFront:
    """Return the load balancer of this process's cluster.

    :raises unittest.SkipTest: if it cannot start; in CI AssertionError
    """
    programs.find("haproxy")
    shared = galera_front.GaleraFront(
        shared_cluster(), galera_front.ALL_WRITERS
    )
    shared.setUp()
    atexit.register(shared.cleanUp)
    return shared


@functools.cache
def shared_urls() -> list[str]:
    """Return the URLs of this process's database, one for each node.

    Applying the migrations takes a second, so the tables stay.

    :raises unittest.SkipTest: when there can be none, in CI AssertionError
    """
    return shared_cluster().create_database(_DATABASE)


class Galera(base.DatabaseTestCase):
    """A test on the shared cluster.

    :ivar url: of a database without rows, and without tables until somebody
        migrates it; each connection is to another node.
    :ivar urls: of that database, at each node
    :ivar name: of that database
    """

    name = _DATABASE

    def setUp(self) -> None:
        super().setUp()
        self.cluster = shared_cluster()
        self.urls = shared_urls()
        self.url = shared_front().url_of(self.name)
        self.addCleanup(self._delete_rows)
        self.addCleanup(self.cluster.make_good)

    def _delete_rows(self) -> None:
        with self.cluster.nodes[0].administration(self.name) as connection:
            there = sa.inspect(connection).get_table_names()
            for table in models.Base.metadata.sorted_tables:
                if table.name in there:
                    connection.execute(sa.delete(table))

    def new_engine(self) -> sa.Engine:
        """Return an engine that only adds the wait for earlier commits."""
        engine = super().new_engine()
        db_galera.wait_for_commits(engine)
        return engine
