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

"""Database servers for one test, which can be killed and restarted.

Each has a temporary directory, a port of 127.0.0.1 and no password, and does
not affect database servers of this machine::

    server = self.useFixture(mariadb.MariaDB())
    url = server.create_database("jobs")
    server.stop(kill=True)
    server.start()

If a program is missing, the test is skipped; in CI (CI=true) it fails.
"""

import contextlib
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any
from typing import ClassVar
from typing import Final

import fixtures
import sqlalchemy as sa
from sqlalchemy import pool

from devcloud import ports
from devcloud import process

PATIENCE: Final = 60.0  # seconds for a server to start, or to stop


class Server(fixtures.Fixture):
    """A database server that only this test uses.

    :cvar drivername: of SQLAlchemy's URLs
    :ivar directory: has its data and its log
    :ivar port: the port on which it listens, also after a restart
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
        self.port = ports.free_port()
        self._make_data()
        self.addCleanup(self.stop)
        self.start()

    # Each kind of server defines these.

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

        The owner has the database's name, and cannot write while the server is
        read-only.
        """
        raise NotImplementedError

    def create_user(self, name: str, database: str) -> str:
        """Create a user with all rights on a database; return the user's URL.

        With several users, the log of writes shows who wrote.
        """
        raise NotImplementedError

    def set_read_only(self, read_only: bool) -> None:
        """Make the server read-only, or writable again.

        It applies to open connections, too, but not to MariaDB's
        administrator.

        :raises process.ProcessError: if it has no effect
        """
        raise NotImplementedError

    def connections(self, database: str) -> int:
        """Return the number of connections to a database."""
        raise NotImplementedError

    # All kinds share these.

    def url(self, database: str, user: str | None = None) -> str:
        """Return SQLAlchemy's URL of a database.

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
        """Connect as administrator; each statement commits."""
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
        """Whether the server was started, and not stopped since then."""
        return self._process is not None

    def start(self) -> None:
        """Start the server and wait until it serves.

        :raises process.ProcessError: with the end of its log, when it cannot
        """
        self._process = self._supervisor.spawn(
            self.drivername, self._command()
        )
        self._process.wait_until(self._serves, PATIENCE)

    def _serves(self) -> bool:
        try:
            self._ask("SELECT 1")
        except sa.exc.OperationalError:
            return False
        return True

    def stop(self, kill: bool = False) -> None:
        """Stop the server, if it runs; connections are refused afterwards.

        :param kill: whether to end it as a crash does, with open transactions
        """
        if self._process is None:
            return
        self._end(self._process, kill)
        self._process.wait(PATIENCE)
        self._supervisor.stop(self._process)
        self._process = None

    def restart(self, kill: bool = False) -> None:
        """Stop the server and start it again."""
        self.stop(kill)
        self.start()
