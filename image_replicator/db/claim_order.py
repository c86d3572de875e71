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

"""The SQL of the order in which workers claim jobs.

Each statement makes a few seeks in an index. The statement of the positions
reads only the head of the queue, however many jobs wait.

The turns of jobs in the background begin at a number that no other turn
reaches. So the order by turn, which an index has, puts them last.
"""

import functools
from collections.abc import Collection
from collections.abc import Iterable
from typing import Any
from typing import Final

import sqlalchemy as sa

from image_replicator.db import models
from image_replicator.db import times
from image_replicator.jobs import JobStatus

_jobs: Final = models.Job.__table__.c

#: The tiers of jobs: of those that somebody waits for, and of the others. An
#: index by tenants needs them, where the turn comes too late.
INTERACTIVE: Final = 0
BACKGROUND_TIER: Final = 1

#: The first turn of jobs in the background.
BACKGROUND: Final = 1 << 40

#: The order: by turn, then the oldest job first.
_ORDER: Final = (_jobs.turn, _jobs.created_at, _jobs.id)

#: The columns of a job that waits.
_WAITING: Final = (
    _jobs.id,
    _jobs.status,
    _jobs.image_size,
    _jobs.source_image_id,
    _jobs.source_region_id,
    _jobs.source_tenant_id,
    _jobs.destination_region_id,
    _jobs.destination_tenant_id,
    _jobs.waiting_since,
    _jobs.turn,
    _jobs.created_at,
)

_UNOWNED: Final = _jobs.worker_id.is_(None)

#: True of a job that does not wait for its next attempt.
_DUE: Final = sa.or_(
    _jobs.retry_at.is_(None), _jobs.retry_at <= times.utcnow()
)

_REQUESTED: Final = _jobs.status == JobStatus.REPLICATE_REQUESTED
_RUNNING: Final = _jobs.status == JobStatus.REPLICATING


#: Caches a statement, as building it takes as long as running it.
_kept: Final = functools.lru_cache(maxsize=64)


@_kept
def copies(regions: tuple[str, ...] | None, limit: int) -> sa.Select[Any]:
    """Return the query of copies that can be claimed, in order.

    :param regions: of the destination; None for all. Each region gets a seek
        of its own, as one scan would read the jobs of all other regions.
    :param limit: the most copies to return.
    """
    return _merged(
        _walk(region, limit, _REQUESTED, _UNOWNED, _DUE)
        for region in regions or (None,)
    ).limit(limit)


@_kept
def cancelations(
    regions: tuple[str, ...] | None, limit: int
) -> sa.Select[Any]:
    """Return the query of cancelations that can be claimed, in order."""
    just_asked_for = _jobs.status == JobStatus.CANCEL_REQUESTED
    begun = _jobs.status == JobStatus.CANCELING
    return _merged(
        _walk(region, limit, *conditions)
        for region in regions or (None,)
        # A new cancelation does not wait for a next attempt.
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
        sa.select(*_WAITING).where(*conditions).order_by(*_ORDER).limit(limit)
    )
    if region is None:
        return walk
    return walk.where(_jobs.destination_region_id == region)


#: The query of the first copy to a region of the next tenant after one.
NEXT_TENANT: Final[sa.Select[Any]] = (
    sa.select(*_WAITING)
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

#: The same without the copies in the background.
NEXT_INTERACTIVE_TENANT: Final = NEXT_TENANT.where(_jobs.tier == INTERACTIVE)


def next_region(region: str) -> sa.Select[Any]:
    """Return the query of the next region for which copies wait."""
    return (
        sa.select(_jobs.destination_region_id)
        .where(_REQUESTED, _jobs.destination_region_id > region)
        # It names all columns of an index, so that PostgreSQL uses that one.
        .order_by(_jobs.destination_region_id, *_ORDER)
        .limit(1)
    )


def slots(region: str, idle: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Return the query of the jobs that have a slot in a region.

    :param idle: true of a job that does not need its slot.
    """
    return sa.select(_jobs.id, _jobs.slot, idle.label("idle")).where(
        # SQLite uses no index for IS NOT NULL.
        _jobs.destination_region_id == region,
        _jobs.slot >= 0,
    )


def _turns() -> sa.Select[Any]:
    there = _jobs.destination_region_id == sa.bindparam("region")
    theirs = (_jobs.source_tenant_id == sa.bindparam("tenant"), there)
    lowest = sa.bindparam("lowest", type_=sa.BigInteger)
    of_class = (
        _jobs.turn >= lowest,
        _jobs.turn < lowest + sa.literal(BACKGROUND),
    )
    first = sa.func.min(_jobs.turn)
    last = sa.func.max(_jobs.turn)
    due = (
        sa.select(_jobs.turn)
        .where(_REQUESTED, there, _UNOWNED, _DUE, *of_class)
        .order_by(*_ORDER)
        .limit(1)
    )
    return sa.select(
        sa.select(last)
        .where(*theirs, _REQUESTED, *of_class)
        .scalar_subquery()
        .label("last_waiting"),
        sa.select(last)
        .where(*theirs, _RUNNING, *of_class)
        .scalar_subquery()
        .label("last_running"),
        sa.func.coalesce(
            due.scalar_subquery(),
            sa.select(last).where(_RUNNING, *of_class).scalar_subquery(),
            sa.select(first).where(_REQUESTED, *of_class).scalar_subquery(),
            lowest,
        ).label("current"),
    )


#: The query of the last turns of a tenant's jobs to a region, and of the
#: current turn there. The current turn is that of the first job that can be
#: claimed: a job that waits for its next attempt must not hold it back. If no
#: job can be claimed, it is the last turn that a worker has claimed. Only the
#: jobs in the background count, or only the others.
_TURNS: Final = _turns()


def new_turn(
    connection: sa.Connection, tenant: str, region: str, background: bool
) -> int:
    """Return the turn of a tenant's new job.

    It is the current turn in the destination region, or the one after the
    tenant's last turn there. So a thousand jobs of one tenant do not delay
    the first job of another.

    :param tenant: the source tenant.
    :param region: of the destination.
    :param background: whether the job is to wait in the background.
    """
    turns = connection.execute(
        _TURNS,
        {
            "tenant": tenant,
            "region": region,
            "lowest": BACKGROUND if background else 0,
        },
    ).one()
    own = (turns.last_waiting, turns.last_running)
    behind = [last + 1 for last in own if last is not None]
    turn: int = max([turns.current, *behind])
    return turn


#: The query of the jobs that have waited in the background since a time or
#: longer.
PATIENT: Final[sa.Select[Any]] = (
    sa.select(_jobs.id, _jobs.source_tenant_id, _jobs.destination_region_id)
    .where(
        # coalesce() prevents the use of an index on the status, which would
        # find all jobs that wait.
        sa.func.coalesce(_jobs.status, "") == JobStatus.REPLICATE_REQUESTED,
        _jobs.background_since <= sa.bindparam("since", type_=times.TIMESTAMP),
    )
    .order_by(_jobs.background_since)
    .limit(sa.bindparam("limit", type_=sa.Integer))
)


#: The number of jobs at the head of the queue whose position is shown.
COUNTED: Final = 1000


def positions(job_ids: Collection[str]) -> sa.Select[Any]:
    """Return the query of the positions of jobs at the head of the queue."""
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
