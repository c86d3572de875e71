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

"""The list of workers, for operators. No code decides by it."""

import dataclasses
from collections.abc import Sequence
from typing import Final
from typing import NamedTuple

import sqlalchemy as sa

from image_replicator.db import database
from image_replicator.db import errors
from image_replicator.db import models
from image_replicator.db import times
from image_replicator.jobs import ACTIVE
from image_replicator.jobs import JobStatus
from image_replicator.jobs import RegisteredWorker
from image_replicator.jobs import WorkerDescription

_jobs: Final = models.Job.__table__.c
_workers: Final = models.Worker.__table__

#: The statuses of jobs on which a worker may be working.
_OWNED: Final = ACTIVE - {JobStatus.REPLICATE_REQUESTED}


class ListedWorker(NamedTuple):
    """A worker, with the jobs that it owns.

    :ivar silence: seconds since its last sign of life.
    :ivar job_ids: of the jobs that it owns.
    """

    worker: RegisteredWorker
    silence: float
    job_ids: Sequence[str]


class WorkerRegistry:
    """The workers that use one database."""

    def __init__(self, database: database.Database) -> None:
        self._database = database

    @errors.retry_on_deadlock
    def register(self, worker: WorkerDescription) -> None:
        """Record a sign of life of a worker; add the worker if it is new.

        :raises DBError: if the database cannot be used.
        """
        with self._database.writer() as connection:
            seen = connection.execute(
                sa.update(models.Worker)
                .where(models.Worker.id == worker.id)
                .values(seen_at=times.utcnow())
            )
            if not seen.rowcount:
                connection.execute(
                    sa.insert(models.Worker).values(
                        started_at=times.utcnow(),
                        seen_at=times.utcnow(),
                        **dataclasses.asdict(worker),
                    )
                )

    @errors.retry_on_deadlock
    def unregister(self, worker_id: str) -> None:
        """Remove a worker that has ended normally."""
        with self._database.writer() as connection:
            connection.execute(
                sa.delete(models.Worker).where(models.Worker.id == worker_id)
            )

    @errors.retry_on_deadlock
    def forget_silent(self, seconds: float) -> None:
        """Remove the workers that gave no sign of life for some seconds."""
        silent = models.Worker.seen_at < times.from_now(-seconds)
        # There is rarely one, and a SELECT first locks no row of a live
        # worker.
        with self._database.reader() as connection:
            ids = connection.scalars(
                sa.select(models.Worker.id).where(silent)
            ).all()
        if ids:
            with self._database.writer() as connection:
                connection.execute(
                    sa.delete(models.Worker).where(
                        models.Worker.id.in_(ids), silent
                    )
                )

    def list(self) -> list[ListedWorker]:
        """Return all workers, sorted by id."""
        with self._database.reader() as connection:
            now = connection.scalars(sa.select(times.utcnow())).one()
            rows = connection.execute(
                sa.select(_workers).order_by(models.Worker.id)
            ).all()
            owned = connection.execute(
                sa.select(_jobs.worker_id, _jobs.id).where(
                    _jobs.status.in_(_OWNED), _jobs.worker_id.is_not(None)
                )
            ).all()
        job_ids: dict[str, list[str]] = {row.id: [] for row in rows}
        for job in owned:
            job_ids.setdefault(job.worker_id, []).append(job.id)
        return [
            ListedWorker(
                RegisteredWorker(**row._mapping),
                (now - row.seen_at).total_seconds(),
                job_ids[row.id],
            )
            for row in rows
        ]
