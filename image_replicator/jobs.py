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

"""The copy job: its value, its statuses and the changes between them.

The API, the database and the worker share these types. This module imports
none of them.
"""

import dataclasses
import datetime
import enum
from typing import Final


class JobStatus(enum.StrEnum):
    """The seven statuses of the published API."""

    #: The job is committed, and waits for a worker.
    REPLICATE_REQUESTED = "replicate_requested"
    #: A worker owns the job and copies the image.
    REPLICATING = "replicating"
    #: The destination's image is complete and verified.
    REPLICATED = "replicated"
    #: The user wants the job to stop; no worker has acted on it yet.
    CANCEL_REQUESTED = "cancel_requested"
    #: A worker removes the image at the destination.
    CANCELING = "canceling"
    #: The job was canceled, and its image at the destination is removed.
    CANCELED = "canceled"
    #: The copy failed for the reason that is kept with the job.
    ERROR = "error"


_S = JobStatus


class Priority(enum.StrEnum):
    """The place of a job among those that wait for the same region."""

    #: Somebody waits for it.
    INTERACTIVE = "interactive"
    #: It is done when no interactive job can be.
    BACKGROUND = "background"


class IfPresent(enum.StrEnum):
    """The choice if the destination has an image with the same data."""

    #: Make another one.
    COPY = "copy"
    #: Make none; that image is the job's result.
    SKIP = "skip"


#: Every allowed change of status. The database code refuses all others. A job
#: returns to ``replicate_requested`` when a worker gives it back, or, from a
#: final status, when a user asks for another run of it.
TRANSITIONS: Final[dict[JobStatus, frozenset[JobStatus]]] = {
    _S.REPLICATE_REQUESTED: frozenset({_S.REPLICATING, _S.CANCEL_REQUESTED}),
    _S.REPLICATING: frozenset(
        {
            _S.REPLICATED,
            _S.ERROR,
            _S.CANCEL_REQUESTED,
            _S.REPLICATE_REQUESTED,
        }
    ),
    _S.CANCEL_REQUESTED: frozenset({_S.CANCELING}),
    _S.CANCELING: frozenset({_S.CANCELED, _S.ERROR}),
    _S.REPLICATED: frozenset(),
    _S.CANCELED: frozenset({_S.REPLICATE_REQUESTED}),
    _S.ERROR: frozenset({_S.REPLICATE_REQUESTED}),
}

#: The statuses in which a job is over: no worker takes it.
FINAL: Final[frozenset[JobStatus]] = frozenset(
    {_S.REPLICATED, _S.CANCELED, _S.ERROR}
)

#: The statuses in which a job prevents a second job for the same copy.
ACTIVE: Final[frozenset[JobStatus]] = frozenset(JobStatus) - FINAL

#: The statuses in which a user may cancel a job.
CANCELABLE: Final[frozenset[JobStatus]] = frozenset(
    status
    for status, following in TRANSITIONS.items()
    if _S.CANCEL_REQUESTED in following
)

