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

"""The limit on a tenant's active jobs."""

import functools
from collections.abc import Callable
from typing import Any
from typing import Final
from typing import TypeVar

import sqlalchemy as sa
from oslo_db import exception as db_exc

from image_replicator import exception
from image_replicator.db import database
from image_replicator.db import errors
from image_replicator.db import models
from image_replicator.jobs import ACTIVE

T = TypeVar("T")

#: Runs in a transaction before it writes a job; may raise to refuse the job.
Guard = Callable[[sa.Connection], None]

_jobs: Final = models.Job.__table__.c
_tenants: Final = models.Tenant.__table__.c


class _UnknownTenant(Exception):
    """The tenant has no row yet."""


class Admissions:
    """Keeps each tenant within the limit on its active jobs.

    One transaction first updates the tenant's row, then counts its active
    jobs, and then writes the new job. Transactions for one tenant at the same
    time are serialised: the second waits for the first to commit, or, on
    another node of Galera, fails at its own commit and is tried again.
    """

    def __init__(self, database: database.Database) -> None:
        self._database = database

    def within(
        self,
        tenant_id: str,
        at_most: int,
        write: Callable[[Guard], T],
        more: int = 1,
        *,
        rehearsal: bool = False,
    ) -> T:
        """Write jobs, if their tenant may have that many more active jobs.

        :param at_most: the most active jobs; 0 for any number.
        :param write: writes the jobs; calls the guard that it gets first in
            its transaction.
        :param more: the number of active jobs that are written.
        :param rehearsal: whether the transaction is undone.
        :returns: the result of ``write``.
        :raises TooManyJobs: if the tenant would have more than it may.
        """
        if not at_most or not more:
            return write(lambda _connection: None)
        guard = functools.partial(_admit, tenant_id, at_most, more, rehearsal)
        try:
            return write(guard)
        except _UnknownTenant:
            self._add(tenant_id)
            return write(guard)

    @errors.retry_on_deadlock
    def _add(self, tenant_id: str) -> None:
        try:
            with self._database.writer() as connection:
                connection.execute(
                    sa.insert(models.Tenant).values(id=tenant_id, admissions=0)
                )
        except db_exc.DBDuplicateEntry:
            # Another request has inserted the row.
            return


def _admit(
    tenant_id: str,
    at_most: int,
    more: int,
    rehearsal: bool,
    connection: sa.Connection,
) -> None:
    counted = connection.execute(
        sa.update(models.Tenant)
        .where(_tenants.id == tenant_id)
        .values(admissions=_tenants.admissions + 1)
    )
    # A rehearsal must not leave a row behind.
    if not counted.rowcount and not rehearsal:
        raise _UnknownTenant(tenant_id)
    active = connection.scalar(_count(tenant_id, at_most)) or 0
    if active + more > at_most:
        raise exception.TooManyJobs(at_most, active, more)


def _count(tenant_id: str, at_most: int) -> sa.Select[Any]:
    """Return the query that counts a tenant's active jobs, up to a limit."""
    active = (
        sa.select(_jobs.id)
        .where(_jobs.source_tenant_id == tenant_id, _jobs.status.in_(ACTIVE))
        .limit(at_most)
        .subquery()
    )
    return sa.select(sa.func.count()).select_from(active)
