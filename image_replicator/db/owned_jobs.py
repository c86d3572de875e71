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

"""The jobs that a worker owns, for that worker.

Every method takes a claim, and raises ClaimLost if the claim is no longer
valid, or the job's status does not allow the change.
"""

from typing import Any
from typing import Final

from image_replicator import events
from image_replicator import exception
from image_replicator.db import database
from image_replicator.db import errors
from image_replicator.db import models
from image_replicator.db import statements
from image_replicator.db import times
from image_replicator.db import transitions
from image_replicator.errors import ErrorCode
from image_replicator.jobs import ACTIVE
from image_replicator.jobs import Claim
from image_replicator.jobs import Job
from image_replicator.jobs import JobStatus
from image_replicator.jobs import Present
from image_replicator.jobs import Verification
from image_replicator.nearness import Replica

_jobs: Final = models.Job.__table__.c


class OwnedJobs:
    """The jobs in one database that workers own.

    :param events: publishes each change of a job's status.
    :param lease_time: the seconds that a lease lasts after its renewal.
    """

    def __init__(
        self,
        database: database.Database,
        events: events.Events,
        lease_time: float,
    ) -> None:
        self._database = database
        self._transitions = transitions.Transitions(database, events)
        self._lease_time = lease_time

    def get(self, claim: Claim) -> Job:
        """Return the job, whatever its status.

        :raises ClaimLost: if another worker or none owns the job.
        """
        try:
            with self._database.reader() as connection:
                job = statements.get(connection, claim.job_id)
        except exception.JobNotFound as error:
            raise exception.ClaimLost(claim.job_id) from error
        owner = (job.worker_id, job.claim_number)
        if owner != (claim.worker_id, claim.claim_number):
            raise exception.ClaimLost(claim.job_id)
        return job

    @errors.retry_on_deadlock
    def reserve_image(
        self, claim: Claim, image_id: str, read_from: Replica | None = None
    ) -> None:
        """Commit the id of the destination's image, before it is created.

        :param read_from: the image that the bytes are read from; None for the
            source image.
        """
        source = {
            "read_region_id": _jobs.source_region_id,
            "read_image_id": _jobs.source_image_id,
        }
        self._set(
            claim,
            reserved_image_id=image_id,
            bytes_copied=0,
            **(source | _read_from(read_from)),
        )

    @errors.retry_on_deadlock
    def image_created(self, claim: Claim, image_id: str) -> None:
        """Record that the destination's image exists, for the API."""
        self._set(claim, destination_image_id=image_id)

    @errors.retry_on_deadlock
    def image_removed(self, claim: Claim) -> None:
        """Record that the image of this attempt is removed."""
        self._set(claim, destination_image_id=None, reserved_image_id=None)

    @errors.retry_on_deadlock
    def record_progress(
        self,
        claim: Claim,
        bytes_copied: int,
        bytes_per_second: int | None = None,
        read_from: Replica | None = None,
    ) -> JobStatus:
        """Record the copy's progress and rate, and renew the lease.

        :param bytes_per_second: smoothed; None while it is not known.
        :param read_from: the image that the bytes are read from; None if it
            is the same as before.
        :returns: ``replicating``, ``cancel_requested`` when the user wants
            it to stop, or ``canceling``.
        """
        lease = times.from_now(self._lease_time)
        with self._database.writer() as connection:
            if statements.update(
                connection,
                *statements.owned(claim),
                _jobs.status == JobStatus.REPLICATING,
                bytes_copied=bytes_copied,
                bytes_per_second=bytes_per_second,
                lease_expires_at=lease,
                **_read_from(read_from),
            ):
                return JobStatus.REPLICATING
        return self.renew(claim)

    @errors.retry_on_deadlock
    def renew(self, claim: Claim) -> JobStatus:
        """Renew the lease of a job, whatever its status.

        :returns: the job's status.
        """
        self._set(claim, lease_expires_at=times.from_now(self._lease_time))
        return self.get(claim).status

    def finish(
        self,
        claim: Claim,
        bytes_copied: int,
        bytes_per_second: int | None,
        verification: Verification,
        read_from: Replica | None = None,
    ) -> None:
        """End the job: the copy is complete and verified.

        :param bytes_per_second: the mean; None for an image without bytes.
        :param read_from: the image that the last bytes were read from; None if
            it is the same as before.
        """
        self._change(
            claim,
            JobStatus.REPLICATING,
            JobStatus.REPLICATED,
            bytes_copied=bytes_copied,
            bytes_per_second=bytes_per_second,
            reserved_image_id=None,
            **_read_from(read_from),
            **statements.verified(verification),
        )

    def skip(self, claim: Claim, present: Present) -> None:
        """End the job: the destination has an image with the data already."""
        self._change(
            claim,
            JobStatus.REPLICATING,
            JobStatus.REPLICATED,
            **statements.skipped(present),
        )

    def fail(self, claim: Claim, code: ErrorCode, message: str) -> None:
        """End the job: its copy or its cancelation failed for good."""
        values = {
            "bytes_per_second": None,
            "error_code": code.word,
            "error_message": message,
        }
        # Only the owner can have made this change of status.
        if not self._changed(
            claim, JobStatus.REPLICATING, JobStatus.ERROR, **values
        ):
            self._change(claim, JobStatus.CANCELING, JobStatus.ERROR, **values)

    def retry(
        self, claim: Claim, seconds: float, code: ErrorCode, message: str
    ) -> None:
        """Schedule another attempt, as this one failed.

        :param seconds: until then.
        """
        self._requeue(
            claim,
            retry_at=times.from_now(seconds),
            error_code=code.word,
            error_message=message,
        )

    def give_back(self, claim: Claim) -> None:
        """Give the job back to the queue, without counting the attempt."""
        self._requeue(claim, uncounted_claims=_jobs.uncounted_claims + 1)

    def _requeue(self, claim: Claim, **values: Any) -> None:
        self._change(
            claim,
            JobStatus.REPLICATING,
            JobStatus.REPLICATE_REQUESTED,
            **statements.NOTHING_COPIED,
            **statements.UNOWNED,
            **values,
        )

    def begin_cancel(self, claim: Claim) -> None:
        """Begin the cancelation: the copy has stopped, as the user asked."""
        self._change(claim, JobStatus.CANCEL_REQUESTED, JobStatus.CANCELING)

    def postpone_cancel(self, claim: Claim, seconds: float) -> None:
        """Let any worker clean the destination later, as this one could not.

        :param seconds: until then.
        """
        self._set(
            claim, retry_at=times.from_now(seconds), **statements.UNOWNED
        )

    def finish_cancel(self, claim: Claim) -> None:
        """End the job: it is canceled, and its image is removed."""
        self._change(
            claim,
            JobStatus.CANCELING,
            JobStatus.CANCELED,
            bytes_per_second=None,
        )

    def _change(
        self, claim: Claim, old: JobStatus, new: JobStatus, **values: Any
    ) -> None:
        if not self._changed(claim, old, new, **values):
            raise exception.ClaimLost(claim.job_id)

    def _changed(
        self, claim: Claim, old: JobStatus, new: JobStatus, **values: Any
    ) -> bool:
        fence = statements.owned(claim)
        job = self._transitions.change(
            claim.job_id, old, new, *fence, **values
        )
        return job is not None

    def _set(self, claim: Claim, **values: Any) -> None:
        """Update columns of a job without a change of its status."""
        with self._database.writer() as connection:
            written = statements.update(
                connection,
                *statements.owned(claim),
                _jobs.status.in_(ACTIVE),
                **values,
            )
        if not written:
            raise exception.ClaimLost(claim.job_id)


def _read_from(replica: Replica | None) -> dict[str, Any]:
    """Return the columns of the image that bytes are read from."""
    if replica is None:
        return {}
    return {
        "read_region_id": replica.region_id,
        "read_image_id": replica.image_id,
    }