#: The statuses in which a user may have a job run again.
RETRYABLE: Final[frozenset[JobStatus]] = frozenset(
    status for status in FINAL if TRANSITIONS[status]
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NewJob:
    """The values of a new job, as they are known from the request.

    :ivar source_tenant_id: the project that asked, not the image's owner.
    :ivar destination_image_name: None for the source image's name.
    :ivar image_size: bytes of the source image.
    :ivar request_id: of the API request that created the job; the worker's log
        has it.
    """

    source_image_id: str
    source_image_name: str
    source_region_id: str
    source_tenant_id: str
    destination_region_id: str
    destination_tenant_id: str
    destination_image_name: str | None = None
    image_size: int
    request_id: str
    priority: Priority = Priority.INTERACTIVE
    if_present: IfPresent = IfPresent.COPY


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verification:
    """The hashes that show that both images have the same data.

    :ivar algorithm: of both hashes, as Glance's ``os_hash_algo`` names it.
    :ivar source: hexadecimal; of the source image's bytes.
    :ivar destination: hexadecimal; of the bytes that the destination has
        stored.
    """

    algorithm: str
    source: str
    destination: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Present:
    """An image at the destination that has the source's data already.

    :ivar image_id: its id.
    :ivar verification: the hashes that both image services show.
    """

    image_id: str
    verification: Verification


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job(NewJob):
    """The job to copy one image, as it was when it was read.

    :ivar destination_image_id: the image at the destination, once it exists.
    :ivar reserved_image_id: the id with which this attempt creates its image.
        It is committed before the image is created, and kept until the image
        is the job's result or is known to be removed. So no crash leaves an
        image whose id is lost.
    :ivar bytes_copied: bytes that the destination has taken in this attempt.
    :ivar bytes_per_second: the smoothed rate while the copy runs, the mean
        rate once it is replicated.
    :ivar turn: the job's place in the queue. A tenant's jobs have turns one
        after the other, so that tenants are served in rounds.
    :ivar slot: the number of the slot that the job uses in its destination
        region, if the region's copies are limited.
    :ivar tier: 1 if the job waits in the background; 0 if it is interactive,
        or has waited for so long that it counts as such.
    :ivar background_since: since when the job waits in the background; None
        if it does not.
    :ivar skipped: whether the result is an image that was there before.
    :ivar read_region_id: the region from which the bytes were read.
    :ivar read_image_id: the image from which the bytes were read.
    :ivar waiting_for: the job whose copy this one waits for, to read from it.
    :ivar waiting_since: since when it waits for others' copies in this run.
    :ivar worker_id: the worker that owns the job; None when none does.
    :ivar claim_number: how often a worker has claimed the job. It grows with
        each claim and never shrinks: it is a part of the fence, so a lost
        claim never becomes valid again.
    :ivar uncounted_claims: the claims that do not count as attempts of this
        run: those of earlier runs, those that a worker gave back, and those
        made to cancel the job.
    :ivar lease_expires_at: when another worker may take the job.
    :ivar retry_at: until when the job waits after an attempt that failed.
    :ivar error_code: the word of the :class:`~.errors.ErrorCode` with which
        the job, or its latest attempt, failed.
    :ivar error_message: a sentence on the failure, which the user may see.
    :ivar created_at: naive UTC, by the database's clock, as all times here.
    """

    id: str
    status: JobStatus
    destination_image_id: str | None = None
    reserved_image_id: str | None = None
    bytes_copied: int = 0
    bytes_per_second: int | None = None
    turn: int = 0
    slot: int | None = None
    tier: int = 0
    background_since: datetime.datetime | None = None
    skipped: bool = False
    read_region_id: str | None = None
    read_image_id: str | None = None
    waiting_for: str | None = None
    waiting_since: datetime.datetime | None = None
    worker_id: str | None = None
    claim_number: int = 0
    uncounted_claims: int = 0
    lease_expires_at: datetime.datetime | None = None
    retry_at: datetime.datetime | None = None
    error_code: str | None = None
    error_message: str | None = None
    verification_algorithm: str | None = None
    verification_source: str | None = None
    verification_destination: str | None = None
    created_at: datetime.datetime
    updated_at: datetime.datetime
    started_at: datetime.datetime | None = None
    finished_at: datetime.datetime | None = None

    @property
    def attempts(self) -> int:
        """The number of times that a worker began the copy in this run."""
        return self.claim_number - self.uncounted_claims

    @property
    def copy_progress(self) -> int:
        """Whole percent, 0 to 100, of the bytes the destination has taken.

        It is rounded down, so 100 means all bytes. An empty image is at 100
        once it is replicated, and at 0 before.
        """
        if self.status is JobStatus.REPLICATED:
            return 100
        if not self.image_size:
            return 0
        return min(100, self.bytes_copied * 100 // self.image_size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """A worker's claim on a job: the fence that each of its writes carries.

    :ivar claim_number: the job's ``claim_number`` after the claim.
    """

    job_id: str
    worker_id: str
    claim_number: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkerDescription:
    """A worker process, as it describes itself to operators.

    :ivar version: of the installed package.
    :ivar concurrency: the most copies that it runs at a time.
    :ivar destination_regions: the regions that it serves, comma-separated;
        None for all.
    """

    id: str
    host: str
    version: str
    concurrency: int
    destination_regions: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class RegisteredWorker(WorkerDescription):
    """A worker process, as it last described itself.

    :ivar started_at: naive UTC, of the database's clock.
    :ivar seen_at: the time of its last sign of life, by the same clock.
    """

    started_at: datetime.datetime
    seen_at: datetime.datetime
