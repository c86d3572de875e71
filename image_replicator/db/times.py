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

"""Times, and the time of the database's clock, in SQL."""

import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.ext import compiler
from sqlalchemy.sql import expression

#: Times with microseconds, which MariaDB leaves out by default.
TIMESTAMP = sa.DateTime().with_variant(
    mysql.DATETIME(fsp=6), "mysql", "mariadb"
)


class utcnow(expression.FunctionElement[datetime.datetime]):  # noqa: N801
    """The time of the database's clock, which all processes share.

    It is naive UTC with the database's precision, at the time of the
    statement, not of the transaction's begin.
    """

    type = TIMESTAMP
    inherit_cache = True


@compiler.compiles(utcnow, "mysql", "mariadb")
def _utcnow_mysql(element: Any, compiler: Any, **kw: Any) -> str:
    return "UTC_TIMESTAMP(6)"


@compiler.compiles(utcnow, "postgresql")
def _utcnow_postgresql(element: Any, compiler: Any, **kw: Any) -> str:
    return "timezone('utc', statement_timestamp())"


@compiler.compiles(utcnow, "sqlite")
def _utcnow_sqlite(element: Any, compiler: Any, **kw: Any) -> str:
    # SQLite's clock has milliseconds; SQLAlchemy expects six digits.
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


class from_now(expression.FunctionElement[datetime.datetime]):  # noqa: N801
    """A time in the future, by the database's clock.

    :param seconds: until then.
    """

    type = TIMESTAMP
    inherit_cache = True

    def __init__(self, seconds: float) -> None:
        super().__init__(sa.literal(seconds, sa.Float))


@compiler.compiles(from_now, "mysql", "mariadb")
def _from_now_mysql(element: Any, compiler: Any, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    return f"UTC_TIMESTAMP(6) + INTERVAL ({seconds}) * 1000000 MICROSECOND"


@compiler.compiles(from_now, "postgresql")
def _from_now_postgresql(element: Any, compiler: Any, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    return (
        "timezone('utc', statement_timestamp()) + "
        f"make_interval(secs => {seconds})"
    )


@compiler.compiles(from_now, "sqlite")
def _from_now_sqlite(element: Any, compiler: Any, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    return (
        "strftime('%Y-%m-%d %H:%M:%f000', 'now', "
        f"printf('%+.3f seconds', {seconds}))"
    )
