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

"""The jobs, for users and operators."""

import dataclasses
import datetime
import functools
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Sequence
from typing import Any
from typing import Final

import sqlalchemy as sa
from oslo_db import exception as db_exc
from oslo_utils import uuidutils

from image_replicator import events
from image_replicator import exception
from image_replicator.authority import Authority
from image_replicator.db import admissions
from image_replicator.db import authorities
from image_replicator.db import claim_order
from image_replicator.db import database
from image_replicator.db import errors
from image_replicator.db import idempotency
from image_replicator.db import listing
from image_replicator.db import models
from image_replicator.db import statements
from image_replicator.db import times
from image_replicator.db import transitions
from image_replicator.jobs import CANCELABLE
from image_replicator.jobs import Job
from image_replicator.jobs import JobStatus
from image_replicator.jobs import NewJob
from image_replicator.jobs import Present
from image_replicator.jobs import Priority
from image_replicator.jobs import RETRYABLE

_jobs: Final = models.Job.__table__.c

#: The columns that a further run of a job resets.
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
    "read_region_id": None,
    "read_image_id": None,
    "started_at": None,
    "finished_at": None,
}


@dataclasses.dataclass(frozen=True)
class Creation:
    """A job that is to be created.

    :ivar authority: the right with which the copy is made; None for a job
        without one.
    :ivar present: the image at the destination that makes the copy needless;
        the job is over at once.
    """

    new: NewJob
    authority: Authority | None = None
    present: Present | None = None


@dataclasses.dataclass(frozen=True)
class Once:
    """A request that is answered once.

    :ivar answer: returns the body of the answer, given the new jobs' ids.
    """

    key: idempotency.Key
    answer: Callable[[Sequence[str]], str]


def _queued(priority: Priority) -> dict[str, Any]:
    """Return the columns of a job that begins to wait."""
    if priority is Priority.BACKGROUND:
        return {
            "tier": claim_order.BACKGROUND_TIER,
            "background_since": times.utcnow(),
        }
    return {"tier": claim_order.INTERACTIVE, "background_since": None}


