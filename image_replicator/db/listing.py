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

Each page takes the same time: the statement seeks to the marker's key in an
index, and skips no rows.
"""

import dataclasses
import functools
import operator
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Final

import sqlalchemy as sa

from image_replicator.db import models
from image_replicator.db import text
from image_replicator.jobs import Job

_jobs: Final = models.Job.__table__.c

#: The columns of a :class:`image_replicator.jobs.Job`, with its names.
COLUMNS: Final = [
    column.label(column.key) for column in _jobs if column.key != "active"
]

#: The columns that a listing can be sorted by. They are never NULL, as a key
#: seek cannot handle NULLs.
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


#: The columns with a time that a listing can be restricted by.
TIMES: Final = frozenset({"created_at", "updated_at", "finished_at"})

#: The operators of a comparison, with OpenStack's names.
OPERATORS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "eq": text.equal,
    "in": lambda column, values: column.in_(values),
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A condition on a column.

    :ivar operator: one of :data:`OPERATORS`.
    :ivar value: to compare the column with; several for ``in``.
    """

    column: str
    operator: str
    value: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Page:
    """A request for a page of jobs.

    :ivar tenant_id: the source or the destination of the jobs; None for all.
    :ivar filters: columns and the values they must have.
    :ivar comparisons: further conditions.
    :ivar marker: the last job of the page before.
    """

    limit: int
    tenant_id: str | None
    filters: Mapping[str, str] = dataclasses.field(default_factory=dict)
    comparisons: Sequence[Comparison] = ()
    sort_key: str = "created_at"
    descending: bool = True
    marker: Job | None = None


def query(page: Page) -> tuple[sa.Select[Any], dict[str, Any]]:
    """Return the statement of a page, and its parameters."""
    compared = [
        *(Comparison(name, "eq", page.filters[name]) for name in page.filters),
        *page.comparisons,
    ]
    # Pages that differ in this order alone share a statement.
    compared.sort(key=lambda each: (each.column, each.operator))
    parameters: dict[str, Any] = {
        "limit": page.limit,
        **{_value(place): each.value for place, each in enumerate(compared)},
    }
    if page.tenant_id is not None:
        parameters["tenant_id"] = page.tenant_id
    if page.marker is not None:
        name = SORT_KEYS[page.sort_key].name
        parameters["marker_key"] = getattr(page.marker, name)
        parameters["marker_id"] = page.marker.id
    shape = _Shape(
        of_tenant=page.tenant_id is not None,
        compared=tuple((each.column, each.operator) for each in compared),
        sort_key=page.sort_key,
        descending=page.descending,
        behind_marker=page.marker is not None,
    )
    return _statement(shape), parameters


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Shape:
    """The attributes of a page that change its statement."""

    of_tenant: bool
    compared: tuple[tuple[str, str], ...]
    sort_key: str
    descending: bool
    behind_marker: bool


def _value(place: int) -> str:
    """Return the name of the parameter that a column is compared with."""
    return f"filter_{place}"


#: It is cached, as building such a statement takes longer than running it.
@functools.lru_cache(maxsize=128)
def _statement(shape: _Shape) -> sa.Select[Any]:
    """Return the statement of all pages of a shape.

    A tenant's jobs are those where it is the source or the destination. The
    statement scans an index for each, and merges the two pages. One scan with
    an OR would read the jobs of every tenant.
    """
    if not shape.of_tenant:
        return _walk(shape, sa.select(*COLUMNS))
    tenant_id: sa.BindParameter[str] = sa.bindparam("tenant_id")
    sides = sa.union(
        *(
            sa.select(
                _walk(
                    shape, sa.select(*COLUMNS).where(column == tenant_id)
                ).subquery()
            )
            for column in (_jobs.source_tenant_id, _jobs.destination_tenant_id)
        )
    ).subquery()
    key = sides.c[SORT_KEYS[shape.sort_key].name]
    return _ordered(shape, sa.select(sides), key, sides.c.id)


def _walk(shape: _Shape, statement: sa.Select[Any]) -> sa.Select[Any]:
    """Add the filters, the marker, the order and the limit."""
    key = SORT_KEYS[shape.sort_key]
    for place, (name, operator_name) in enumerate(shape.compared):
        column = _jobs[name]
        value = sa.bindparam(
            _value(place), type_=column.type, expanding=operator_name == "in"
        )
        statement = statement.where(OPERATORS[operator_name](column, value))
    if shape.behind_marker:
        statement = statement.where(_behind_marker(key, shape.descending))
    return _ordered(shape, statement, key, _jobs.id)


def _behind_marker(
    key: sa.ColumnElement[Any], descending: bool
) -> sa.ColumnElement[bool]:
    """Return the condition of the jobs behind the marker, in the page's order.

    The first part lets the database seek in an index; the second resolves
    ties.
    """
    marker_key = sa.bindparam("marker_key", type_=key.type)
    marker_id: sa.BindParameter[str] = sa.bindparam("marker_id")
    if descending:
        return sa.and_(
            key <= marker_key, sa.or_(key < marker_key, _jobs.id < marker_id)
        )
    return sa.and_(
        key >= marker_key, sa.or_(key > marker_key, _jobs.id > marker_id)
    )


def _ordered(
    shape: _Shape, statement: sa.Select[Any], *columns: sa.ColumnElement[Any]
) -> sa.Select[Any]:
    order = sa.desc if shape.descending else sa.asc
    limit = sa.bindparam("limit", type_=sa.Integer)
    return statement.order_by(*map(order, columns)).limit(limit)
