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

"""The database's engine: what it needs beyond what oslo.db gives it."""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import Any
from typing import Final

import sqlalchemy as sa
from oslo_config import cfg
from oslo_db import options as db_options
from oslo_db.sqlalchemy import enginefacade
from oslo_log import log as logging
from sqlalchemy import pool
from sqlalchemy.dialects import plugins

from image_replicator import exception
from image_replicator.db import errors
from image_replicator.db import galera

LOG = logging.getLogger(__name__)

#: Seconds that a connection to SQLite waits for another's write to end.
_SQLITE_BUSY_TIMEOUT: Final = 30

#: Of connections to MariaDB and MySQL.
_CHARSET: Final = "utf8mb4"

#: The name by which a URL asks for :class:`PooledSQLite`.
_POOLED: Final = "image_replicator_pooled"


@enginefacade.transaction_context_provider
class _Context:
    """What enginefacade hangs a thread's transaction on."""


class Database:
    """A database, and the transactions on it.

    Opens no connection before its first use, as Glance's server forks.

    :param conf: has ``[database]``.
    :raises ConfigurationError: if SQLite's directory cannot be used.
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._context = _Context()
        self._facade = enginefacade.transaction_context()
        self._facade.configure(**_options(conf))
        self._facade.append_on_engine_create(_prepare_sqlite)
        if conf.database.mysql_wsrep_sync_wait is None:
            self._facade.append_on_engine_create(galera.wait_for_commits)

    @property
    def engine(self) -> sa.Engine:
        """The engine that all transactions and migrations are made on."""
        with errors.database_errors():
            engine: sa.Engine = self._facade.writer.get_engine()
        return engine

    @contextlib.contextmanager
    def reader(self) -> Iterator[sa.Connection]:
        """Begin a transaction that only reads."""
        # enginefacade's own reader rolls back, and has the pool roll back
        # once more: a trip to the server for nothing.
        with errors.database_errors(), self.engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def writer(self) -> Iterator[sa.Connection]:
        """Begin a transaction; it is committed unless an error leaves it.

        On SQLite its first statement must write: one that has read what
        another changed since is let write no more.
        """
        with (
            errors.database_errors(),
            self._facade.writer.connection.using(self._context) as connection,
        ):
            yield connection


def _options(conf: cfg.ConfigOpts) -> dict[str, Any]:
    """Return what oslo.db is to be configured with."""
    # Each option is named, so that none is taken from cfg.CONF: in Glance's
    # process that is Glance's database.
    options: dict[str, Any] = {
        opt.dest: conf.database[opt.dest]
        for opt in db_options.database_opts
        if not opt.deprecated_for_removal
    }
    for name in ("connection", "slave_connection"):
        if options[name]:
            url = _completed(options[name], options["connection_parameters"])
            options[name] = url.render_as_string(hide_password=False)
    # They are part of the URLs by now.
    options["connection_parameters"] = ""
    # oslo.db would wait for a database that is down, deaf to being stopped.
    options["max_retries"] = 0
    # No greenthread waits for its turn whenever a connection is put back.
    options["thread_checkin"] = False
    return options


def _completed(connection: str, parameters: str) -> sa.URL:
    """Return a database's URL with all that it is to have.

    :param parameters: of ``[database] connection_parameters``.
    """
    url = sa.make_url(connection)
    backend = url.get_backend_name()
    if backend == "sqlite":
        _make_directory(url)
        return url.update_query_dict({"plugin": _POOLED}, append=True)
    url = url.update_query_string(parameters)
    return _with_all_characters(url) if backend == "mysql" else url


def _with_all_characters(url: sa.URL) -> sa.URL:
    """Have a connection to MariaDB or MySQL carry every character.

    The tables hold all of them; the charset ``utf8`` has none of 4 bytes,
    and others have fewer. A name or a message that cannot be sent would keep
    its row from being written.
    """
    charset = url.query.get("charset", _CHARSET)
    if charset != _CHARSET:
        LOG.warning(
            "[database] connection: charset %s cannot carry every name; "
            "%s is used",
            charset,
            _CHARSET,
        )
    return url.update_query_dict({"charset": _CHARSET})


class PooledSQLite(sa.engine.CreateEnginePlugin):
    """Keeps connections to an SQLite file for the next transaction.

    oslo.db opens one for each, which costs more than all that is then done
    with it. SQLAlchemy's own choice is a pool.
    """

    def __init__(self, url: sa.URL, kwargs: dict[str, Any]) -> None:
        super().__init__(url, kwargs)
        if kwargs.get("poolclass") is pool.NullPool:
            del kwargs["poolclass"]

    def update_url(self, url: sa.URL) -> sa.URL:
        # There is nothing of ours in it but our name.
        return url


plugins.register(_POOLED, __name__, PooledSQLite.__name__)


def _make_directory(url: sa.URL) -> None:
    """Make the directory of an SQLite file, if only that is missing."""
    path = url.database
    if not path or path.startswith((":memory:", "file:")):
        return
    directory = pathlib.Path(path).absolute().parent
    try:
        directory.mkdir(mode=0o750, exist_ok=True)
        if not os.access(directory, os.W_OK | os.X_OK):
            raise PermissionError("not writable for this user")
    except OSError as error:
        raise exception.ConfigurationError(
            f"[database] connection: {directory}, the directory of the SQLite "
            f"database, cannot be used: {error.strerror or error}; it is "
            "[DEFAULT] state_path, unless the URL names another"
        ) from error


def _prepare_sqlite(engine: sa.Engine) -> None:
    """Let several processes share one SQLite file, and give it a schema."""
    if engine.dialect.name != "sqlite":
        return
    sa.event.listen(engine, "connect", _wait_for_sqlite)
    sa.event.listen(engine, "connect", _write_ahead, once=True)
    if not sa.inspect(engine).get_table_names():
        # So that a single machine has nothing to set up. Not imported above:
        # Alembic takes 11 MiB, and Glance and workers hardly ever need it.
        from image_replicator.db import migration

        migration.create_sqlite_schema(engine)


def _wait_for_sqlite(connection: Any, record: Any) -> None:
    connection.execute(
        f"PRAGMA busy_timeout = {_SQLITE_BUSY_TIMEOUT * 1000:d}"
    )


def _write_ahead(connection: Any, record: Any) -> None:
    # Readers and the one writer do not wait for each other. The file
    # remembers it.
    connection.execute("PRAGMA journal_mode = WAL")
