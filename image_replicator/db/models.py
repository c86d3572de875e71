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

"""The tables, as models of SQLAlchemy."""

import datetime

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import mysql

from image_replicator.db import text
from image_replicator.db import times
from image_replicator.jobs import IfPresent
from image_replicator.jobs import Priority

#: Columns of ids and names, as wide as in Keystone and Glance.
ID = text.Text(64)
NAME = text.Text(255)

#: Any image name fits. The comparison is case-sensitive, as in PostgreSQL and
#: SQLite.
MYSQL_TABLE = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}

#: Text beyond the 65,535 bytes of MariaDB's TEXT.
LONG_TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")


class Base(orm.DeclarativeBase):
    """The declarative base."""


class Job(Base):
    """The table of jobs. See :class:`image_replicator.jobs.Job`.

    ``active`` is true while the job is active, and NULL afterwards. NULLs are
    distinct in a unique key, so the key allows one active job for each image,
    tenant and region, and any number of finished jobs.
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
        # Each listing scans one of these three.
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
        # Finds the oldest cancelation that waits.
        sa.Index("ix_jobs_status", "status", "created_at", "id"),
        # These two are the queue, of all regions and of one region.
        sa.Index("ix_jobs_queue", "status", "turn", "created_at", "id"),
        sa.Index(
            "ix_jobs_region_queue",
            "status",
            "destination_region_id",
            "turn",
            "created_at",
            "id",
        ),
        # Finds a tenant's last turn in a region, and counts its active jobs.
        sa.Index(
            "ix_jobs_tenant_turn",
            "source_tenant_id",
            "status",
            "destination_region_id",
            "turn",
        ),
        # The queue of a region by tenant, as a worker may pass tenants by.
        sa.Index(
            "ix_jobs_tenant_queue",
            "status",
            "destination_region_id",
            "source_tenant_id",
            "turn",
            "created_at",
            "id",
        ),
        # The same, as it can leave out the jobs in the background.
        sa.Index(
            "ix_jobs_tier_queue",
            "status",
            "destination_region_id",
            "tier",
            "source_tenant_id",
            "turn",
            "created_at",
            "id",
        ),
        # Finds the jobs that have waited in the background for long.
        sa.Index("ix_jobs_background", "background_since"),
        # Two copies never have one slot of a region; NULLs are distinct.
        sa.Index(
            "uniq_jobs_region_slot",
            "destination_region_id",
            "slot",
            unique=True,
        ),
        # Finds the jobs whose lease has expired; few rows have a lease.
        sa.Index("ix_jobs_lease", "lease_expires_at"),
        # Finds the finished jobs whose image is still to be removed; they are
        # few.
        sa.Index("ix_jobs_reserved_image", "reserved_image_id"),
        sa.Index("ix_jobs_finished", "finished_at"),
        # Finds the copies of some data in a tenant.
        sa.Index(
            "ix_jobs_content", "destination_tenant_id", "verification_source"
        ),
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
    # The release before inserts no turn, so its jobs come first.
    turn: orm.Mapped[int] = orm.mapped_column(
        sa.BigInteger, server_default="0"
    )
    slot: orm.Mapped[int | None] = orm.mapped_column(sa.Integer)
    # The release before inserts none of the next four.
    tier: orm.Mapped[int] = orm.mapped_column(
        sa.SmallInteger, server_default="0"
    )
    priority: orm.Mapped[str] = orm.mapped_column(
        text.Text(16), server_default=Priority.INTERACTIVE
    )
    if_present: orm.Mapped[str] = orm.mapped_column(
        text.Text(16), server_default=IfPresent.COPY
    )
    skipped: orm.Mapped[bool] = orm.mapped_column(
        sa.Boolean, server_default=sa.false()
    )
    background_since: orm.Mapped[datetime.datetime | None] = orm.mapped_column(
        times.TIMESTAMP
    )
    read_region_id: orm.Mapped[str | None] = orm.mapped_column(NAME)
    read_image_id: orm.Mapped[str | None] = orm.mapped_column(text.Text(36))
    waiting_for: orm.Mapped[str | None] = orm.mapped_column(text.Text(36))
    waiting_since: orm.Mapped[datetime.datetime | None] = orm.mapped_column(
        times.TIMESTAMP
    )
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
        times.TIMESTAMP
    )
    retry_at: orm.Mapped[datetime.datetime | None] = orm.mapped_column(
        times.TIMESTAMP
    )
    error_code: orm.Mapped[str | None] = orm.mapped_column(text.Text(64))
    error_message: orm.Mapped[str | None] = orm.mapped_column(text.Message)
    verification_algorithm: orm.Mapped[str | None] = orm.mapped_column(ID)
    verification_source: orm.Mapped[str | None] = orm.mapped_column(NAME)
    verification_destination: orm.Mapped[str | None] = orm.mapped_column(NAME)
    request_id: orm.Mapped[str] = orm.mapped_column(ID)
    created_at: orm.Mapped[datetime.datetime] = orm.mapped_column(
        times.TIMESTAMP
    )
    updated_at: orm.Mapped[datetime.datetime] = orm.mapped_column(
        times.TIMESTAMP
    )
    started_at: orm.Mapped[datetime.datetime | None] = orm.mapped_column(
        times.TIMESTAMP
    )
    finished_at: orm.Mapped[datetime.datetime | None] = orm.mapped_column(
        times.TIMESTAMP
    )


class IdempotencyKey(Base):
    """The table of requests that are answered once.

    See :class:`image_replicator.db.idempotency.Key`.

    :ivar digest: of the request.
    :ivar answer: the body of the first answer.
    """

    __tablename__ = "idempotency_keys"
    __table_args__ = (
        # Finds the old ones.
        sa.Index("ix_idempotency_keys_created", "created_at"),
        MYSQL_TABLE,
    )

    project_id: orm.Mapped[str] = orm.mapped_column(ID, primary_key=True)
    key: orm.Mapped[str] = orm.mapped_column(NAME, primary_key=True)
    digest: orm.Mapped[str] = orm.mapped_column(ID)
    answer: orm.Mapped[str] = orm.mapped_column(LONG_TEXT)
    created_at: orm.Mapped[datetime.datetime] = orm.mapped_column(
        times.TIMESTAMP
    )


class Delegation(Base):
    """The table of trusts: :class:`image_replicator.authority.Delegation`.

    :ivar roles: a digest of the names of the roles, as wide as a key may be.
    :ivar role_names: the names, a line each.
    """

    __tablename__ = "delegations"
    __table_args__ = (
        sa.UniqueConstraint(
            "user_id", "project_id", "roles", name="uniq_delegations_roles"
        ),
        sa.Index("ix_delegations_used", "used_at"),
        MYSQL_TABLE,
    )

    trust_id: orm.Mapped[str] = orm.mapped_column(ID, primary_key=True)
    user_id: orm.Mapped[str] = orm.mapped_column(ID)
    project_id: orm.Mapped[str] = orm.mapped_column(ID)
    roles: orm.Mapped[str] = orm.mapped_column(ID)
    role_names: orm.Mapped[str] = orm.mapped_column(text.Message)
    expires_at: orm.Mapped[datetime.datetime | None] = orm.mapped_column(
        times.TIMESTAMP
    )
    used_at: orm.Mapped[datetime.datetime] = orm.mapped_column(times.TIMESTAMP)


class Authority(Base):
    """The table of rights: :class:`image_replicator.authority.Authority`.

    A row is there while its job is not over, or has an image left at the
    destination that is still to be removed.
    """

    __tablename__ = "authorities"
    __table_args__ = (
        # Find the jobs that need a trust.
        sa.Index("ix_authorities_source_trust", "source_trust_id"),
        sa.Index("ix_authorities_destination_trust", "destination_trust_id"),
        MYSQL_TABLE,
    )

    job_id: orm.Mapped[str] = orm.mapped_column(
        text.Text(36), primary_key=True
    )
    user_id: orm.Mapped[str] = orm.mapped_column(ID)
    source_owner_id: orm.Mapped[str | None] = orm.mapped_column(ID)
    source_trust_id: orm.Mapped[str | None] = orm.mapped_column(ID)
    destination_trust_id: orm.Mapped[str | None] = orm.mapped_column(ID)
    sealed_token: orm.Mapped[str | None] = orm.mapped_column(sa.Text)
    token_expires_at: orm.Mapped[datetime.datetime | None] = orm.mapped_column(
        times.TIMESTAMP
    )


class KeyHolder(Base):
    """The table of nodes with sealing keys, which ``status`` compares.

    :ivar fingerprints: of the node's keys, a line each, the primary one first.
    """

    __tablename__ = "key_holders"
    __table_args__ = (MYSQL_TABLE,)

    host: orm.Mapped[str] = orm.mapped_column(NAME, primary_key=True)
    fingerprints: orm.Mapped[str] = orm.mapped_column(text.Message)
    seen_at: orm.Mapped[datetime.datetime] = orm.mapped_column(times.TIMESTAMP)


class Route(Base):
    """The table of measured ways: :class:`image_replicator.nearness.Route`.

    The destination stands for the place of the workers that serve it.
    """

    __tablename__ = "routes"
    __table_args__ = (MYSQL_TABLE,)

    destination_region_id: orm.Mapped[str] = orm.mapped_column(
        NAME, primary_key=True
    )
    source_region_id: orm.Mapped[str] = orm.mapped_column(
        NAME, primary_key=True
    )
    latency: orm.Mapped[float] = orm.mapped_column(sa.Double)
    rate: orm.Mapped[float] = orm.mapped_column(sa.Double)
    streams: orm.Mapped[int | None] = orm.mapped_column(sa.Integer)
    measured_at: orm.Mapped[datetime.datetime] = orm.mapped_column(
        times.TIMESTAMP
    )


class Tenant(Base):
    """The table of tenants for which jobs were admitted within a limit.

    :ivar admissions: the number of jobs admitted. Each admission updates it,
        so that admissions for one tenant at the same time conflict in its row.
    """

    __tablename__ = "tenants"
    __table_args__ = (MYSQL_TABLE,)

    id: orm.Mapped[str] = orm.mapped_column(ID, primary_key=True)
    admissions: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)


class Worker(Base):
    """The table of workers: :class:`image_replicator.jobs.RegisteredWorker`.

    It is for operators; no code decides by it.
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
    started_at: orm.Mapped[datetime.datetime] = orm.mapped_column(
        times.TIMESTAMP
    )
    seen_at: orm.Mapped[datetime.datetime] = orm.mapped_column(times.TIMESTAMP)
