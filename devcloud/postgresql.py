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

"""A PostgreSQL server for one test."""

import os
import pathlib
import pwd
import signal
import time

from devcloud import ports
from devcloud import process
from devcloud import programs
from devcloud import servers

_PROGRAMS = pathlib.Path("/usr/lib/postgresql")
_USER = "postgres"  # of the machine, as it refuses to run as root


class PostgreSQL(servers.Server):
    """A PostgreSQL."""

    drivername = "postgresql+psycopg2"
    administrator = "postgres"
    administrative_database = "postgres"

    def _find_programs(self) -> None:
        releases = sorted(
            _PROGRAMS.glob("[0-9]*"),
            key=lambda path: float(path.name),
            reverse=True,
        )
        places = [release / "bin" for release in releases]
        self._server = programs.find("postgres", places)
        self._installer = programs.find("initdb", places)
        self._prefix: list[str] = []
        if os.geteuid() == 0:
            self._prefix = [
                programs.find("setpriv"),
                f"--reuid={_USER}",
                f"--regid={_USER}",
                "--init-groups",
            ]

    def _make_data(self) -> None:
        data = self.directory / "data"
        data.mkdir(mode=0o700)
        if self._prefix:
            user = pwd.getpwnam(_USER)
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
            # Commits survive a crash of the server, but not one of the
            # machine.
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
        # Its children have sessions of their own. At SIGQUIT it ends them at
        # once, and the next start recovers as after SIGKILL.
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
        # The server signals its children before it accepts another connection.
        show = "SHOW default_transaction_read_only"
        deadline = time.monotonic() + servers.PATIENCE
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
