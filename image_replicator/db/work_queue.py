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

"""The queue of jobs that wait for a worker."""

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

from image_replicator import events
from image_replicator.db import claim_order
from image_replicator.db import database
from image_replicator.db import errors
from image_replicator.db import models
from image_replicator.db import slots
from image_replicator.db import statements
from image_replicator.db import times
from image_replicator.db import transitions
from image_replicator.db import waiting
from image_replicator.jobs import Claim
from image_replicator.jobs import Job
from image_replicator.jobs import JobStatus

_jobs: Final = models.Job.__table__.c

#: The number of waiting jobs that a worker reads at a time. If it were one,
#: workers that read at the same time would all try to claim the same job.
_CANDIDATES: Final = 8

#: The same number if some tenants are passed by. If so many jobs are all of
#: these tenants, the queue is searched tenant by tenant.
_LOOKAHEAD: Final = 64

_TO_BE_CANCELED: Final = frozenset(
    {JobStatus.CANCEL_REQUESTED, JobStatus.CANCELING}
)


class WorkQueue:
    """The jobs of one database that wait for a worker.

    :param events: publishes each change of a job's status.
    :param conf: has ``[worker]``.
    """

    def __init__(
        self,
        database: database.Database,
        events: events.Events,
        conf: cfg.ConfigOpts,
    ) -> None:
        self._database = database
        self._transitions = transitions.Transitions(database, events)
        self._lease_time: float = conf.worker.lease_time
        self._regions = tuple(conf.worker.destination_regions) or None
        self._slots = slots.Slots(database, conf.worker.max_copies_per_region)
        self._waiting = waiting.Waiting(database, conf.transfer)

    def claim_next(
        self, worker_id: str, passed_by: Set[str] = frozenset()
    ) -> tuple[Job, Claim] | None:
        """Claim the next job, which is then ``replicating``.

        :param passed_by: the tenants whose jobs this worker must not claim, as
            it runs as many of theirs as it may.
        :returns: the job and the claim on it; None if no job waits for this
            worker, or no region has a free slot.
        """
        # If others claimed all these jobs, more may wait behind them.
        while found := self._copies(passed_by):
            for row in found:
                try:
                    claimed = self._claim_copy(worker_id, row)
                except slots.NoSlot:
                    # Others have filled the region in the meantime.
                    break
                if claimed:
                    return claimed
        return None

    def _copies(self, passed_by: Set[str]) -> Sequence[sa.Row[Any]]:
        """Return the first copies that can be claimed."""
        regions = self._slots.open_regions(self._regions)
        if not passed_by:
            return self._seen(claim_order.copies, regions)
        seen = self._seen(claim_order.copies, regions, _LOOKAHEAD)
        found = [row for row in seen if row.source_tenant_id not in passed_by]
        if found or len(seen) < _LOOKAHEAD:
            return found[:_CANDIDATES]
        return self._first_of_others(regions, passed_by)

    def _first_of_others(
        self, regions: tuple[str, ...] | None, passed_by: Set[str]
    ) -> Sequence[sa.Row[Any]]:
        """Return the first copy of another tenant to each region, in order."""
        if regions is None:
            regions = tuple(self._slots.waited_for())
        found = [self._of_another(region, passed_by) for region in regions]
        return sorted(
            (row for row in found if row is not None),
            key=lambda row: (row.turn, row.created_at, row.id),
        )

    def _of_another(
        self, region: str, passed_by: Set[str]
    ) -> sa.Row[Any] | None:
        """Return the first copy to a region of a tenant not passed by.

        A copy in the background is returned only if there is no other. The
        search begins at a random tenant, so that no tenant is always the
        first.
        """
        start = uuidutils.generate_uuid(dashed=False)
        for statement in (
            claim_order.NEXT_INTERACTIVE_TENANT,
            claim_order.NEXT_TENANT,
        ):
            for tenant in (start, ""):
                while row := self._next_tenant(statement, region, tenant):
                    if row.source_tenant_id not in passed_by:
                        return row
                    tenant = row.source_tenant_id
        return None

    def _next_tenant(
        self, statement: sa.Select[Any], region: str, tenant: str
    ) -> sa.Row[Any] | None:
        with self._database.reader() as connection:
            return connection.execute(
                statement, {"region": region, "tenant": tenant}
            ).one_or_none()

    def _claim_copy(
        self, worker_id: str, row: sa.Row[Any]
    ) -> tuple[Job, Claim] | None:
        if self._waiting.begin(row):
            return None
        try:
            return self._claim(
                worker_id,
                row,
                JobStatus.REPLICATING,
                started_at=sa.func.coalesce(_jobs.started_at, times.utcnow()),
                slot=self._slots.free_slot(row.destination_region_id),
                error_code=None,
                error_message=None,
                **statements.WAITING_FOR_NONE,
            )
        except db_exc.DBDuplicateEntry:
            # Another copy has taken this slot.
            return None

    def claim_canceled(self, worker_id: str) -> tuple[Job, Claim] | None:
        """Claim a job that is to be canceled and has no owner.

        :returns: as :meth:`claim_next`; the job is then ``canceling``.
        """
        while found := self._seen(claim_order.cancelations, self._regions):
            for row in found:
                if claimed := self._claim(
                    worker_id,
                    row,
                    JobStatus.CANCELING,
                    uncounted_claims=_jobs.uncounted_claims + 1,
                ):
                    return claimed
        return None

    def _seen(
        self,
        statement: Callable[[tuple[str, ...] | None, int], sa.Select[Any]],
        regions: tuple[str, ...] | None,
        limit: int = _CANDIDATES,
    ) -> Sequence[sa.Row[Any]]:
        """Return the first rows of a query of waiting jobs."""
        if regions == ():
            return []
        with self._database.reader() as connection:
            return connection.execute(statement(regions, limit)).all()

    def _claim(
        self, worker_id: str, row: sa.Row[Any], new: JobStatus, **values: Any
    ) -> tuple[Job, Claim] | None:
        """Claim a job; None if another worker has claimed it already."""
        job = self._transitions.change(
            row.id,
            JobStatus(row.status),
            new,
            _jobs.worker_id.is_(None),
            worker_id=worker_id,
            # This number tells the claim from all earlier ones.
            claim_number=_jobs.claim_number + 1,
            lease_expires_at=times.from_now(self._lease_time),
            retry_at=None,
            **values,
        )
        if job is None:
            return None
        return job, Claim(
            job_id=job.id, worker_id=worker_id, claim_number=job.claim_number
        )

    def promote(self, patience: float, limit: int) -> int:
        """Let jobs that have waited in the background for long go on.

        Each gets the turn that it would get as a new interactive job, so that
        the other tenants' jobs are not delayed by many of one tenant's.

        :param patience: seconds that a job waits in the background.
        :param limit: the most jobs to look at.
        :returns: the number of jobs that it found; 0 if there is none.
        """
        with self._database.reader() as connection:
            # The time is read first, as an expression keeps some databases
            # from the index.
            since = connection.scalars(
                sa.select(times.from_now(-patience))
            ).one()
            found = connection.execute(
                claim_order.PATIENT, {"since": since, "limit": limit}
            ).all()
        for row in found:
            self._promote(row)
        return len(found)

    @errors.retry_on_deadlock
    def _promote(self, row: sa.Row[Any]) -> None:
        with self._database.reader() as connection:
            turn = claim_order.new_turn(
                connection,
                row.source_tenant_id,
                row.destination_region_id,
                background=False,
            )
        with self._database.writer() as connection:
            # A worker may have claimed the job, or promoted it, since.
            connection.execute(
                sa.update(models.Job)
                .where(
                    _jobs.id == row.id,
                    _jobs.status == JobStatus.REPLICATE_REQUESTED,
                    _jobs.background_since.is_not(None),
                )
                .values(
                    turn=turn,
                    tier=claim_order.INTERACTIVE,
                    background_since=None,
                )
            )

    def release_expired(
        self, worker_id: str, owned: Collection[str]
    ) -> Sequence[Claim]:
        """Release the jobs whose lease has expired.

        Any worker can claim them afterwards. The worker that owned such a job
        can no longer write to it, as its claim is void.

        :param worker_id: of the worker that calls.
        :param owned: the jobs that this worker is working on.
        :returns: the claims that were ended.
        """
        expired = sa.and_(
            _jobs.lease_expires_at < times.utcnow(),
            sa.or_(_jobs.worker_id != worker_id, _jobs.id.not_in(owned)),
        )
        with self._database.reader() as connection:
            found = connection.execute(
                sa.select(_jobs.id, _jobs.worker_id, _jobs.claim_number).where(
                    expired
                )
            ).all()
        claims = [
            Claim(
                job_id=row.id,
                worker_id=row.worker_id,
                claim_number=row.claim_number,
            )
            for row in found
        ]
        return [claim for claim in claims if self._release(claim, expired)]

    def _release(self, claim: Claim, expired: sa.ColumnElement[bool]) -> bool:
        where = (*statements.owned(claim), expired)
        queued = self._transitions.change(
            claim.job_id,
            JobStatus.REPLICATING,
            JobStatus.REPLICATE_REQUESTED,
            *where,
            **statements.NOTHING_COPIED,
            **statements.UNOWNED,
        )
        return queued is not None or self._release_cancelation(where)

    @errors.retry_on_deadlock
    def _release_cancelation(
        self, where: tuple[sa.ColumnElement[bool], ...]
    ) -> bool:
        with self._database.writer() as connection:
            return statements.update(
                connection,
                *where,
                # A running copy is excluded: its lease may be renewed before
                # the first statement and expire before this one.
                _jobs.status.in_(_TO_BE_CANCELED),
                **statements.UNOWNED,
            )
