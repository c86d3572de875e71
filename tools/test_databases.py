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

"""Prepare the local database servers for the functional tests.

Creates the user openstack_citest, with that password and the right to create
databases, as oslo.db's test fixtures expect it, on MariaDB (or MySQL) and on
PostgreSQL. It can be run any number of times.

These variables have the URL of each server, with a user who may create users.
Their defaults are the usual ones of a local installation:

    TEST_MYSQL_ADMIN_URL       mysql://root@127.0.0.1:3306/
    TEST_POSTGRESQL_ADMIN_URL  postgresql://postgres@127.0.0.1:5432/postgres

oslo.db's fixtures look for the servers at localhost; elsewhere they need
OS_TEST_DBAPI_ADMIN_CONNECTION as well, see oslo.db's documentation.

A missing server is no error, as its tests are skipped with a message. In CI
(CI=true) it is an error, as no test may be skipped there.
"""

import os
import sys
from collections.abc import Callable
from typing import Any
from typing import Final
from urllib import parse

import psycopg2
import pymysql

USER: Final = "openstack_citest"

#: The timeout in seconds; a local server answers at once.
_TIMEOUT: Final = 5


def _login(url: str) -> dict[str, Any]:
    """Return the driver's connection arguments of a URL."""
    parts = parse.urlsplit(url)
    login = {
        "host": parts.hostname,
        "port": parts.port,
        "user": parse.unquote(parts.username or ""),
        "password": parse.unquote(parts.password or ""),
        "connect_timeout": _TIMEOUT,
    }
    return {key: value for key, value in login.items() if value}


def prepare_mysql(url: str) -> None:
    """Create the user on MariaDB or MySQL."""
    with (
        pymysql.connect(**_login(url)) as connection,
        connection.cursor() as cursor,
    ):
        for host in ("%", "localhost"):
            cursor.execute(
                "CREATE USER IF NOT EXISTS %s@%s IDENTIFIED BY %s",
                (USER, host, USER),
            )
            # All rights are granted, as in OpenStack's CI. To see waits for
            # locks takes more than the right to create databases.
            cursor.execute(
                "GRANT ALL PRIVILEGES ON *.* TO %s@%s", (USER, host)
            )


def prepare_postgresql(url: str) -> None:
    """Create the user on PostgreSQL."""
    database = parse.urlsplit(url).path.strip("/") or "postgres"
    connection = psycopg2.connect(dbname=database, **_login(url))
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [USER])
            verb = "ALTER" if cursor.fetchone() else "CREATE"
            cursor.execute(
                f"{verb} ROLE {USER} LOGIN CREATEDB PASSWORD %s", [USER]
            )
    finally:
        connection.close()


SERVERS: Final[
    tuple[tuple[str, str, str, Callable[[str], None], type[Exception]], ...]
] = (
    (
        "MariaDB",
        "TEST_MYSQL_ADMIN_URL",
        "mysql://root@127.0.0.1:3306/",
        prepare_mysql,
        pymysql.Error,
    ),
    (
        "PostgreSQL",
        "TEST_POSTGRESQL_ADMIN_URL",
        "postgresql://postgres@127.0.0.1:5432/postgres",
        prepare_postgresql,
        psycopg2.Error,
    ),
)


def main() -> int:
    """Prepare each server.

    :returns: the process's exit status: 1 if a server is missing in CI.
    """
    missing = False
    for name, variable, default, prepare, error_type in SERVERS:
        try:
            prepare(os.environ.get(variable) or default)
        except error_type as error:
            missing = True
            print(
                f"{name}: not prepared, so its tests will be skipped "
                f"({variable} says where it is): {error}".strip(),
                file=sys.stderr,
            )
        else:
            print(f"{name}: user {USER} is there")
    return int(missing and os.environ.get("CI") == "true")


if __name__ == "__main__":
    sys.exit(main())
