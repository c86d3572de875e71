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

"""The jobs, as users and operators use them."""

import dataclasses
import datetime
import functools
from collections.abc import Collection
from typing import Any
from typing import Final

import sqlalchemy as sa
from oslo_db import exception as db_exc
from oslo_utils import uuidutils

from image_replicator import events
from image_replicator import exception
from image_replicator.db import admissions
from image_replicator.db import claim_order
from image_replicator.db import database
from image_replicator.db import errors
from image_replicator.db import listing
from image_replicator.db import models
from image_replicator.db import statements
from image_replicator.db import transitions
from image_replicator.jobs import CANCELABLE
from image_replicator.jobs import Job
from image_replicator.jobs import JobStatus
from image_replicator.jobs import NewJob
from image_replicator.jobs import RETRYABLE

_jobs: Final = models.Job.__table__.c

#: The columns that a further run of a job sets back.
_NEW_RUN: Final = {
    "worker_id": None,
    "bytes_copied": 0,
    "bytes_per_second": None,
    "retry_at": None,
    "error_code": None,
    "error_message": None,
    "verification_algorithm": None,
    "verification_source": None,
    "verification_destination": None,
    "started_at": None,
    "finished_at": None,
}


class JobStore:
    """The jobs of one database.

    :param events: is told of each change of a job's status.
    """

    def __init__(
        self, database: database.Database, events: events.Events
    ) -> None:
        self._database = database
        self._transitions = transitions.Transitions(database, events)
        self._admissions = admissions.Admissions(database)

    # For users.

    def create(self, new: NewJob, at_most: int = 0) -> str:
        """Commit a job and thereby queue it.

        :param at_most: active jobs that the tenant may have; 0 for any
            number. It holds however many requests come at once.
        :returns: the job's id.
        :raises DuplicateJob: if the same copy is already under way.
        :raises TooManyJobs: if the tenant has as many as it may.
        """
        row = {
            **dataclasses.asdict(new),
            "id": uuidutils.generate_uuid(),
            "status": JobStatus.REPLICATE_REQUESTED,
            "active": True,
            "bytes_copied": 0,
            "turn": self._turn(new),
            "claim_number": 0,
            "uncounted_claims": 0,
            "created_at": models.utcnow(),
            "updated_at": models.utcnow(),
        }
        try:
            return self._admissions.within(
                new.source_tenant_id,
                at_most,
                functools.partial(self._transitions.create, row),
            ).id
        except db_exc.DBDuplicateEntry as error:
            raise exception.DuplicateJob() from error

    def _turn(self, job: NewJob) -> int:
        """Return the turn of one more job of a tenant.

        It is the turn that is being served in the destination region, or the
        one behind the tenant's last there: so one tenant's thousand jobs do
        not stand before another's first.
        """
        with self._database.reader() as connection:
            turns = connection.execute(
                claim_order.TURNS,
                {
                    "tenant": job.source_tenant_id,
                    "region": job.destination_region_id,
                },
            ).one()
        own = (turns.last_waiting, turns.last_running)
        behind = [last + 1 for last in own if last is not None]
        turn: int = max([turns.current, *behind])
        return turn

    def get(self, job_id: str) -> Job:
        """Return a job.

        :raises JobNotFound: if there is none with this id.
        """
        with self._database.reader() as connection:
            return statements.get(connection, job_id)

    def list(self, page: listing.Page) -> list[Job]:
        """Return a page of jobs: a key seek, wherever the page lies."""
        with self._database.reader() as connection:
            rows = connection.execute(*listing.query(page))
            return [statements.job(row) for row in rows]

    def request_cancel(self, job_id: str) -> None:
        """Ask for a job to stop.

        :raises JobNotFound: if there is none with this id.
        :raises Conflict: if the job is past canceling.
        """
        while (job := self.get(job_id)).status in CANCELABLE:
            # Where it is not what it was read as, a worker was quicker.
            if self._transitions.change(
                job_id, job.status, JobStatus.CANCEL_REQUESTED
            ):
                return
        raise exception.Conflict(
            f"The job is {job.status} and cannot be canceled; only one that "
            "is replicate_requested or replicating can."
        )

    def request_retry(self, job_id: str, at_most: int = 0) -> None:
        """Queue a job that is over once more, as a new run of it.

        An image that an earlier run left at the destination stays named in
        the row, and is removed before anything is made there.

        :param at_most: as for :meth:`create`.
        :raises JobNotFound: if there is none with this id.
        :raises NotRetryable: if the job is not over, or was successful.
        :raises DuplicateJob: if the same copy is under way by now.
        :raises TooManyJobs: if the tenant has as many as it may.
        """
        while (job := self.get(job_id)).status in RETRYABLE:
            if self._begin_run(job, at_most):
                return
        raise exception.NotRetryable(job.status)

    def _begin_run(self, job: Job, at_most: int) -> bool:
        values: dict[str, Any] = {
            **_NEW_RUN,
            "active": True,
            "turn": self._turn(job),
            "uncounted_claims": _jobs.claim_number,
        }
        try:
            changed = self._admissions.within(
                job.source_tenant_id,
                at_most,
                lambda guard: self._transitions.change(
                    job.id,
                    job.status,
                    JobStatus.REPLICATE_REQUESTED,
                    guard=guard,
                    **values,
                ),
            )
        except db_exc.DBDuplicateEntry as error:
            raise exception.DuplicateJob() from error
        return changed is not None

    def queue_positions(self, jobs: Collection[Job]) -> dict[str, int]:
        """Return the places in the queue, from 1, of those that wait.

        :param jobs: any jobs.
        :returns: by the job's id; without those that wait behind the first
            :data:`claim_order.COUNTED`.
        """
        ids = [
            job.id
            for job in jobs
            if job.status is JobStatus.REPLICATE_REQUESTED
        ]
        if not ids:
            return {}
        with self._database.reader() as connection:
            return {
                row.id: row.position
                for row in connection.execute(claim_order.positions(ids))
            }

    # For operators.

    @errors.retry_on_deadlock
    def purge(self, older_than: datetime.timedelta, limit: int) -> int:
        """Delete finished jobs, oldest first.

        :param older_than: time since they finished, by the database's clock.
        :param limit: how many at most, so that no lock is held for long.
        :returns: how many it found to delete; 0 when none is left.
        """
        # Two transactions, as one that writes must not begin by reading.
        with self._database.reader() as connection:
            now = connection.scalars(sa.select(models.utcnow())).one()
            # No index but the first's is of use, and none is to be taken.
            purgeable = (
                _jobs.finished_at < now - older_than,
                _jobs.active.is_(None),
                # Else nobody would know of what it left at the destination.
                sa.func.coalesce(_jobs.reserved_image_id, "") == "",
            )
            ids = connection.scalars(
                sa.select(_jobs.id)
                .where(*purgeable)
                .order_by(_jobs.finished_at)
                .limit(limit)
            ).all()
        with self._database.writer() as connection:
            connection.execute(
                sa.delete(models.Job).where(_jobs.id.in_(ids), *purgeable)
            )
        return len(ids)

    def known_images(self, image_ids: Collection[str]) -> set[str]:
        """Return those of some destination images that a job answers for."""
        known: set[str] = set()
        # The first has an index, the second has to read all jobs; it is left
        # with what hardly ever is there.
        for column in (_jobs.reserved_image_id, _jobs.destination_image_id):
            left = set(image_ids) - known
            if left:
                with self._database.reader() as connection:
                    known |= set(
                        connection.scalars(
                            sa.select(column).where(column.in_(left))
                        )
                    )
        return known
