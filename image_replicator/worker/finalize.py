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

"""Writing a job's end to the database, and cleaning up the destination.

Finalizing can be repeated. Where it was interrupted, the job's row still names
the image that must be removed, and its status still says what was under way.
"""

import time
from typing import Final

from oslo_log import log as logging

from image_replicator import exception
from image_replicator.db import errors
from image_replicator.db import leftovers
from image_replicator.db import owned_jobs
from image_replicator.errors import ErrorCode
from image_replicator.jobs import Claim
from image_replicator.jobs import Job
from image_replicator.jobs import JobStatus
from image_replicator.worker import access
from image_replicator.worker import cleanup
from image_replicator.worker import retry
from image_replicator.worker.outcome import Failed
from image_replicator.worker.outcome import Outcome
from image_replicator.worker.outcome import Replicated
from image_replicator.worker.outcome import Skipped
from image_replicator.worker.outcome import StopReason

LOG = logging.getLogger(__name__)

#: Seconds before each further attempt to remove an image. Glance is still
#: busy with an upload that was just broken off, and may answer 409 or 500.
_PAUSES: Final = (0.2, 0.5, 1.0)


class Finalizer:
    """Moves a job to the status that the end of its copy leads to.

    Unless the image was replicated, it removes it from the destination first.

    :param access: opens the image services for a job.
    :param retry_delay: seconds until a cancelation that could not clean the
        destination is tried again.
    """

    def __init__(
        self,
        owned: owned_jobs.OwnedJobs,
        leftovers: leftovers.Leftovers,
        access: access.AccessControl,
        retry_delay: float,
    ) -> None:
        self._owned = owned
        self._leftovers = leftovers
        self._access = access
        self._retry_delay = retry_delay

    def finalize(self, job: Job, claim: Claim, ended: Outcome) -> None:
        """Write how a copy ended.

        :param ended: the outcome of the attempt.
        :raises ClaimLost: if the job does not belong to this worker any more.
        :raises DBError: if the database cannot be used.
        """
        try:
            self._write(job, claim, ended)
        except exception.ClaimLost:
            # A user who cancels while the copy ends changes the status that
            # the write expects. The job still belongs to this worker.
            if self._owned.renew(claim) is not JobStatus.CANCEL_REQUESTED:
                raise
            self._cancel(job, claim)

    def remove_leftover(self, job: Job) -> None:
        """Remove the image that an ended job left at the destination.

        :param job: in a final status, with a reserved image.
        :raises TransferError: if the image cannot be removed now.
        :raises DBError: if the database cannot be used.
        """
        self._remove(job)
        self._leftovers.record_removed(job)
        LOG.info("Job %s: image %s removed", job.id, job.reserved_image_id)

    def _write(self, job: Job, claim: Claim, ended: Outcome) -> None:
        match ended:
            case Replicated(verification, bytes_per_second, read_from):
                self._owned.finish(
                    claim,
                    job.image_size,
                    bytes_per_second,
                    verification,
                    read_from,
                )
            case Skipped(present):
                self._owned.skip(claim, present)
            case StopReason.CANCELED:
                self._cancel(job, claim)
            case StopReason.SHUTDOWN:
                self._clean(job, claim)
                self._owned.give_back(claim)
            case StopReason.CLAIM_LOST:
                raise exception.ClaimLost(job.id)
            case Failed(code, message, None):
                left = self._clean(job, claim)
                if _lacks_right(left):
                    message += (
                        " An unfinished image may be left in region "
                        f"{job.destination_region_id}, as the right to remove "
                        "it is gone."
                    )
                self._owned.fail(claim, code, message)
            case Failed(code, message, float() as seconds):
                self._clean(job, claim)
                self._owned.retry(claim, seconds, code, message)
                LOG.info("Job %s: tried again in %.1f s", job.id, seconds)

    def _cancel(self, job: Job, claim: Claim) -> None:
        if self._owned.get(claim).status is not JobStatus.CANCELING:
            self._owned.begin_cancel(claim)
        left = self._clean(job, claim)
        if left is None:
            self._owned.finish_cancel(claim)
        elif _is_final(left):
            self._owned.fail(
                claim,
                ErrorCode.CLEANUP_FAILED,
                "The unfinished image could not be removed from region "
                f"{job.destination_region_id}: {left}",
            )
        else:
            self._owned.postpone_cancel(claim, self._retry_delay)

    def _clean(self, job: Job, claim: Claim) -> Exception | None:
        """Remove the image of this attempt from the destination.

        :returns: the error if it could not be removed. The job's row then
            still names the image; the next attempt or the sweeper removes it.
        :raises ClaimLost: if the image may belong to another worker's attempt.
        """
        row = self._owned.get(claim)
        if row.reserved_image_id is None:
            return None
        try:
            self._remove_patiently(row)
        except Exception as error:
            if errors.is_temporary(error):
                # All is done again when the database is back.
                raise
            # No other error may hide how the copy itself ended.
            LOG.error(
                "Job %s: image %s stays for now: %s",
                job.id,
                row.reserved_image_id,
                error,
                exc_info=not isinstance(error, exception.TransferError),
            )
            return error
        self._owned.image_removed(claim)
        return None

    def _remove_patiently(self, row: Job) -> None:
        for pause in _PAUSES:
            try:
                self._remove(row)
                return
            except exception.TransferError as error:
                if not retry.may_pass(error.code):
                    raise
            time.sleep(pause)
        self._remove(row)

    def _remove(self, row: Job) -> None:
        assert row.reserved_image_id
        try:
            self._access.open(row).destination.remove(
                row.reserved_image_id,
                exists=row.destination_image_id is not None,
            )
        except exception.TransferError as error:
            own = self._access.as_service(row)
            if own is None or error.code.kind not in access.NO_RIGHT:
                raise
            cleanup.remove_as_service(own, row)


def _lacks_right(error: Exception | None) -> bool:
    return (
        isinstance(error, exception.TransferError)
        and error.code.kind in access.NO_RIGHT
    )


def _is_final(error: Exception) -> bool:
    return isinstance(error, exception.TransferError) and not retry.may_pass(
        error.code
    )
