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

"""The jobs, kept in SQL: what workers do with those that nobody holds."""

import dataclasses
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Sequence
from collections.abc import Set
from typing import Any
from typing import Final

import sqlalchemy as sa
from oslo_config import cfg
from oslo_db import exception as db_exc
from oslo_utils import uuidutils

from image_replicator.db import errors
from image_replicator.db import held
from image_replicator.db import listing
from image_replicator.db import models
from image_replicator.db import slots
from image_replicator.db import statements
from image_replicator.db import waiting
from image_replicator.jobs import Claim
from image_replicator.jobs import Job
from image_replicator.jobs import JobStatus
from image_replicator.jobs import NewWorker

_jobs: Final = models.Job.__table__.c

#: How many waiting jobs a worker looks at before it looks anew: with one,
#: workers that look at the same time would all want the same job.
_CANDIDATES: Final = 8

_OVER: Final = _jobs.active.is_(None)

_TO_BE_CANCELED: Final = frozenset(
    {JobStatus.CANCEL_REQUESTED, JobStatus.CANCELING}
)


class JobQueue(held.HeldJobs):
    """The jobs of one database, as workers need them.

    :param conf: has ``[database]`` and ``[worker]``.
    :raises ConfigurationError: if SQLite's directory cannot be used.
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__(conf)
        self._regions = tuple(conf.worker.destination_regions) or None
        self._slots = slots.Slots(
            self._database, conf.worker.max_copies_per_region
        )

    def claim_next(self, worker_id: str) -> tuple[Job, Claim] | None:
        """Take the job whose turn it is; it is then ``replicating``.

        :returns: the job and the hold on it; None when nothing waits for
            this worker, or no region has room for another copy.
        """
        # Where all that we saw waiting went to others, more may wait behind.
        while found := self._seen(waiting.copies, self._open_regions()):
            for job_id, region in found:
                try:
                    claimed = self._claim_copy(worker_id, job_id, region)
                except slots.NoSlot:
                    # The region was filled since we looked.
                    break
                if claimed:
                    return claimed
        return None

    def _open_regions(self) -> tuple[str, ...] | None:
        return self._slots.open_regions(self._regions)

    def _claim_copy(
        self, worker_id: str, job_id: str, region: str
    ) -> tuple[Job, Claim] | None:
        try:
            return self._claim(
                worker_id,
                job_id,
                {JobStatus.REPLICATE_REQUESTED},
                JobStatus.REPLICATING,
                started_at=sa.func.coalesce(_jobs.started_at, models.utcnow()),
                slot=self._slots.free_slot(region),
                error_code=None,
                error_message=None,
            )
        except db_exc.DBDuplicateEntry:
            # Another copy was quicker to take this place.
            return None

    def claim_canceled(self, worker_id: str) -> tuple[Job, Claim] | None:
        """Take a job that is to be canceled and that no worker owns.

        :returns: as :meth:`claim_next`; the job is then ``canceling``.
        """
        while found := self._seen(waiting.cancelations, self._regions):
            for job_id, _region in found:
                if claimed := self._claim(
                    worker_id,
                    job_id,
                    _TO_BE_CANCELED,
                    JobStatus.CANCELING,
                    attempts_uncounted=_jobs.attempts_uncounted + 1,
                ):
                    return claimed
        return None

    def _seen(
        self,
        statement: Callable[[tuple[str, ...] | None, int], sa.Select[Any]],
        regions: tuple[str, ...] | None,
    ) -> list[tuple[str, str]]:
        """Return the first jobs that wait, with their regions."""
        if regions == ():
            return []
        with self._database.reader() as connection:
            rows = connection.execute(statement(regions, _CANDIDATES))
            return [(row.id, row.destination_region_id) for row in rows]

    @errors.retry_on_deadlock
    def _claim(
        self,
        worker_id: str,
        job_id: str,
        from_: Set[JobStatus],
        to: JobStatus,
        **values: Any,
    ) -> tuple[Job, Claim] | None:
        """Take one job; None if another was quicker."""
        with self._database.writer() as connection:
            if not statements.change(
                connection,
                from_,
                to,
                _jobs.id == job_id,
                _jobs.worker_id.is_(None),
                worker_id=worker_id,
                # What makes this claim another than any before it.
                attempts=_jobs.attempts + 1,
                lease_expires_at=models.from_now(self._lease_time),
                retry_at=None,
                **values,
            ):
                return None
            job = statements.get(connection, job_id)
        return job, Claim(
            job_id=job_id, worker_id=worker_id, attempt=job.attempts
        )

    def release_expired(
        self, worker_id: str, holding: Collection[str]
    ) -> Sequence[Claim]:
        """Take jobs away from workers whose lease has run out.

        Anyone can claim them then. What such a worker still does is fenced
        off: its claim is no longer good for any write.

        :param worker_id: of who asks.
        :param holding: the jobs that it knows to be working on.
        :returns: the claims that are void now.
        """
        expired = sa.and_(
            _jobs.lease_expires_at < models.utcnow(),
            sa.or_(_jobs.worker_id != worker_id, _jobs.id.not_in(holding)),
        )
        with self._database.reader() as connection:
            found = connection.execute(
                sa.select(_jobs.id, _jobs.worker_id, _jobs.attempts).where(
                    expired
                )
            ).all()
        claims = [
            Claim(job_id=row.id, worker_id=row.worker_id, attempt=row.attempts)
            for row in found
        ]
        return [claim for claim in claims if self._release(claim, expired)]

    @errors.retry_on_deadlock
    def _release(self, claim: Claim, expired: sa.ColumnElement[bool]) -> bool:
        where = (*statements.held(claim), expired)
        with self._database.writer() as connection:
            return statements.change(
                connection,
                {JobStatus.REPLICATING},
                JobStatus.REPLICATE_REQUESTED,
                *where,
                **held.BEGUN_ANEW,
                **held.UNOWNED,
            ) or statements.update(
                connection,
                *where,
                # Not a copy: its lease may have been renewed before the one
                # statement, and have run out before the other.
                _jobs.status.in_(_TO_BE_CANCELED),
                **held.UNOWNED,
            )

    # What the fleet does beside the jobs.

    def left_behind(self, limit: int) -> list[Job]:
        """Return jobs that are over, but not what they made.

        Each call begins elsewhere: workers then do not all try the same, and
        what cannot be removed now does not stand before the rest.

        :param limit: how many at most.
        """
        start = uuidutils.generate_uuid()
        reserved = _jobs.reserved_image_id
        found = self._left_behind(reserved >= start, limit)
        if len(found) < limit:
            found += self._left_behind(reserved < start, limit - len(found))
        return found

    def _left_behind(
        self, where: sa.ColumnElement[bool], limit: int
    ) -> list[Job]:
        statement = (
            sa.select(*listing.COLUMNS)
            .where(where, _OVER)
            .order_by(_jobs.reserved_image_id)
            .limit(limit)
        )
        if self._regions is not None:
            statement = statement.where(
                _jobs.destination_region_id.in_(self._regions)
            )
        with self._database.reader() as connection:
            return [
                statements.job(row) for row in connection.execute(statement)
            ]

    @errors.retry_on_deadlock
    def image_swept(self, job: Job) -> None:
        """Note that what a job left behind is gone.

        :param job: as :meth:`left_behind` returned it.
        """
        with self._database.writer() as connection:
            statements.update(
                connection,
                _jobs.id == job.id,
                _jobs.reserved_image_id == job.reserved_image_id,
                _OVER,
                reserved_image_id=None,
                destination_image_id=None,
            )

    @errors.retry_on_deadlock
    def show_sign_of_life(self, worker: NewWorker) -> None:
        """Tell operators that this worker is there."""
        with self._database.writer() as connection:
            seen = connection.execute(
                sa.update(models.Worker)
                .where(models.Worker.id == worker.id)
                .values(seen_at=models.utcnow())
            )
            if not seen.rowcount:
                connection.execute(
                    sa.insert(models.Worker).values(
                        started_at=models.utcnow(),
                        seen_at=models.utcnow(),
                        **dataclasses.asdict(worker),
                    )
                )

    @errors.retry_on_deadlock
    def say_goodbye(self, worker_id: str) -> None:
        """Tell operators that this worker has ended in good order."""
        with self._database.writer() as connection:
            connection.execute(
                sa.delete(models.Worker).where(models.Worker.id == worker_id)
            )

    @errors.retry_on_deadlock
    def forget_silent_workers(self, seconds: float) -> None:
        """Forget workers that gave no sign of life for so long."""
        silent = models.Worker.seen_at < models.from_now(-seconds)
        # There is hardly ever one: looking takes no lock on those that live.
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
