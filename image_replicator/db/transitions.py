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

"""The one way to change a job's status.

Each change is one compare-and-swap: an UPDATE whose condition names the old
status (and, for a worker, the claim), and whose row count tells whether it
took effect. This works alike on SQLite, Galera and PostgreSQL, needs no lock,
and cannot be interrupted halfway. The condition names a single status, so the
status before the change is always known.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Final

import sqlalchemy as sa
from oslo_db import exception as db_exc

from image_replicator import events
from image_replicator import exception
from image_replicator.db import admissions
from image_replicator.db import authorities
from image_replicator.db import database
from image_replicator.db import errors
from image_replicator.db import models
from image_replicator.db import statements
from image_replicator.db import times
from image_replicator.jobs import ACTIVE
from image_replicator.jobs import FINAL
from image_replicator.jobs import Job
from image_replicator.jobs import JobStatus
from image_replicator.jobs import TRANSITIONS

_jobs: Final = models.Job.__table__.c

#: A part of a transaction.
Step = Callable[[sa.Connection], None]


class _Rehearsed(Exception):
    """The transaction has come to its end, and is undone.

    :param jobs: as they would be.
    """

    def __init__(self, jobs: list[Job]) -> None:
        super().__init__()
        self.jobs = jobs


class Transitions:
    """Makes the changes of status, and publishes each after its commit."""

    def __init__(
        self, database: database.Database, events: events.Events
    ) -> None:
        self._database = database
        self._events = events

    def create(
        self,
        rows: Sequence[Mapping[str, Any]],
        guard: admissions.Guard | None = None,
        also: Step | None = None,
        *,
        rehearsal: bool = False,
    ) -> list[Job]:
        """Insert jobs: all, or none if one of them is refused.

        :param rows: the columns of each.
        :param guard: may refuse the jobs; called first in the transaction.
        :param also: writes what belongs to the jobs; called last in the
            transaction.
        :param rehearsal: undo the transaction, and publish nothing.
        :raises DuplicateJob: if a job for the same copy is active.
        """
        try:
            jobs = self._insert(rows, guard, also, rehearsal)
        except _Rehearsed as end:
            return end.jobs
        for job in jobs:
            self._publish(job, None)
        return jobs

    def change(
        self,
        job_id: str,
        old: JobStatus,
        new: JobStatus,
        *where: sa.ColumnElement[bool],
        guard: admissions.Guard | None = None,
        also: Step | None = None,
        **values: Any,
    ) -> Job | None:
        """Change a job's status, if it is still the one that was read.

        :param old: the same as ``new`` if only the owner changes.
        :param where: further conditions on the job.
        :param guard: as for :meth:`create`.
        :param also: as for :meth:`create`.
        :param values: columns to write with the status.
        :returns: the job after the change; None if it was not changed.
        :raises ValueError: if this change of status is not allowed.
        """
        if not _exists(old, new):
            raise ValueError(f"no job goes from {old} to {new}")
        where = (_jobs.id == job_id, _jobs.status == old, *where)
        values = {**values, **_implied(new)}
        job = self._update(job_id, where, guard, also, values)
        if job is not None and old is not new:
            self._publish(job, old)
        return job

    def _publish(self, job: Job, old: JobStatus | None) -> None:
        self._events.publish(events.StatusChange(job, old, job.status))

    @errors.retry_on_deadlock
    def _insert(
        self,
        rows: Sequence[Mapping[str, Any]],
        guard: admissions.Guard | None,
        also: Step | None,
        rehearsal: bool,
    ) -> list[Job]:
        with self._database.writer() as connection:
            if guard:
                guard(connection)
            for place, row in enumerate(rows):
                _insert_job(connection, row, place)
            if also:
                also(connection)
            jobs = [statements.get(connection, row["id"]) for row in rows]
            if rehearsal:
                raise _Rehearsed(jobs)
            return jobs

    @errors.retry_on_deadlock
    def _update(
        self,
        job_id: str,
        where: tuple[sa.ColumnElement[bool], ...],
        guard: admissions.Guard | None,
        also: Step | None,
        values: dict[str, Any],
    ) -> Job | None:
        with self._database.writer() as connection:
            if guard:
                guard(connection)
            if not statements.update(connection, *where, **values):
                return None
            if also:
                also(connection)
            job = statements.get(connection, job_id)
            if job.status in FINAL and job.reserved_image_id is None:
                authorities.delete(connection, job_id)
            return job


def _insert_job(
    connection: sa.Connection, row: Mapping[str, Any], place: int
) -> None:
    """Insert a job.

    :raises DuplicateJob: if a job for the same copy is active.
    """
    try:
        connection.execute(sa.insert(models.Job).values(row))
    except db_exc.DBDuplicateEntry as error:
        raise exception.DuplicateJob(place) from error


def _exists(old: JobStatus, new: JobStatus) -> bool:
    """Tell whether a change is allowed; an active job may change its owner."""
    return new in TRANSITIONS[old] or (old is new and new in ACTIVE)


def _implied(new: JobStatus) -> dict[str, Any]:
    """Return the columns that must be written with a status."""
    values: dict[str, Any] = {"status": new}
    if new in FINAL:
        values |= {
            "active": None,
            "background_since": None,
            "finished_at": times.utcnow(),
            "lease_expires_at": None,
            **statements.WAITING_FOR_NONE,
        }
    if new not in statements.COPYING:
        values |= {"slot": None}
    return values
