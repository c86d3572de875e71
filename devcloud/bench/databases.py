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

"""Temporary databases on each kind of server.

The servers are found as tools/test_databases.py finds them. A missing server
is left out, with a message.
"""

import contextlib
import dataclasses
import functools
import os
import pathlib
import secrets
import unittest
from collections.abc import Callable
from collections.abc import Iterator

import sqlalchemy as sa
from oslo_config import cfg

from devcloud import galera
from devcloud import galera_front
from devcloud import galera_node
from devcloud import programs
from devcloud.bench.stage import BenchError
from devcloud.bench.stage import reconfigured
from devcloud.bench.stage import Stage
from image_replicator import conf as ir_conf
from image_replicator.conf import loading
from image_replicator.db import migration
from image_replicator.db import stores

#: Name, driver, variable that has the administrator's URL, and its default.
_SERVERS = (
    (
        "MariaDB",
        "mysql+pymysql",
        "TEST_MYSQL_ADMIN_URL",
        "mysql://root@127.0.0.1:3306/",
    ),
    (
        "PostgreSQL",
        "postgresql+psycopg2",
        "TEST_POSTGRESQL_ADMIN_URL",
        "postgresql://postgres@127.0.0.1:5432/postgres",
    ),
)


def configuration(url: str) -> cfg.ConfigOpts:
    """Return a configuration that only has the database."""
    conf = cfg.ConfigOpts()
    ir_conf.register_opts(conf)
    conf([], project=loading.PROJECT, default_config_files=[])
    conf.set_override("connection", url, "database")
    return conf


@contextlib.contextmanager
def _on_server(admin: sa.URL) -> Iterator[str]:
    """Create a database on a server; yield its URL.

    :raises sqlalchemy.exc.OperationalError: if there is no such server
    """
    name = f"image_replicator_bench_{secrets.token_hex(4)}"
    engine = sa.create_engine(admin, isolation_level="AUTOCOMMIT")
    is_mysql = engine.dialect.name in ("mysql", "mariadb")
    charset = " CHARACTER SET utf8mb4" if is_mysql else ""
    # The database is dropped even if an ending process still has a connection.
    force = "" if is_mysql else " WITH (FORCE)"
    try:
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}{charset}"))
        try:
            yield admin.set(database=name).render_as_string(False)
        finally:
            with engine.connect() as connection:
                connection.execute(sa.text(f"DROP DATABASE {name}{force}"))
    finally:
        engine.dispose()


@contextlib.contextmanager
def _in_file(directory: pathlib.Path) -> Iterator[str]:
    path = directory / f"bench-{secrets.token_hex(4)}.sqlite"
    try:
        yield f"sqlite:///{path}"
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _prepared(url: str) -> Iterator[stores.Stores]:
    """Create the newest schema in a database; yield its stores."""
    opened = stores.open_stores(configuration(url))
    try:
        migration.upgrade(opened.database.engine)
        yield opened
    finally:
        opened.database.engine.dispose()


def _servers(stage: Stage) -> Iterator[tuple[str, sa.URL]]:
    """Yield the name and the administrator's URL of each available server."""
    for name, driver, variable, default in _SERVERS:
        admin = sa.make_url(os.environ.get(variable) or default)
        admin = admin.set(drivername=driver)
        if _is_there(admin):
            yield name, admin
        else:
            stage.say(f"{name} is not there ({variable}) and is left out.")


def _is_there(admin: sa.URL) -> bool:
    engine = sa.create_engine(admin)
    try:
        engine.connect().close()
    except sa.exc.OperationalError:
        return False
    finally:
        engine.dispose()
    return True


@dataclasses.dataclass(frozen=True)
class Kind:
    """An available kind of database.

    :ivar name: SQLite, or the server's name
    :ivar made: a context that creates a database, yields its URL, and drops it
    """

    name: str
    made: Callable[[], contextlib.AbstractContextManager[str]]

    @contextlib.contextmanager
    def empty(self) -> Iterator[tuple[str, stores.Stores]]:
        """Create a database without jobs; yield its URL and its stores."""
        with self.made() as url, _prepared(url) as opened:
            yield url, opened


def kinds(stage: Stage) -> list[Kind]:
    """Return each available kind; SQLite always is."""
    # The file is on a disk, as usual for databases, not in memory.
    in_file = functools.partial(_in_file, stage.running.directory)
    return [Kind("SQLite", in_file)] + [
        Kind(name, functools.partial(_on_server, admin))
        for name, admin in _servers(stage)
    ]


@contextlib.contextmanager
def on_galera(stage: Stage) -> Iterator[list[Kind]]:
    """Start a cluster of three nodes; yield its kind, or none if it is not.

    Each connection is to another node.
    """
    try:
        galera_node.require_programs()
        programs.find("haproxy")
    except unittest.SkipTest as missing:
        stage.say(f"Galera is left out: {missing}")
        yield []
        return
    stage.say("Starting a Galera cluster of three nodes.")
    with (
        galera.Cluster() as cluster,
        galera_front.GaleraFront(cluster, galera_front.ALL_WRITERS) as front,
    ):
        yield [Kind("Galera", functools.partial(_on_cluster, cluster, front))]


@contextlib.contextmanager
def _on_cluster(
    cluster: galera.Cluster, front: galera_front.GaleraFront
) -> Iterator[str]:
    name = f"image_replicator_bench_{secrets.token_hex(4)}"
    cluster.create_database(name)
    try:
        yield front.url_of(name)
    finally:
        cluster.drop_database(name)


@contextlib.contextmanager
def glances_on(stage: Stage, kind: Kind) -> Iterator[None]:
    """Give both Glances an empty database of a kind."""
    with contextlib.ExitStack() as stack:
        for service in stage.running.glances.values():
            stage.say(f"Moving Glance {service.region} to {kind.name}.")
            url = stack.enter_context(kind.made())
            path = service.directory / "glance-api.conf"
            text = path.read_text().replace(
                f"sqlite:///{service.database}", url
            )
            stack.enter_context(
                reconfigured(service, path, text, service.create_database)
            )
        yield


@contextlib.contextmanager
def glances_on_server(stage: Stage) -> Iterator[str]:
    """Give both Glances an empty database on a server; yield its name.

    On SQLite, Glance fails when several upload at once.

    :raises BenchError: if there is no server
    """
    _sqlite, *servers = kinds(stage)
    if not servers:
        raise BenchError("this needs MariaDB or PostgreSQL, and none is there")
    with glances_on(stage, servers[0]):
        yield servers[0].name