def _skipped(present: Present) -> dict[str, Any]:
    """Return the columns of a job that is over, as the image is there."""
    return {
        "status": JobStatus.REPLICATED,
        "active": None,
        "turn": 0,
        "finished_at": times.utcnow(),
        **statements.skipped(present),
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

    def create(
        self,
        new: NewJob,
        at_most: int = 0,
        authority: Authority | None = None,
    ) -> str:
        """Commit one job; see :meth:`create_all`.

        :returns: the job's id.
        """
        (job,) = self.create_all([Creation(new, authority)], at_most)
        return job.id

    def create_all(
        self,
        creations: Sequence[Creation],
        at_most: int = 0,
        once: Once | None = None,
        *,
        rehearsal: bool = False,
    ) -> list[Job]:
        """Commit jobs, which puts them into the queue: all of them, or none.

        :param creations: of one source tenant.
        :param at_most: the most active jobs that the tenant may have; 0 for
            any number. The limit also holds for requests at the same time.
        :param once: the request's key, if it has one.
        :param rehearsal: commit nothing, but raise what would be raised.
        :returns: the jobs, in the same order.
        :raises DuplicateJob: if a job for the same copy is active.
        :raises TooManyJobs: if the tenant would have more than that.
        :raises KeyTaken: if another request has used the key.
        """
        rows = self._new_rows(creations)
        ids = [row["id"] for row in rows]

        def write(guard: admissions.Guard) -> list[Job]:
            def begin(connection: sa.Connection) -> None:
                # The key comes first: a request that is too late must not be
                # told that the first one's jobs are under way.
                if once:
                    answer = once.answer(ids)
                    idempotency.remember(connection, once.key, answer)
                guard(connection)

            def end(connection: sa.Connection) -> None:
                for job_id, creation in zip(ids, creations, strict=True):
                    authorities.add(connection, job_id, creation.authority)

            return self._transitions.create(
                rows, begin, end, rehearsal=rehearsal
            )

        return self._admissions.within(
            creations[0].new.source_tenant_id,
            at_most,
            write,
            sum(1 for row in rows if row["active"]),
            rehearsal=rehearsal,
        )

    def _new_rows(self, creations: Sequence[Creation]) -> list[dict[str, Any]]:
        """Return the columns of new jobs."""
        turns: dict[tuple[str, Priority], int] = {}
        rows = []
        for creation in creations:
            new = creation.new
            row = {
                **dataclasses.asdict(new),
                "id": uuidutils.generate_uuid(),
                "status": JobStatus.REPLICATE_REQUESTED,
                "active": True,
                "bytes_copied": 0,
                "claim_number": 0,
                "uncounted_claims": 0,
                "created_at": times.utcnow(),
                "updated_at": times.utcnow(),
            }
            if creation.present:
                row |= _skipped(creation.present)
            else:
                # A tenant's jobs have turns one after the other.
                kind = (new.destination_region_id, new.priority)
                if kind not in turns:
                    turns[kind] = self._turn(new)
                row |= {"turn": turns[kind], **_queued(new.priority)}
                turns[kind] += 1
            rows.append(row)
        return rows

    def _turn(self, job: NewJob) -> int:
        """Return the turn of a tenant's new job."""
        with self._database.reader() as connection:
            return claim_order.new_turn(
                connection,
                job.source_tenant_id,
                job.destination_region_id,
                job.priority is Priority.BACKGROUND,
            )

    def get(self, job_id: str) -> Job:
        """Return a job.

        :raises JobNotFound: if there is none with this id.
        """
        rows = self._database.read(statements.JOB_BY_ID, {"job_id": job_id})
        return statements.the_job(rows, job_id)

    def list(self, page: listing.Page) -> list[Job]:
        """Return a page of jobs."""
        rows = self._database.read(*listing.query(page))
        return [statements.job(row) for row in rows]

    def request_cancel(self, job_id: str) -> None:
        """Request the cancelation of a job.

        :raises JobNotFound: if there is none with this id.
        :raises Conflict: if the job's status does not allow it any more.
        """
        while (job := self.get(job_id)).status in CANCELABLE:
            # If the status is another by now, a worker has changed it since.
            if self._transitions.change(
                job_id, job.status, JobStatus.CANCEL_REQUESTED
            ):
                return
        raise exception.Conflict(
            f"The job is {job.status} and cannot be canceled; only one that "
            "is replicate_requested or replicating can."
        )

    def request_retry(
        self,
        job_id: str,
        at_most: int = 0,
        authority: Authority | None = None,
    ) -> None:
        """Queue a job that is over again, as a new run of it.

        The row still names an image that an earlier run left at the
        destination. A worker removes it before it creates another one.

        :param at_most: as for :meth:`create`.
        :param authority: takes the place of that of the run before.
        :raises JobNotFound: if there is none with this id.
        :raises NotRetryable: if the job is not over, or was successful.
        :raises DuplicateJob: if another job for the same copy is active.
        :raises TooManyJobs: if the tenant has that many already.
        """
        while (job := self.get(job_id)).status in RETRYABLE:
            if self._begin_run(job, at_most, authority):
                return
        raise exception.NotRetryable(job.status)

    def _begin_run(
        self, job: Job, at_most: int, authority: Authority | None
    ) -> bool:
        values: dict[str, Any] = {
            **_NEW_RUN,
            "active": True,
            "turn": self._turn(job),
            **_queued(job.priority),
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
                    also=functools.partial(
                        authorities.replace,
                        job_id=job.id,
                        authority=authority,
                    ),
                    **values,
                ),
            )
        except db_exc.DBDuplicateEntry as error:
            raise exception.DuplicateJob() from error
        return changed is not None

    def queue_positions(self, jobs: Collection[Job]) -> dict[str, int]:
        """Return the positions in the queue, from 1, of the jobs that wait.

        :param jobs: any jobs.
        :returns: by the job's id; without jobs that wait behind the first
            :data:`claim_order.COUNTED`.
        """
        ids = [
            job.id
            for job in jobs
            if job.status is JobStatus.REPLICATE_REQUESTED
        ]
        if not ids:
            return {}
        rows = self._database.read(claim_order.positions(ids))
        return {row.id: row.position for row in rows}

    # For operators.

    @errors.retry_on_deadlock
    def purge(self, older_than: datetime.timedelta, limit: int) -> int:
        """Delete finished jobs, oldest first.

        :param older_than: the least time since they finished, by the
            database's clock.
        :param limit: the most jobs to delete, so that no lock is held for
            long.
        :returns: the number of jobs that it found; 0 when none is left.
        """
        # It takes two transactions, as one that writes must not begin with a
        # read.
        with self._database.reader() as connection:
            now = connection.scalars(sa.select(times.utcnow())).one()
            # Only the index on finished_at helps; coalesce() prevents the use
            # of another one.
            purgeable = (
                _jobs.finished_at < now - older_than,
                _jobs.active.is_(None),
                # Otherwise the image that it left at the destination would be
                # lost from sight.
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
        """Return those of some destination images that a job's row names."""
        known: set[str] = set()
        # The first column has an index. The second needs a scan of all jobs,
        # so it is used only for the images that are left, which are few.
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
