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

"""What becomes of a job, and of its image, when a copy has ended.

Settling can be done again: where it broke off, the row still names the image
that is to be removed, and the status still says what was going on.
"""

import dataclasses
import enum
import time
from collections.abc import Callable
from typing import Final

from oslo_log import log as logging

from image_replicator import exception
from image_replicator.db import queue
from image_replicator.errors import ErrorCode
from image_replicator.errors import Side
from image_replicator.images import region
from image_replicator.jobs import Claim
from image_replicator.jobs import Job
from image_replicator.jobs import JobStatus
from image_replicator.jobs import Verification
from image_replicator.worker import retry

LOG = logging.getLogger(__name__)

#: Seconds before each further attempt to remove an image. Glance is still
#: busy with an upload that was just broken off, and may answer 409 or 500.
_PAUSES: Final = (0.2, 0.5, 1.0)


@dataclasses.dataclass(frozen=True)
class Replicated:
    """A copy that is whole and verified.

    :ivar verification: what shows it.
    :ivar bytes_per_second: the mean; None for an image without bytes.
    """

    verification: Verification
    bytes_per_second: int | None


class Outcome(enum.Enum):
    """The ways in which a copy is stopped."""

    #: The user wants nothing of it.
    CANCELED = enum.auto()
    #: Another worker is to begin anew.
    GIVEN_BACK = enum.auto()
    #: The job is another's; there is nothing for us to do.
    LOST = enum.auto()


@dataclasses.dataclass(frozen=True)
class Failed:
    """A copy that failed.

    :ivar code: the kind of failure.
    :ivar message: the same for people.
    :ivar retry_in: seconds until it is tried again; None for never.
    """

    code: ErrorCode
    message: str
    retry_in: float | None = None


End = Replicated | Outcome | Failed


class Settlement:
    """Moves a job to where its copy's end leads, the destination clean.

    :param images: the images of a region, and which side of a copy it is.
    :param retry_delay: seconds before a cancelation is tried again that
        could not clean the destination.
    """

    def __init__(
        self,
        queue: queue.JobQueue,
        images: Callable[[str, Side], region.RegionImages],
        retry_delay: float,
    ) -> None:
        self._queue = queue
        self._images = images
        self._retry_delay = retry_delay

    def settle(self, job: Job, claim: Claim, end: End) -> None:
        """Write the end of a job.

        :raises ClaimLost: if the job is not this worker's any more.
        """
        try:
            self._move(job, claim, end)
        except exception.ClaimLost:
            # A user who cancels while the copy ends takes the job out of
            # the status that the end starts from. The job is ours still.
            if self._queue.renew(claim) is not JobStatus.CANCEL_REQUESTED:
                raise
            self._cancel(job, claim)

    def sweep(self, job: Job) -> None:
        """Remove what a job left at the destination that is over.

        :raises TransferError: if it cannot be removed now, either.
        """
        self._remove(job)
        self._queue.image_swept(job)
        LOG.info("Job %s: image %s removed", job.id, job.reserved_image_id)

    def _move(self, job: Job, claim: Claim, end: End) -> None:
        match end:
            case Replicated(verification, bytes_per_second):
                self._queue.finish(
                    claim, job.image_size, bytes_per_second, verification
                )
                LOG.info("Job %s: replicated", job.id)
            case Outcome.CANCELED:
                self._cancel(job, claim)
            case Outcome.GIVEN_BACK:
                self._clean(job, claim)
                self._queue.give_back(claim)
                LOG.info("Job %s: given back", job.id)
            case Outcome.LOST:
                raise exception.ClaimLost(job.id)
            case Failed(code, message, None):
                self._clean(job, claim)
                self._queue.fail(claim, code, message)
                LOG.info("Job %s: error, %s", job.id, code)
            case Failed(code, message, float() as seconds):
                self._clean(job, claim)
                self._queue.retry(claim, seconds, code, message)
                LOG.info("Job %s: again in %.1f s, %s", job.id, seconds, code)

    def _cancel(self, job: Job, claim: Claim) -> None:
        if self._queue.get(job.id).status is not JobStatus.CANCELING:
            self._queue.begin_cancel(claim)
        left = self._clean(job, claim)
        if left is None:
            self._queue.finish_cancel(claim)
            LOG.info("Job %s: canceled", job.id)
        elif retry.may_pass(left.code):
            self._queue.postpone_cancel(claim, self._retry_delay)
        else:
            self._queue.fail(
                claim,
                ErrorCode.CLEANUP_FAILED,
                "The unfinished image could not be removed from region "
                f"{job.destination_region_id}: {left.message}",
            )

    def _clean(self, job: Job, claim: Claim) -> exception.TransferError | None:
        """Remove what the copy made at the destination.

        :returns: what stands in the way. The image stays named in the job's
            row, and is removed by the next attempt, or swept.
        :raises ClaimLost: if the image may be another worker's.
        """
        row = self._queue.get(job.id)
        if (row.worker_id, row.attempts) != (claim.worker_id, claim.attempt):
            raise exception.ClaimLost(job.id)
        if row.reserved_image_id is None:
            return None
        try:
            self._remove_patiently(row)
        except exception.TransferError as error:
            LOG.error(
                "Job %s: image %s stays for now: %s",
                job.id,
                row.reserved_image_id,
                error,
            )
            return error
        self._queue.image_removed(claim)
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
        destination = self._images(row.destination_region_id, Side.DESTINATION)
        destination.remove(
            row.reserved_image_id, exists=row.destination_image_id is not None
        )
