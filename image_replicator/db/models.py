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

"""The tables, as SQLAlchemy sees them."""

import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import mysql
from sqlalchemy.ext import compiler
from sqlalchemy.sql import expression

from image_replicator.db import text

#: Keystone's and Glance's own widths.
ID = text.Text(64)
NAME = text.Text(255)

#: Any image name fits, and two that differ in case alone differ, as they do
#: in PostgreSQL and SQLite.
MYSQL_TABLE = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}

#: With microseconds, which MariaDB leaves out unless asked.
TIMESTAMP = sa.DateTime().with_variant(
    mysql.DATETIME(fsp=6), "mysql", "mariadb"
)


class utcnow(expression.FunctionElement[datetime.datetime]):  # noqa: N801
    """The database's clock: the one clock that all processes share.

    Naive UTC with the precision the database has. It stands for the time of
    the statement, not of the transaction's begin.
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
    # Milliseconds are all it has; SQLAlchemy reads six digits.
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


class from_now(expression.FunctionElement[datetime.datetime]):  # noqa: N801
    """A time to come, by the database's clock.

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


class Base(orm.DeclarativeBase):
    """The declarative base."""


class Job(Base):
    """A row per copy. See :class:`image_replicator.jobs.Job`.

    ``active`` is true while the job is, and NULL afterwards. As NULLs are
    distinct in a unique key, the key says: one active copy of an image to a
    tenant and region, any number of finished ones.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        sa.UniqueConstraint(
            "source_image_id",
            "destination_tenant_id",
            "destination_region_id",
            "source_region_id",
            "active",
            name="uniq_jobs_active_copy",
        ),
        # Each listing, newest first, is a walk along one of these three.
        sa.Index("ix_jobs_created", "created_at", "id"),
        sa.Index(
            "ix_jobs_source_tenant", "source_tenant_id", "created_at", "id"
        ),
        sa.Index(
            "ix_jobs_destination_tenant",
            "destination_tenant_id",
            "created_at",
            "id",
        ),
        # A worker looks for the oldest cancelation that waits.
        sa.Index("ix_jobs_status", "status", "created_at", "id"),
        # The queue: whose turn it is, of all regions or of one.
        sa.Index("ix_jobs_queue", "status", "turn", "created_at", "id"),
        sa.Index(
            "ix_jobs_region_queue",
            "status",
            "destination_region_id",
            "turn",
            "created_at",
            "id",
        ),
        # A tenant's last turn in a region; how many active jobs it has.
        sa.Index(
            "ix_jobs_tenant_turn",
            "source_tenant_id",
            "status",
            "destination_region_id",
            "turn",
        ),
        # The same of a region, tenant by tenant: a worker passes some by.
        sa.Index(
            "ix_jobs_tenant_queue",
            "status",
            "destination_region_id",
            "source_tenant_id",
            "turn",
            "created_at",
            "id",
        ),
        # Two copies never have one slot of a region; NULLs are distinct.
        sa.Index(
            "uniq_jobs_region_slot",
            "destination_region_id",
            "slot",
            unique=True,
        ),
        # Few rows have a lease; those whose lease ran out are found by it.
        sa.Index("ix_jobs_lease", "lease_expires_at"),
        # Few jobs that are over still have an image to be removed.
        sa.Index("ix_jobs_reserved_image", "reserved_image_id"),
        sa.Index("ix_jobs_finished", "finished_at"),
        MYSQL_TABLE,
    )

    id: orm.Mapped[str] = orm.mapped_column(text.Text(36), primary_key=True)
    status: orm.Mapped[str] = orm.mapped_column(text.Text(32))
    active: orm.Mapped[bool | None] = orm.mapped_column(sa.Boolean)
    source_image_id: orm.Mapped[str] = orm.mapped_column(text.Text(36))
    source_image_name: orm.Mapped[str] = orm.mapped_column(NAME)
    source_region_id: orm.Mapped[str] = orm.mapped_column(NAME)
    source_tenant_id: orm.Mapped[str] = orm.mapped_column(ID)
    destination_image_id: orm.Mapped[str | None] = orm.mapped_column(
        text.Text(36)
    )
    destination_region_id: orm.Mapped[str] = orm.mapped_column(NAME)
    destination_tenant_id: orm.Mapped[str] = orm.mapped_column(ID)
    destination_image_name: orm.Mapped[str | None] = orm.mapped_column(NAME)
    reserved_image_id: orm.Mapped[str | None] = orm.mapped_column(
        text.Text(36)
    )
    image_size: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    bytes_copied: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    bytes_per_second: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger)
    # The release before inserts no turn: its jobs come first.
    turn: orm.Mapped[int] = orm.mapped_column(
        sa.BigInteger, server_default="0"
    )
    slot: orm.Mapped[int | None] = orm.mapped_column(sa.Integer)
    worker_id: orm.Mapped[str | None] = orm.mapped_column(NAME)
    # The columns keep their old names for the release before.
    claim_number: orm.Mapped[int] = orm.mapped_column(
        "attempts", sa.Integer, key="claim_number"
    )
    uncounted_claims: orm.Mapped[int] = orm.mapped_column(
        "attempts_uncounted",
        sa.Integer,
        key="uncounted_claims",
        server_default="0",
    )
    lease_expires_at: orm.Mapped[datetime.datetime | None] = orm.mapped_column(
        TIMESTAMP
    )
    retry_at: orm.Mapped[datetime.datetime | None] = orm.mapped_column(
        TIMESTAMP
    )
    error_code: orm.Mapped[str | None] = orm.mapped_column(text.Text(64))
    error_message: orm.Mapped[str | None] = orm.mapped_column(text.Message)
    verification_algorithm: orm.Mapped[str | None] = orm.mapped_column(ID)
    verification_source: orm.Mapped[str | None] = orm.mapped_column(NAME)
    verification_destination: orm.Mapped[str | None] = orm.mapped_column(NAME)
    request_id: orm.Mapped[str] = orm.mapped_column(ID)
    created_at: orm.Mapped[datetime.datetime] = orm.mapped_column(TIMESTAMP)
    updated_at: orm.Mapped[datetime.datetime] = orm.mapped_column(TIMESTAMP)
    started_at: orm.Mapped[datetime.datetime | None] = orm.mapped_column(
        TIMESTAMP
    )
    finished_at: orm.Mapped[datetime.datetime | None] = orm.mapped_column(
        TIMESTAMP
    )


class Tenant(Base):
    """A row per tenant that jobs were admitted for within a limit.

    :ivar admissions: how many; it changes so that those who admit jobs of one
        tenant at the same time meet in its row.
    """

    __tablename__ = "tenants"
    __table_args__ = (MYSQL_TABLE,)

    id: orm.Mapped[str] = orm.mapped_column(ID, primary_key=True)
    admissions: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)


class Worker(Base):
    """A row per worker. See :class:`image_replicator.jobs.RegisteredWorker`.

    For operators to look at; nothing is decided by it.
    """

    __tablename__ = "workers"
    __table_args__ = (MYSQL_TABLE,)

    id: orm.Mapped[str] = orm.mapped_column(NAME, primary_key=True)
    host: orm.Mapped[str] = orm.mapped_column(NAME)
    version: orm.Mapped[str] = orm.mapped_column(ID)
    concurrency: orm.Mapped[int] = orm.mapped_column(sa.Integer)
    destination_regions: orm.Mapped[str | None] = orm.mapped_column(
        text.Message
    )
    started_at: orm.Mapped[datetime.datetime] = orm.mapped_column(TIMESTAMP)
    seen_at: orm.Mapped[datetime.datetime] = orm.mapped_column(TIMESTAMP)
