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

"""The jobs, kept in SQL: what a worker does with those that it holds.

Every method carries a claim, and raises ClaimLost where the job is no longer
this worker's to change so.
"""

from typing import Any
from typing import Final

from oslo_config import cfg

from image_replicator import exception
from image_replicator.db import errors
from image_replicator.db import models
from image_replicator.db import repository
from image_replicator.db import statements
from image_replicator.errors import ErrorCode
from image_replicator.jobs import ACTIVE
from image_replicator.jobs import Claim
from image_replicator.jobs import JobStatus
from image_replicator.jobs import Verification

_jobs: Final = models.Job.__table__.c

#: What a job without a worker has of one.
UNOWNED: Final = {"worker_id": None, "lease_expires_at": None, "slot": None}

#: What a job has of a copy that is begun anew.
BEGUN_ANEW: Final = {"bytes_copied": 0, "bytes_per_second": None}


class HeldJobs(repository.JobRepository):
    """The jobs of one database, as the worker needs them that holds them.

    :param conf: has ``[database]`` and ``[worker]``.
    :raises ConfigurationError: if SQLite's directory cannot be used.
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__(conf)
        self._lease_time: float = conf.worker.lease_time

    @errors.retry_on_deadlock
    def reserve_image(self, claim: Claim, image_id: str) -> None:
        """Commit the id of the destination's image, before it is made."""
        self._set(claim, reserved_image_id=image_id, bytes_copied=0)

    @errors.retry_on_deadlock
    def image_created(self, claim: Claim, image_id: str) -> None:
        """Show the destination's image to the user: it exists."""
        self._set(claim, destination_image_id=image_id)

    @errors.retry_on_deadlock
    def image_removed(self, claim: Claim) -> None:
        """Note that the image of this attempt is known to be gone."""
        self._set(claim, destination_image_id=None, reserved_image_id=None)

    @errors.retry_on_deadlock
    def record_progress(
        self,
        claim: Claim,
        bytes_copied: int,
        bytes_per_second: int | None = None,
    ) -> JobStatus:
        """Write how far and how fast the copy is, and renew the lease.

        :param bytes_per_second: smoothed; None while it is not known.
        :returns: ``replicating``, ``cancel_requested`` when the user wants
            it to stop, or ``canceling``.
        """
        lease = models.from_now(self._lease_time)
        with self._database.writer() as connection:
            if statements.update(
                connection,
                *statements.held(claim),
                _jobs.status == JobStatus.REPLICATING,
                bytes_copied=bytes_copied,
                bytes_per_second=bytes_per_second,
                lease_expires_at=lease,
            ):
                return JobStatus.REPLICATING
        return self.renew(claim)

    @errors.retry_on_deadlock
    def renew(self, claim: Claim) -> JobStatus:
        """Renew the lease of a job whatever its owner does with it.

        :returns: the job's status.
        """
        self._set(claim, lease_expires_at=models.from_now(self._lease_time))
        return self.get(claim.job_id).status

    def finish(
        self,
        claim: Claim,
        bytes_copied: int,
        bytes_per_second: int | None,
        verification: Verification,
    ) -> None:
        """The copy is whole and verified.

        :param bytes_per_second: the mean; None for an image without bytes.
        """
        self._move(
            claim,
            {JobStatus.REPLICATING},
            JobStatus.REPLICATED,
            bytes_copied=bytes_copied,
            bytes_per_second=bytes_per_second,
            reserved_image_id=None,
            verification_algorithm=verification.algorithm,
            verification_source=verification.source,
            verification_destination=verification.destination,
        )

    def fail(self, claim: Claim, code: ErrorCode, message: str) -> None:
        """The copy, or its cancelation, failed for good."""
        self._move(
            claim,
            {JobStatus.REPLICATING, JobStatus.CANCELING},
            JobStatus.ERROR,
            bytes_per_second=None,
            error_code=code.word,
            error_message=message,
        )

    def retry(
        self, claim: Claim, seconds: float, code: ErrorCode, message: str
    ) -> None:
        """The attempt failed, and another is made later.

        :param seconds: until then.
        """
        self._requeue(
            claim,
            retry_at=models.from_now(seconds),
            error_code=code.word,
            error_message=message,
        )

    def give_back(self, claim: Claim) -> None:
        """Let another worker begin the copy anew; no attempt is spent."""
        self._requeue(claim, attempts_uncounted=_jobs.attempts_uncounted + 1)

    def _requeue(self, claim: Claim, **values: Any) -> None:
        self._move(
            claim,
            {JobStatus.REPLICATING},
            JobStatus.REPLICATE_REQUESTED,
            **BEGUN_ANEW,
            **UNOWNED,
            **values,
        )

    def begin_cancel(self, claim: Claim) -> None:
        """The owner has stopped copying and starts to clean up."""
        self._move(claim, {JobStatus.CANCEL_REQUESTED}, JobStatus.CANCELING)

    def postpone_cancel(self, claim: Claim, seconds: float) -> None:
        """The destination could not be cleaned; any worker tries again later.

        :param seconds: until then.
        """
        self._set(claim, retry_at=models.from_now(seconds), **UNOWNED)

    def finish_cancel(self, claim: Claim) -> None:
        """Nothing is left at the destination."""
        self._move(
            claim,
            {JobStatus.CANCELING},
            JobStatus.CANCELED,
            bytes_per_second=None,
        )

    @errors.retry_on_deadlock
    def _move(
        self,
        claim: Claim,
        from_: set[JobStatus],
        to: JobStatus,
        **values: Any,
    ) -> None:
        with self._database.writer() as connection:
            changed = statements.change(
                connection, from_, to, *statements.held(claim), **values
            )
        if not changed:
            raise exception.ClaimLost(claim.job_id)

    def _set(self, claim: Claim, **values: Any) -> None:
        """Write columns of a job whose status stays as it is."""
        with self._database.writer() as connection:
            written = statements.update(
                connection,
                *statements.held(claim),
                _jobs.status.in_(ACTIVE),
                **values,
            )
        if not written:
            raise exception.ClaimLost(claim.job_id)
