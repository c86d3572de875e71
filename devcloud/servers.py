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

"""Database servers of a test's own, to be killed, restarted and frozen.

Each has a temporary directory, a port of 127.0.0.1, no password, and nothing
to do with the servers that this machine may run as services::

    server = self.useFixture(servers.MariaDB())
    url = server.create_database("jobs")
    server.stop(kill=True)
    server.start()

Who cannot find the programs skips its test; in CI (CI=true) it fails.
"""

import contextlib
import getpass
import os
import pathlib
import pwd
import shutil
import signal
import tempfile
import time
import unittest
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any
from typing import ClassVar

import fixtures
import sqlalchemy as sa
from sqlalchemy import pool

from devcloud import ports
from devcloud import process

_PATIENCE = 60.0  # seconds for a server to come up, or to go
_POSTGRESQL_PROGRAMS = pathlib.Path("/usr/lib/postgresql")
_POSTGRESQL_USER = "postgres"  # of the machine, as it refuses to run as root


def _find(program: str, directories: Sequence[pathlib.Path] = ()) -> str:
    """Return the path of a server's program.

    :param directories: to look into before those of PATH
    :raises unittest.SkipTest: when it is not there, in CI AssertionError
    """
    places = [str(directory) for directory in directories]
    # Where distributions put daemons, which a user's PATH may leave out.
    places += [os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]
    found = shutil.which(program, path=os.pathsep.join(places))
    if found:
        return found
    message = f"{program} is not installed, so no server can be started"
    if os.environ.get("CI") == "true":
        raise AssertionError(message)
    raise unittest.SkipTest(message)


class Server(fixtures.Fixture):
    """A database server that only this test uses.

    :cvar drivername: as SQLAlchemy has it
    :ivar directory: its data and its log
    :ivar port: where it listens, also after a restart
    """

    drivername: ClassVar[str]
    administrator: ClassVar[str]
    administrative_database: ClassVar[str]

    directory: pathlib.Path
    port: int

    def __init__(self) -> None:
        super().__init__()
        self._process: process.Process | None = None

    def _setUp(self) -> None:
        self._find_programs()
        path = tempfile.mkdtemp(prefix="image-replicator-db-")
        self.directory = pathlib.Path(path)
        self.addCleanup(shutil.rmtree, path, ignore_errors=True)
        self._supervisor = process.Supervisor(self.directory)
        self.useFixture(self._supervisor)
        with ports.listen(None, self.drivername) as listener:
            self.port = ports.number(listener)
        self._make_data()
        self.addCleanup(self.stop)
        self.start()

    # What each kind of server has of its own.

    def _find_programs(self) -> None:
        raise NotImplementedError

    def _make_data(self) -> None:
        raise NotImplementedError

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _end(self, server: process.Process, kill: bool) -> None:
        raise NotImplementedError

    def create_database(self, name: str) -> str:
        """Create an empty database; return its owner's URL.

        The owner has its name, and no right to write while the server is
        read-only.
        """
        raise NotImplementedError

    def create_user(self, name: str, database: str) -> str:
        """Let somebody else do all in a database; return their URL.

        So that the server can tell who does what.
        """
        raise NotImplementedError

    def set_read_only(self, read_only: bool) -> None:
        """Refuse to write anything, or serve as ever again.

        Whoever is connected is refused, too; not MariaDB's administrator.

        :raises process.ProcessError: if that takes no effect
        """
        raise NotImplementedError

    def connections(self, database: str) -> int:
        """Return how many connections there are to a database."""
        raise NotImplementedError

    # What all have alike.

    def url(self, database: str, user: str | None = None) -> str:
        """Return a database's URL, as SQLAlchemy has it.

        :param user: None for the owner, who has the database's name
        """
        return self._url(database, user or database).render_as_string(
            hide_password=False
        )

    def _url(self, database: str, user: str) -> sa.URL:
        return sa.URL.create(
            self.drivername,
            username=user,
            host=ports.HOST,
            port=self.port,
            database=database,
        )

    @contextlib.contextmanager
    def administration(
        self, database: str | None = None
    ) -> Iterator[sa.Connection]:
        """Connect as the one who may do anything; each statement commits."""
        url = self._url(
            database or self.administrative_database, self.administrator
        )
        engine = sa.create_engine(
            url, poolclass=pool.NullPool, isolation_level="AUTOCOMMIT"
        )
        with engine.connect() as connection:
            yield connection

    def _execute(self, *statements: str) -> None:
        with self.administration() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def _ask(self, statement: str, **values: Any) -> Any:
        with self.administration() as connection:
            return connection.execute(sa.text(statement), values).scalar_one()

    @property
    def running(self) -> bool:
        """Whether the server was started, and not stopped since."""
        return self._process is not None

    def start(self) -> None:
        """Start the server and wait until it serves.

        :raises process.ProcessError: with the end of its log, when it cannot
        """
        self._process = self._supervisor.spawn(
            self.drivername, self._command()
        )
        deadline = time.monotonic() + _PATIENCE
        while not self._serves():
            if not self._process.running or time.monotonic() > deadline:
                raise process.ProcessError(self._process.ending())
            time.sleep(0.05)

    def _serves(self) -> bool:
        try:
            self._ask("SELECT 1")
        except sa.exc.OperationalError:
            return False
        return True

    def stop(self, kill: bool = False) -> None:
        """Stop the server, if it runs; connections are refused then.

        :param kill: as if it had crashed, with transactions open and nothing
            in order
        """
        if self._process is None:
            return
        self._end(self._process, kill)
        self._process.wait(_PATIENCE)
        self._supervisor.stop(self._process)
        self._process = None

    def restart(self, kill: bool = False) -> None:
        """Stop the server and start it again."""
        self.stop(kill)
        self.start()


