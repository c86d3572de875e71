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

"""The databases of a run, and their outages."""

import itertools
import pathlib
import sqlite3
from typing import ClassVar

import fixtures
import sqlalchemy as sa

from devcloud import cloud
from devcloud import galera
from devcloud import galera_front
from devcloud import mariadb
from devcloud import postgresql
from devcloud import servers

_NAME = "chaos"
_PATIENCE = 2.0  # seconds for a lock


class Store(fixtures.Fixture):
    """The database of a run.

    :ivar url: for the API
    """

    url: str

    @property
    def observer_url(self) -> str:
        """The URL by which all is seen that was committed."""
        return self.url

    def url_of(self, worker: str) -> str:
        """Return the URL that a worker uses.

        If the database has users, each worker is one, so that the log of
        writes names the worker.
        """
        return self.url

    def glance_urls(self) -> dict[str, str]:
        """Create databases for the Glances; return their URLs by region.

        There are none if the Glances use SQLite files.
        """
        return {}

    def begin_outage(self, kind: str) -> None:
        """Make the database unavailable, or read-only.

        :param kind: ``stop``, ``kill`` or ``freeze``
        """
        raise NotImplementedError

    def end_outage(self) -> None:
        """Make the database available again after any outage."""
        raise NotImplementedError

    def connections(self) -> int | None:
        """Return the number of connections; None if it is not known."""
        return None


class SQLite(Store):
    """An SQLite file, whose only outage is another process that locks it."""

    def _setUp(self) -> None:
        directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.path = directory / "jobs.sqlite"
        self.url = f"sqlite:///{self.path}"
        self._writer: sqlite3.Connection | None = None
        self.addCleanup(self.end_outage)

    def begin_outage(self, kind: str) -> None:
        self.end_outage()
        self._writer = sqlite3.connect(
            self.path,
            timeout=_PATIENCE,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            self._writer.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            # A worker that was halted in a write keeps the file locked until
            # we resume it.
            self.end_outage()

    def end_outage(self) -> None:
        if self._writer:
            self._writer.close()
            self._writer = None


class OnServer(Store):
    """A database on a server."""

    server_class: ClassVar[type[servers.Server]]

    def _setUp(self) -> None:
        self.server = self.useFixture(self.server_class())
        self.url = self.server.create_database(_NAME)
        self._workers: set[str] = set()
        self._frozen = False

    def url_of(self, worker: str) -> str:
        if worker not in self._workers:
            self._workers.add(worker)
            return self.server.create_user(worker, _NAME)
        return self.server.url(_NAME, worker)

    def begin_outage(self, kind: str) -> None:
        self.end_outage()
        if kind == "freeze":
            self._frozen = True
            self.server.set_read_only(True)
        else:
            self.server.stop(kill=kind == "kill")

    def end_outage(self) -> None:
        if not self.server.running:
            self.server.start()
        if self._frozen:
            self.server.set_read_only(False)
            self._frozen = False

    def glance_urls(self) -> dict[str, str]:
        return {
            region: self.server.create_database(f"glance-{region}")
            for region in cloud.REGIONS
        }

    def connections(self) -> int | None:
        return self.server.connections(_NAME)


class MariaDB(OnServer):
    """A database on a MariaDB."""

    server_class = mariadb.MariaDB


class PostgreSQL(OnServer):
    """A database on a PostgreSQL."""

    server_class = postgresql.PostgreSQL


class Galera(Store):
    """On a Galera cluster, each connection to another of its nodes.

    An outage is of one node, each time the next: killed, cut off from the
    others, or halted.
    """

    def _setUp(self) -> None:
        self.cluster = self.useFixture(galera.Cluster())
        self.cluster.create_database(_NAME)
        self._front = self.useFixture(
            galera_front.GaleraFront(self.cluster, galera_front.ALL_WRITERS)
        )
        self.url = self._front.url_of(_NAME)
        self._workers: set[str] = set()
        self._victims = itertools.cycle(self.cluster.nodes)

    @property
    def observer_url(self) -> str:
        wait = "SET SESSION wsrep_sync_wait = 7"
        url = sa.make_url(self.url).update_query_dict({"init_command": wait})
        return url.render_as_string(hide_password=False)

    def url_of(self, worker: str) -> str:
        if worker not in self._workers:
            self._workers.add(worker)
            self.cluster.nodes[0].create_user(worker, _NAME)
        return self._front.url_of(_NAME, worker)

    def begin_outage(self, kind: str) -> None:
        self.end_outage()
        victim = next(self._victims)
        match kind:
            case "kill":
                victim.stop(kill=True)
            case "stop":
                victim.cut_off()
            case _:
                victim.halt()
        # What is over before that is no loss of a node.
        self.cluster.wait_until_given_up(victim)

    def end_outage(self) -> None:
        self.cluster.make_good()

    def glance_urls(self) -> dict[str, str]:
        # Whether Glance may write through several nodes is not the question.
        return {
            region: self.cluster.create_database(f"glance-{region}")[0]
            for region in cloud.REGIONS
        }


STORES = {
    "sqlite": SQLite,
    "mariadb": MariaDB,
    "postgresql": PostgreSQL,
    "galera": Galera,
}
