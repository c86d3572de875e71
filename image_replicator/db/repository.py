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

"""The jobs, kept in SQL: what users and operators do with them.

Methods are named after what happens to a job. Each change of status is one
compare-and-swap: an UPDATE that names the status (and, for a worker, the
claim) that it starts from, and counts the rows it changed. That is right on
SQLite, Galera and PostgreSQL alike, needs no lock, and leaves nothing half
done wherever the process dies.
"""

import dataclasses
import datetime
from collections.abc import Collection
from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from oslo_config import cfg
from oslo_db import exception as db_exc
from oslo_utils import uuidutils

from image_replicator import exception
from image_replicator.db import engines
from image_replicator.db import errors
from image_replicator.db import listing
from image_replicator.db import models
from image_replicator.db import statements
from image_replicator.db import waiting
from image_replicator.jobs import ACTIVE
from image_replicator.jobs import CANCELABLE
from image_replicator.jobs import Job
from image_replicator.jobs import JobStatus
from image_replicator.jobs import NewJob
from image_replicator.jobs import RETRYABLE
from image_replicator.jobs import Worker

_jobs: Final = models.Job.__table__.c

#: What of a run that is over a new one begins without.
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

#: A worker may be working on a job.
_OWNED: Final = ACTIVE - {JobStatus.REPLICATE_REQUESTED}


class JobRepository:
    """The jobs of one database.

    Opens no connection before its first use, as Glance's server forks.

    :param conf: has ``[database]``.
    :raises ConfigurationError: if SQLite's directory cannot be used.
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._database = engines.Database(conf)

    @property
    def engine(self) -> sa.Engine:
        """The engine of the database."""
        return self._database.engine

    # What users do.

    @errors.retry_on_deadlock
    def create(self, new: NewJob, at_most: int = 0) -> str:
        """Commit a job and thereby queue it.

        :param at_most: active jobs that the tenant may have; 0 for any
            number. Requests that come at the same moment may exceed it.
        :returns: the job's id.
        :raises DuplicateJob: if the same copy is already under way.
        :raises TooManyJobs: if the tenant has as many as it may.
        """
        job_id = uuidutils.generate_uuid()
        row = {
            **dataclasses.asdict(new),
            "id": job_id,
            "status": JobStatus.REPLICATE_REQUESTED,
            "active": True,
            "bytes_copied": 0,
            "turn": self._admit(new, at_most),
            "attempts": 0,
            "attempts_uncounted": 0,
            "created_at": models.utcnow(),
            "updated_at": models.utcnow(),
        }
        try:
            with self._database.writer() as connection:
                connection.execute(sa.insert(models.Job).values(row))
        except db_exc.DBDuplicateEntry as error:
            raise exception.DuplicateJob() from error
        return job_id

    def _admit(self, job: NewJob, at_most: int) -> int:
        """Return the turn of one more job of a tenant.

        The turn that is being served in its destination region, or the one
        behind the tenant's last there: so one tenant's thousand jobs do not
        stand before another's first.
        """
        tenant_id = job.source_tenant_id
        with self._database.reader() as connection:
            active = at_most and connection.scalar(
                statements.count_active(tenant_id)
            )
            turns = connection.execute(
                waiting.TURNS,
                {"tenant": tenant_id, "region": job.destination_region_id},
            ).one()
        if at_most and active >= at_most:
            raise exception.TooManyJobs(at_most)
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

    @errors.retry_on_deadlock
    def request_cancel(self, job_id: str) -> None:
        """Note that a job is to stop.

        :raises JobNotFound: if there is none with this id.
        :raises Conflict: if the job is past canceling.
        """
        with self._database.writer() as connection:
            changed = statements.change(
                connection,
                CANCELABLE,
                JobStatus.CANCEL_REQUESTED,
                _jobs.id == job_id,
            )
            if changed:
                return
            job = statements.get(connection, job_id)
        raise exception.Conflict(
            f"The job is {job.status} and cannot be canceled; only one that "
            "is replicate_requested or replicating can."
        )

    @errors.retry_on_deadlock
    def request_retry(self, job_id: str, at_most: int = 0) -> None:
        """Queue a job that is over once more, as a new run of it.

        What an earlier run left at the destination stays named in the row,
        and is removed before anything is made there.

        :param at_most: as for :meth:`create`.
        :raises JobNotFound: if there is none with this id.
        :raises NotRetryable: if the job is not over, or was successful.
        :raises DuplicateJob: if the same copy is under way by now.
        :raises TooManyJobs: if the tenant has as many as it may.
        """
        job = self.get(job_id)
        if job.status not in RETRYABLE:
            raise exception.NotRetryable(job.status)
        turn = self._admit(job, at_most)
        try:
            with self._database.writer() as connection:
                changed = statements.change(
                    connection,
                    RETRYABLE,
                    JobStatus.REPLICATE_REQUESTED,
                    _jobs.id == job_id,
                    active=True,
                    turn=turn,
                    attempts_uncounted=_jobs.attempts,
                    **_NEW_RUN,
                )
                if changed:
                    return
                job = statements.get(connection, job_id)
        except db_exc.DBDuplicateEntry as error:
            raise exception.DuplicateJob() from error
        raise exception.NotRetryable(job.status)

    def queue_positions(self, jobs: Collection[Job]) -> dict[str, int]:
        """Return the places in the queue, from 1, of those that wait.

        :param jobs: any jobs.
        :returns: by the job's id.
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
                for row in connection.execute(waiting.positions(ids))
            }

    # What operators do.

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

    def workers(self) -> Sequence[tuple[Worker, float, Sequence[str]]]:
        """Return the fleet: each worker, its silence and its jobs.

        :returns: in the order of their ids, with the seconds since the last
            sign of life, and the ids of the jobs that each works on.
        """
        with self._database.reader() as connection:
            now = connection.scalars(sa.select(models.utcnow())).one()
            rows = connection.execute(
                sa.select(models.Worker.__table__).order_by(models.Worker.id)
            ).all()
            owned = connection.execute(
                sa.select(_jobs.worker_id, _jobs.id).where(
                    _jobs.status.in_(_OWNED), _jobs.worker_id.is_not(None)
                )
            ).all()
        working_on: dict[str, list[str]] = {row.id: [] for row in rows}
        for job in owned:
            working_on.setdefault(job.worker_id, []).append(job.id)
        return [
            (
                Worker(**row._mapping),
                (now - row.seen_at).total_seconds(),
                working_on[row.id],
            )
            for row in rows
        ]

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
