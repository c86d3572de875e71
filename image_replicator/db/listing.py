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

"""The SQL of a page of jobs.

A page costs the same wherever it lies: the statement seeks to the marker's
key in an index, it does not count its way there.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any
from typing import Final

import sqlalchemy as sa

from image_replicator.db import models
from image_replicator.jobs import Job

_jobs: Final = models.Job.__table__.c

#: What makes a :class:`image_replicator.jobs.Job`.
COLUMNS: Final = [column for column in _jobs if column.name != "active"]

#: What a listing can be sorted by: columns that are never NULL, as a key
#: seek has no place for those.
SORT_KEYS: Final = {
    "created_at": _jobs.created_at,
    "updated_at": _jobs.updated_at,
    "job_id": _jobs.id,
    "status": _jobs.status,
    "source_image_id": _jobs.source_image_id,
    "source_image_name": _jobs.source_image_name,
    "source_region_id": _jobs.source_region_id,
    "source_tenant_id": _jobs.source_tenant_id,
    "destination_region_id": _jobs.destination_region_id,
    "destination_tenant_id": _jobs.destination_tenant_id,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Page:
    """Which jobs to list.

    :ivar tenant_id: whose jobs, as source or destination; None for all.
    :ivar filters: columns and the values they must have.
    :ivar marker: the last job of the page before.
    """

    limit: int
    tenant_id: str | None
    filters: Mapping[str, str] = dataclasses.field(default_factory=dict)
    sort_key: str = "created_at"
    descending: bool = True
    marker: Job | None = None


def statement(page: Page) -> sa.Select[Any]:
    """The statement of a page.

    A tenant's jobs are the source's and the destination's: two walks along
    an index each, and a merge of two pages. One walk with an OR would read
    every tenant's jobs.
    """
    if page.tenant_id is None:
        return _walk(page, sa.select(*COLUMNS))
    sides = sa.union(
        *(
            sa.select(
                _walk(
                    page, sa.select(*COLUMNS).where(column == page.tenant_id)
                ).subquery()
            )
            for column in (_jobs.source_tenant_id, _jobs.destination_tenant_id)
        )
    ).subquery()
    key = sides.c[SORT_KEYS[page.sort_key].name]
    return _ordered(page, sa.select(sides), key, sides.c.id)


def _walk(page: Page, statement: sa.Select[Any]) -> sa.Select[Any]:
    """Filter, seek to the marker, order and limit."""
    key = SORT_KEYS[page.sort_key]
    for name, value in page.filters.items():
        statement = statement.where(_jobs[name] == value)
    if page.marker is not None:
        statement = statement.where(_after(page, key, page.marker))
    return _ordered(page, statement, key, _jobs.id)


def _after(
    page: Page, key: sa.ColumnElement[Any], marker: Job
) -> sa.ColumnElement[bool]:
    """Everything behind the marker in the page's order.

    The first condition alone lets an index seek; the second settles ties.
    """
    value = getattr(marker, SORT_KEYS[page.sort_key].name)
    if page.descending:
        return sa.and_(key <= value, sa.or_(key < value, _jobs.id < marker.id))
    return sa.and_(key >= value, sa.or_(key > value, _jobs.id > marker.id))


def _ordered(
    page: Page, statement: sa.Select[Any], *columns: sa.ColumnElement[Any]
) -> sa.Select[Any]:
    order = sa.desc if page.descending else sa.asc
    return statement.order_by(*map(order, columns)).limit(page.limit)
