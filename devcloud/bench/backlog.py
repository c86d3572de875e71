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

"""Fills the table of jobs with as many rows as years of copies."""

import dataclasses
import datetime
import functools
import uuid
from typing import Any
from typing import cast

import sqlalchemy as sa

from image_replicator.db import models
from image_replicator.db import stores
from image_replicator.jobs import JobStatus

_JOBS = cast(sa.Table, models.Job.__table__)

#: The number of distinct rows; all others are copies of these.
SEEDS = 1000
_TENANTS = 50  # that share them

#: The least number of jobs of each tenant.
LEAST_OF_A_TENANT = SEEDS // _TENANTS

_WAITING = 100  # one in so many waits; the others are done
_OLDEST = datetime.datetime(2024, 1, 1)
_APART = datetime.timedelta(minutes=1)


@dataclasses.dataclass(frozen=True)
class Table:
    """A database with jobs in it.

    :ivar stores: the stores of the database
    :ivar count: the number of jobs
    :ivar tenant: a tenant that has some of them
    :ivar job_id: the id of one of that tenant's jobs
    """

    url: str
    stores: stores.Stores
    count: int
    tenant: str
    job_id: str


def row(number: int, status: JobStatus, tenant: str) -> dict[str, Any]:
    """Return a row of a job that waits or is done.

    :param number: its place in the order of their creation
    """
    created = _OLDEST + number * _APART
    done = status is JobStatus.REPLICATED
    return {
        "id": str(uuid.uuid4()),
        "status": status,
        "active": None if done else True,
        "source_image_id": str(uuid.uuid4()),
        "source_image_name": f"image {number}",
        "source_region_id": "ot1",
        "source_tenant_id": tenant,
        "destination_image_id": str(uuid.uuid4()) if done else None,
        "destination_region_id": "ot2",
        "destination_tenant_id": tenant,
        "image_size": 1 << 30,
        "bytes_copied": 1 << 30 if done else 0,
        "turn": number,
        "claim_number": 1 if done else 0,
        "uncounted_claims": 0,
        "request_id": f"req-{uuid.uuid4()}",
        "created_at": created,
        "updated_at": created,
        "finished_at": created if done else None,
    }


def insert(engine: sa.Engine, rows: list[dict[str, Any]]) -> None:
    """Insert rows into the table, without the stores."""
    with engine.begin() as connection:
        connection.execute(sa.insert(_JOBS), rows)


def clear(engine: sa.Engine) -> None:
    """Empty the table."""
    with engine.begin() as connection:
        connection.execute(sa.delete(_JOBS))


def grow(engine: sa.Engine, count: int, tenant: str) -> str:
    """Add jobs until the table has a number of them.

    :param tenant: has a fiftieth of them
    :returns: the id of one of that tenant's jobs
    """
    there = _count(engine)
    if not there:
        insert(engine, _seeds(tenant))
        there = SEEDS
    if there < count:
        # It is much faster to build an index again than to update it.
        for index in _JOBS.indexes:
            index.drop(engine)
        while there < count:
            _double(engine, min(there, count - there))
            there = _count(engine)
        for index in _JOBS.indexes:
            index.create(engine)
    _analyze(engine)
    with engine.connect() as connection:
        found: str = connection.scalars(
            sa.select(_JOBS.c.id)
            .where(_JOBS.c.source_tenant_id == tenant)
            .limit(1)
        ).one()
    return found


def _seeds(tenant: str) -> list[dict[str, Any]]:
    tenants = [tenant, *(uuid.uuid4().hex for _one in range(_TENANTS - 1))]
    return [
        row(
            number,
            JobStatus.REPLICATED
            if number % _WAITING
            else JobStatus.REPLICATE_REQUESTED,
            # The step differs from that of the status, so that all
            # combinations occur.
            tenants[number // 7 % _TENANTS],
        )
        for number in range(SEEDS)
    ]


def _count(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return connection.scalars(
            sa.select(sa.func.count()).select_from(_JOBS)
        ).one()


def _double(engine: sa.Engine, limit: int) -> None:
    """Copy rows; the copies get new ids and images."""
    fresh = {"id", "source_image_id"}
    columns = [
        _new_id(engine).label(column.name) if column.name in fresh else column
        for column in _JOBS.c
    ]
    statement = sa.insert(_JOBS).from_select(
        list(_JOBS.c.keys()), sa.select(*columns).limit(limit)
    )
    with engine.begin() as connection:
        connection.execute(statement)


def _new_id(engine: sa.Engine) -> sa.ColumnElement[str]:
    """Return the SQL expression of a new id for each row."""
    if engine.dialect.name == "postgresql":
        return sa.cast(sa.func.gen_random_uuid(), sa.String)
    if engine.dialect.name in ("mysql", "mariadb"):
        return sa.func.uuid()
    parts: list[sa.ColumnElement[str]] = [
        sa.func.hex(sa.func.randomblob(size), type_=sa.String)
        for size in (4, 2, 2, 2, 6)
    ]
    return sa.func.lower(
        functools.reduce(lambda one, other: one + "-" + other, parts)
    )


def _analyze(engine: sa.Engine) -> None:
    """Update the planner's statistics, as a server does with time."""
    table = "TABLE " if engine.dialect.name in ("mysql", "mariadb") else ""
    with engine.begin() as connection:
        connection.execute(sa.text(f"ANALYZE {table}jobs"))


def end(engine: sa.Engine, job_id: str) -> None:
    """End a job, so that the same copy can be requested again."""
    with engine.begin() as connection:
        connection.execute(
            sa.update(_JOBS)
            .where(_JOBS.c.id == job_id)
            .values(status=JobStatus.CANCELED, active=None)
        )
