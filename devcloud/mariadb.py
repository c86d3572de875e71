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

"""A MariaDB server for one test."""

import getpass

from devcloud import ports
from devcloud import process
from devcloud import programs
from devcloud import servers


class MariaDB(servers.Server):
    """A MariaDB."""

    drivername = "mysql+pymysql"
    administrator = "root"
    administrative_database = "mysql"

    def _find_programs(self) -> None:
        self._server = programs.find("mariadbd")
        self._installer = programs.find("mariadb-install-db")

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
            # Commits survive a crash of the server, but not one of the
            # machine.
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
