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

"""The database's engine, with settings that oslo.db does not make."""

import contextlib
import os
import pathlib
import sqlite3
import time
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Final

import sqlalchemy as sa
from oslo_config import cfg
from oslo_db import exception as db_exc
from oslo_db import options as db_options
from oslo_db.sqlalchemy import enginefacade
from oslo_log import log as logging
from sqlalchemy import orm
from sqlalchemy import pool
from sqlalchemy.dialects import plugins

from image_replicator import exception
from image_replicator.db import errors
from image_replicator.db import galera

LOG = logging.getLogger(__name__)

#: Seconds for which a connection to SQLite waits for another's write.
_SQLITE_BUSY_TIMEOUT: Final = 30

#: Seconds between two attempts to change the mode of an SQLite file.
_SQLITE_PAUSE: Final = 0.05

#: The charset of connections to MariaDB and MySQL.
_CHARSET: Final = "utf8mb4"

#: The plugin name in a URL that selects :class:`PooledSQLite`.
_POOLED: Final = "image_replicator_pooled"

#: The name by which SQLAlchemy knows SingleStatements.
_SINGLE: Final = "image_replicator_single"


@enginefacade.transaction_context_provider
class _Context:
    """The object on which enginefacade keeps a thread's transaction."""


class Database:
    """A database, and the transactions on it.

    It opens no connection before its first use, as Glance's server forks.

    :param conf: has ``[database]``.
    :raises ConfigurationError: if SQLite's directory cannot be used.
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._context = _Context()
        options = _options(conf)
        self._facade = _facade(conf, options)
        self._reading = _facade(conf, _for_single_statements(options))

    @property
    def engine(self) -> sa.Engine:
        """The engine of all transactions and migrations."""
        return _engine(self._facade)

    @property
    def engines(self) -> tuple[sa.Engine, ...]:
        """The engine of transactions, and that of single statements."""
        if self.engine.dialect.name == "sqlite":
            return (self.engine,)
        return self.engine, _engine(self._reading)

    def dispose(self) -> None:
        """Close all connections that are not in use."""
        for engine in self.engines:
            engine.dispose()

    def read(
        self,
        statement: sa.Select[Any],
        parameters: Mapping[str, Any] | None = None,
    ) -> Sequence[sa.Row[Any]]:
        """Return all rows of a query, in one round trip to the server.

        The statement is a transaction of its own. A connection that has become
        stale is noticed when the statement fails, which is sent once more.
        """
        try:
            return self._read(statement, parameters)
        except db_exc.DBConnectionError as error:
            LOG.info("The query is sent once more: %s", error)
        return self._read(statement, parameters)

    def _read(
        self,
        statement: sa.Select[Any],
        parameters: Mapping[str, Any] | None,
    ) -> Sequence[sa.Row[Any]]:
        with (
            errors.database_errors(),
            self.engines[-1].connect() as connection,
        ):
            return connection.execute(statement, parameters or {}).all()

    @contextlib.contextmanager
    def reader(self) -> Iterator[sa.Connection]:
        """Begin a transaction that only reads."""
        # enginefacade's own reader rolls back, and the pool rolls back again,
        # which takes one more round trip to the server.
        with errors.database_errors(), self.engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def writer(self) -> Iterator[sa.Connection]:
        """Begin a transaction; it is committed unless an exception is raised.

        On SQLite its first statement must write: after a read, SQLite refuses
        the write if another transaction has written since.
        """
        with (
            errors.database_errors(),
            self._facade.writer.connection.using(self._context) as connection,
        ):
            yield connection

    @errors.retry_on_deadlock
    def put(
        self,
        model: type[orm.DeclarativeBase],
        key: Mapping[str, Any],
        values: Mapping[str, Any],
    ) -> None:
        """Update a row, or insert it if there is none.

        If another process inserts it at the same time, its values stay.

        :param key: the columns of the primary key.
        :param values: the other columns.
        """
        with self.writer() as connection:
            written = connection.execute(
                sa.update(model).filter_by(**key).values(values)
            )
            if written.rowcount:
                return
        with (
            contextlib.suppress(db_exc.DBDuplicateEntry),
            self.writer() as connection,
        ):
            connection.execute(sa.insert(model).values(**key, **values))


def _facade(conf: cfg.ConfigOpts, options: dict[str, Any]) -> Any:
    """Return enginefacade's source of one engine."""
    facade = enginefacade.transaction_context()
    facade.configure(**options)
    facade.append_on_engine_create(_prepare_sqlite)
    facade.append_on_engine_create(galera.close_lost)
    if conf.database.mysql_wsrep_sync_wait is None:
        facade.append_on_engine_create(galera.wait_for_commits)
    return facade


