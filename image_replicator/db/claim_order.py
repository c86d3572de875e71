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

"""The order in which workers claim jobs: its SQL.

Each statement is a few seeks in an index, and the one of the positions reads
no more than the first of the queue, however many jobs wait.
"""

import functools
from collections.abc import Collection
from collections.abc import Iterable
from typing import Any
from typing import Final

import sqlalchemy as sa

from image_replicator.db import models
from image_replicator.jobs import JobStatus

_jobs: Final = models.Job.__table__.c

#: Whose turn it is; of one turn's jobs the oldest comes first.
_ORDER: Final = (_jobs.turn, _jobs.created_at, _jobs.id)

_UNOWNED: Final = _jobs.worker_id.is_(None)

#: The job is not to wait for another attempt.
_DUE: Final = sa.or_(
    _jobs.retry_at.is_(None), _jobs.retry_at <= models.utcnow()
)

_REQUESTED: Final = _jobs.status == JobStatus.REPLICATE_REQUESTED
_RUNNING: Final = _jobs.status == JobStatus.REPLICATING


#: Kept, as to make such a statement costs as much as to run it.
_kept: Final = functools.lru_cache(maxsize=64)


@_kept
def copies(regions: tuple[str, ...] | None, limit: int) -> sa.Select[Any]:
    """Copies that can be claimed: id, status and region, in order.

    :param regions: of the destination; None for all. Each is a seek of its
        own, as one walk would pass by all that other regions wait for.
    :param limit: how many at most.
    """
    return _merged(
        _walk(region, limit, _REQUESTED, _UNOWNED, _DUE)
        for region in regions or (None,)
    ).limit(limit)


@_kept
def cancelations(
    regions: tuple[str, ...] | None, limit: int
) -> sa.Select[Any]:
    """Cancelations that can be claimed: as :func:`copies`."""
    just_asked_for = _jobs.status == JobStatus.CANCEL_REQUESTED
    begun = _jobs.status == JobStatus.CANCELING
    return _merged(
        _walk(region, limit, *conditions)
        for region in regions or (None,)
        # What was just asked for does not wait for another attempt.
        for conditions in (
            (just_asked_for, _UNOWNED),
            (begun, _UNOWNED, _DUE),
        )
    ).limit(limit)


def _merged(walks: Iterable[sa.Select[Any]]) -> sa.Select[Any]:
    found = sa.union_all(
        *(sa.select(walk.subquery()) for walk in walks)
    ).subquery()
    return sa.select(found).order_by(
        found.c.turn, found.c.created_at, found.c.id
    )


def _walk(
    region: str | None, limit: int, *conditions: sa.ColumnElement[bool]
) -> sa.Select[Any]:
    walk = (
        sa.select(
            _jobs.id,
            _jobs.status,
            _jobs.destination_region_id,
            _jobs.source_tenant_id,
            *_ORDER[:2],
        )
        .where(*conditions)
        .order_by(*_ORDER)
        .limit(limit)
    )
    if region is None:
        return walk
    return walk.where(_jobs.destination_region_id == region)


#: The first copy of the next tenant behind one, of those to a region.
NEXT_TENANT: Final[sa.Select[Any]] = (
    sa.select(
        _jobs.id,
        _jobs.status,
        _jobs.destination_region_id,
        _jobs.source_tenant_id,
        *_ORDER[:2],
    )
    .where(
        _REQUESTED,
        _jobs.destination_region_id == sa.bindparam("region"),
        _jobs.source_tenant_id > sa.bindparam("tenant"),
        _UNOWNED,
        _DUE,
    )
    .order_by(_jobs.source_tenant_id, *_ORDER)
    .limit(1)
)


def next_region(region: str) -> sa.Select[Any]:
    """The first destination region behind this one that copies wait for."""
    return (
        sa.select(_jobs.destination_region_id)
        .where(_REQUESTED, _jobs.destination_region_id > region)
        # All of an index, so that PostgreSQL takes no other one.
        .order_by(_jobs.destination_region_id, *_ORDER)
        .limit(1)
    )


def slots(region: str, idle: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """The jobs that have a place in a destination region.

    :param idle: tells of a job that it does not need its place.
    """
    return sa.select(_jobs.id, _jobs.slot, idle.label("idle")).where(
        # SQLite looks for what is not NULL in no index.
        _jobs.destination_region_id == region,
        _jobs.slot >= 0,
    )


def _turns() -> sa.Select[Any]:
    there = _jobs.destination_region_id == sa.bindparam("region")
    theirs = (_jobs.source_tenant_id == sa.bindparam("tenant"), there)
    first = sa.func.min(_jobs.turn)
    last = sa.func.max(_jobs.turn)
    due = (
        sa.select(_jobs.turn)
        .where(_REQUESTED, there, _UNOWNED, _DUE)
        .order_by(*_ORDER)
        .limit(1)
    )
    return sa.select(
        sa.select(last)
        .where(*theirs, _REQUESTED)
        .scalar_subquery()
        .label("last_waiting"),
        sa.select(last)
        .where(*theirs, _RUNNING)
        .scalar_subquery()
        .label("last_running"),
        sa.func.coalesce(
            due.scalar_subquery(),
            sa.select(last).where(_RUNNING).scalar_subquery(),
            sa.select(first).where(_REQUESTED).scalar_subquery(),
            0,
        ).label("current"),
    )


#: Of a tenant's jobs that go to a region, the last turns; and the turn that
#: is being served there. That is the first of what can be claimed: what waits
#: for another attempt, or for a region that no worker serves, must not hold
#: it back. Where there is none, it is what the workers have got to.
TURNS: Final = _turns()


#: Jobs at the head of the queue that are told their place there.
COUNTED: Final = 1000


def positions(job_ids: Collection[str]) -> sa.Select[Any]:
    """Those of these jobs at the head of the queue, with their places."""
    head = (
        sa.select(_jobs.id, *_ORDER[:2])
        .where(_REQUESTED)
        .order_by(*_ORDER)
        .limit(COUNTED)
        .subquery()
    )
    order = (head.c.turn, head.c.created_at, head.c.id)
    queue = sa.select(
        head.c.id, sa.func.row_number().over(order_by=order).label("position")
    ).subquery()
    return sa.select(queue).where(queue.c.id.in_(job_ids))