class MariaDB(Server):
    """A MariaDB."""

    drivername = "mysql+pymysql"
    administrator = "root"
    administrative_database = "mysql"

    def _find_programs(self) -> None:
        self._server = _find("mariadbd")
        self._installer = _find("mariadb-install-db")

    def _make_data(self) -> None:
        self._supervisor.run(
            "mariadb-install-db",
            [
                self._installer,
                "--no-defaults",
                f"--datadir={self.directory}/data",
                f"--user={getpass.getuser()}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--skip-name-resolve",
            ],
        )

    def _command(self) -> list[str]:
        options = {
            "datadir": f"{self.directory}/data",
            "user": getpass.getuser(),
            "bind-address": ports.HOST,
            "port": self.port,
            "socket": f"{self.directory}/socket",
            "pid-file": f"{self.directory}/pid",
            "innodb-buffer-pool-size": "32M",
            "innodb-log-file-size": "16M",
            # What is committed outlives the server, if not the machine.
            "innodb-flush-log-at-trx-commit": 2,
            "performance-schema": "OFF",
        }
        return [
            self._server,
            "--no-defaults",
            "--skip-name-resolve",
            *(f"--{name}={value}" for name, value in options.items()),
        ]

    def _end(self, server: process.Process, kill: bool) -> None:
        if kill:
            server.kill()
        else:
            server.terminate()

    def create_database(self, name: str) -> str:
        self._execute(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
        return self.create_user(name, name)

    def create_user(self, name: str, database: str) -> str:
        self._execute(
            f"CREATE USER `{name}`@`{ports.HOST}`",
            f"GRANT ALL ON `{database}`.* TO `{name}`@`{ports.HOST}`",
        )
        return self.url(database, name)

    def set_read_only(self, read_only: bool) -> None:
        self._execute(f"SET GLOBAL read_only = {read_only:d}")

    def connections(self, database: str) -> int:
        return int(
            self._ask(
                "SELECT COUNT(*) FROM information_schema.processlist"
                " WHERE db = :database",
                database=database,
            )
        )


class PostgreSQL(Server):
    """A PostgreSQL."""

    drivername = "postgresql+psycopg2"
    administrator = "postgres"
    administrative_database = "postgres"

    def _find_programs(self) -> None:
        releases = sorted(
            _POSTGRESQL_PROGRAMS.glob("[0-9]*"),
            key=lambda path: float(path.name),
            reverse=True,
        )
        places = [release / "bin" for release in releases]
        self._server = _find("postgres", places)
        self._installer = _find("initdb", places)
        self._prefix: list[str] = []
        if os.geteuid() == 0:
            self._prefix = [
                _find("setpriv"),
                f"--reuid={_POSTGRESQL_USER}",
                f"--regid={_POSTGRESQL_USER}",
                "--init-groups",
            ]

    def _make_data(self) -> None:
        data = self.directory / "data"
        data.mkdir(mode=0o700)
        if self._prefix:
            user = pwd.getpwnam(_POSTGRESQL_USER)
            os.chown(data, user.pw_uid, user.pw_gid)
            self.directory.chmod(0o711)
        self._supervisor.run(
            "initdb",
            [
                *self._prefix,
                self._installer,
                f"--pgdata={data}",
                f"--username={self.administrator}",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ],
        )

    def _command(self) -> list[str]:
        options = {
            "listen_addresses": ports.HOST,
            "port": self.port,
            "unix_socket_directories": "",
            "shared_buffers": "16MB",
            # What is committed outlives the server, if not the machine.
            "fsync": "off",
        }
        return [
            *self._prefix,
            self._server,
            "-D",
            f"{self.directory}/data",
            *(
                word
                for name, value in options.items()
                for word in ("-c", f"{name}={value}")
            ),
        ]

    def _end(self, server: process.Process, kill: bool) -> None:
        # Its children have sessions of their own. At SIGQUIT it takes them
        # along on the spot, and recovers at the next start as from SIGKILL.
        server.send_signal(signal.SIGQUIT if kill else signal.SIGINT)

    def create_database(self, name: str) -> str:
        self._execute(
            f'CREATE ROLE "{name}" LOGIN',
            f'CREATE DATABASE "{name}" OWNER "{name}"',
        )
        return self.url(name)

    def create_user(self, name: str, database: str) -> str:
        self._execute(f'CREATE ROLE "{name}" LOGIN IN ROLE "{database}"')
        return self.url(database, name)

    def set_read_only(self, read_only: bool) -> None:
        value = "on" if read_only else "off"
        self._execute(
            f"ALTER SYSTEM SET default_transaction_read_only = {value}",
            "SELECT pg_reload_conf()",
        )
        # The server tells its children before it lets another one in.
        show = "SHOW default_transaction_read_only"
        deadline = time.monotonic() + _PATIENCE
        while self._ask(show) != value:
            if time.monotonic() > deadline:
                raise process.ProcessError("the server takes no orders")
            time.sleep(0.01)

    def connections(self, database: str) -> int:
        return int(
            self._ask(
                "SELECT COUNT(*) FROM pg_stat_activity"
                " WHERE datname = :database",
                database=database,
            )
        )