def _engine(facade: Any) -> sa.Engine:
    with errors.database_errors():
        engine: sa.Engine = facade.writer.get_engine()
    return engine


def _options(conf: cfg.ConfigOpts) -> dict[str, Any]:
    """Return the options for oslo.db."""
    # Each option is passed, so that none comes from cfg.CONF, which in
    # Glance's process names Glance's database.
    options: dict[str, Any] = {
        opt.dest: conf.database[opt.dest]
        for opt in db_options.database_opts
        if not opt.deprecated_for_removal
    }
    for name in ("connection", "slave_connection"):
        if options[name]:
            url = _completed(options[name], options["connection_parameters"])
            options[name] = url.render_as_string(hide_password=False)
    # These are a part of the URLs now.
    options["connection_parameters"] = ""
    # oslo.db would wait for a database that is down, and could not be stopped.
    options["max_retries"] = 0
    # Otherwise oslo.db yields to greenthreads whenever a connection is
    # returned.
    options["thread_checkin"] = False
    return options


def _for_single_statements(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options with :class:`SingleStatements` in the URL."""
    url = sa.make_url(options["connection"])
    url = url.update_query_dict({"plugin": _SINGLE}, append=True)
    return options | {"connection": url.render_as_string(hide_password=False)}


def _completed(connection: str, parameters: str) -> sa.URL:
    """Return a database's URL with all parameters.

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
    """Let a connection to MariaDB or MySQL carry every character.

    The tables can hold all characters. The charset ``utf8`` has none of 4
    bytes, and others have fewer still. If a name or a message could not be
    sent, its row could not be written.
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
    """An engine plugin that keeps connections to an SQLite file for reuse.

    oslo.db opens one for each transaction, which takes longer than the
    transaction itself. SQLAlchemy's own default is a pool.
    """

    def __init__(self, url: sa.URL, kwargs: dict[str, Any]) -> None:
        super().__init__(url, kwargs)
        if kwargs.get("poolclass") is pool.NullPool:
            del kwargs["poolclass"]

    def update_url(self, url: sa.URL) -> sa.URL:
        # The URL has no parameters for this plugin.
        return url


plugins.register(_POOLED, __name__, PooledSQLite.__name__)


class SingleStatements(sa.engine.CreateEnginePlugin):
    """An engine plugin for statements that are transactions of their own.

    oslo.db tests each connection before its use, and a transaction is begun
    and rolled back: each takes a round trip to the server.
    """

    def __init__(self, url: sa.URL, kwargs: dict[str, Any]) -> None:
        super().__init__(url, kwargs)
        kwargs["isolation_level"] = "AUTOCOMMIT"
        kwargs["pool_pre_ping"] = False
        kwargs["pool_reset_on_return"] = None
        kwargs["skip_autocommit_rollback"] = True

    def update_url(self, url: sa.URL) -> sa.URL:
        # The URL has no parameters for this plugin.
        return url


plugins.register(_SINGLE, __name__, SingleStatements.__name__)


def _make_directory(url: sa.URL) -> None:
    """Create the directory of an SQLite file, if its parent exists."""
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
    """Let several processes share an SQLite file, and create its schema."""
    if engine.dialect.name != "sqlite":
        return
    sa.event.listen(engine, "connect", _wait_for_sqlite)
    sa.event.listen(engine, "connect", _write_ahead, once=True)
    if not sa.inspect(engine).get_table_names():
        # With this, a single machine needs no setup. The import is here
        # because Alembic takes 11 MiB, and Glance and workers rarely need it.
        from image_replicator.db import migration

        migration.create_sqlite_schema(engine)


def _wait_for_sqlite(connection: Any, record: Any) -> None:
    connection.execute(
        f"PRAGMA busy_timeout = {_SQLITE_BUSY_TIMEOUT * 1000:d}"
    )


def _write_ahead(connection: Any, record: Any) -> None:
    # In this mode, readers and the one writer do not wait for each other. It
    # is stored in the file.
    deadline = time.monotonic() + _SQLITE_BUSY_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            # SQLite does not wait here for another process that is writing.
            if time.monotonic() > deadline:
                raise
            time.sleep(_SQLITE_PAUSE)
