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

"""A log of all writes to the jobs' table, kept by the database itself.

Triggers write it, so the image replicator cannot keep a write out of it, and a
write that is rolled back is not in it. It also has the database's user of each
write.
"""

import dataclasses
import datetime
from typing import Any
from typing import Final

import sqlalchemy as sa
from sqlalchemy import pool
from sqlalchemy.dialects import mysql

_TIME: Final = sa.DateTime().with_variant(
    mysql.DATETIME(fsp=6), "mysql", "mariadb"
)

#: The columns of a job that are logged, before and after each write.
_COLUMNS: Final[dict[str, Any]] = {
    "status": sa.String(32),
    "worker_id": sa.String(255),
    "attempts": sa.Integer(),
    "destination_image_id": sa.String(36),
    "reserved_image_id": sa.String(36),
    "lease_expires_at": _TIME,
}

_LOG: Final = sa.Table(
    "jobs_audit",
    sa.MetaData(),
    sa.Column(
        "seq",
        sa.BigInteger().with_variant(sa.Integer, "sqlite"),
        primary_key=True,
        autoincrement=True,
    ),
    sa.Column("at", _TIME, nullable=False),
    sa.Column("writer", sa.String(255)),
    sa.Column("job_id", sa.String(36), nullable=False),
    *(
        sa.Column(f"{when}_{name}", kind)
        for when in ("old", "new")
        for name, kind in _COLUMNS.items()
    ),
    mysql_charset="utf8mb4",
)

#: The database's clock. In MariaDB it is the time at which the row is written,
#: which is after the commit of the write before to the same row, on any node
#: of a cluster. In other databases it is the begin of the statement.
_NOW: Final = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f000', 'now')",
    "mysql": "CONVERT_TZ(SYSDATE(6), 'SYSTEM', '+00:00')",
    "postgresql": "timezone('utc', statement_timestamp())",
}

_WRITER: Final = {
    "sqlite": "NULL",
    "mysql": "SUBSTRING_INDEX(USER(), '@', 1)",
    "postgresql": "session_user",
}


@dataclasses.dataclass(frozen=True)
class State:
    """The logged columns of a job's row."""

    status: str
    worker_id: str | None = None
    attempts: int = 0
    destination_image_id: str | None = None
    reserved_image_id: str | None = None
    lease_expires_at: datetime.datetime | None = None


@dataclasses.dataclass(frozen=True)
class Write:
    """One write to a job's row.

    :ivar seq: its place in the log, from 1
    :ivar at: naive UTC, of the database's clock
    :ivar writer: the database's user; None where there are none
    :ivar old: None when the row was made
    :ivar new: None when it was deleted
    """

    seq: int
    at: datetime.datetime
    writer: str | None
    job_id: str
    old: State | None
    new: State | None


def install(url: str) -> None:
    """Create the log and its triggers.

    :param url: of a database with the table of jobs
    """
    engine = sa.create_engine(url, poolclass=pool.NullPool)
    _LOG.create(engine)
    with engine.begin() as connection:
        for statement in _triggers(engine.dialect.name):
            escaped = statement.replace("%", "%%")
            ddl = sa.DDL(escaped)  # type: ignore[no-untyped-call]
            connection.execute(ddl)


def _triggers(dialect: str) -> list[str]:
    if dialect == "postgresql":
        return [_postgresql_function(), _POSTGRESQL_TRIGGER]
    return [
        f"CREATE TRIGGER jobs_audit_{event.lower()} AFTER {event} ON jobs"
        f" FOR EACH ROW BEGIN {_insert(dialect, event)}; END"
        for event in ("INSERT", "UPDATE", "DELETE")
    ]


def _insert(dialect: str, event: str | None = None) -> str:
    """Return the statement that inserts a row into the log.

    :param event: that it logs; None if OLD and NEW always exist
    """
    known = {
        "old": event != "INSERT",
        "new": event != "DELETE",
    }
    job = "COALESCE(NEW.id, OLD.id)"
    if event:
        job = "NEW.id" if known["new"] else "OLD.id"
    values = {
        "at": _NOW[dialect],
        "writer": _WRITER[dialect],
        "job_id": job,
        **{
            f"{when}_{name}": f"{when.upper()}.{name}" if there else "NULL"
            for when, there in known.items()
            for name in _COLUMNS
        },
    }
    if dialect == "mysql":
        # Each node of a cluster numbers rows by itself, and the numbers change
        # when a node joins or leaves.
        values["seq"] = "UUID_SHORT()"
    columns = ", ".join(values)
    return (
        f"INSERT INTO {_LOG.name} ({columns}) "
        f"VALUES ({', '.join(values.values())})"
    )


def _postgresql_function() -> str:
    return (
        "CREATE OR REPLACE FUNCTION jobs_audit() RETURNS trigger"
        " LANGUAGE plpgsql AS"
        f" $$ BEGIN {_insert('postgresql')}; RETURN NULL; END $$"
    )


_POSTGRESQL_TRIGGER: Final = (
    "CREATE TRIGGER jobs_audit AFTER INSERT OR UPDATE OR DELETE ON jobs"
    " FOR EACH ROW EXECUTE FUNCTION jobs_audit()"
)


def read(url: str) -> list[Write]:
    """Return the log, oldest write first."""
    engine = sa.create_engine(url, poolclass=pool.NullPool)
    order = [_LOG.c.seq]
    if engine.dialect.name == "mysql":
        order.insert(0, _LOG.c.at)
    with engine.connect() as connection:
        rows = connection.execute(sa.select(_LOG).order_by(*order))
        return [
            Write(
                seq=number,
                at=row.at,
                writer=row.writer,
                job_id=row.job_id,
                old=_state(row, "old"),
                new=_state(row, "new"),
            )
            for number, row in enumerate(rows, 1)
        ]


def _state(row: sa.Row[Any], when: str) -> State | None:
    values = {name: row._mapping[f"{when}_{name}"] for name in _COLUMNS}
    return State(**values) if values["status"] else None
