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

This is the vocabulary that the API, the database and the worker share. It
imports none of them, and does nothing.
"""

import dataclasses
import datetime
import enum
from typing import Final


class JobStatus(enum.StrEnum):
    """The seven statuses of the published API."""

    #: Committed, and waiting for a worker.
    REPLICATE_REQUESTED = "replicate_requested"
    #: A worker owns the job and copies the image.
    REPLICATING = "replicating"
    #: The destination's image is whole and verified.
    REPLICATED = "replicated"
    #: The user wants the job to stop; no worker has acted on it yet.
    CANCEL_REQUESTED = "cancel_requested"
    #: A worker removes what is at the destination.
    CANCELING = "canceling"
    #: Nothing is left at the destination.
    CANCELED = "canceled"
    #: The copy failed for the reason that is kept with the job.
    ERROR = "error"


_S = JobStatus

#: Every change of status that exists. The database refuses all others.
#: The way back to ``replicate_requested`` is a worker that gives a job back,
#: or, from a final status, a user who wants another run of the same job.
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

#: No worker will do anything with a job in one of these.
FINAL: Final[frozenset[JobStatus]] = frozenset(
    {_S.REPLICATED, _S.CANCELED, _S.ERROR}
)

#: A job in one of these stands in the way of a second, identical copy.
ACTIVE: Final[frozenset[JobStatus]] = frozenset(JobStatus) - FINAL

#: What a user may cancel.
CANCELABLE: Final[frozenset[JobStatus]] = frozenset(
    status
    for status, following in TRANSITIONS.items()
    if _S.CANCEL_REQUESTED in following
)

#: What a user may have run once more.
RETRYABLE: Final[frozenset[JobStatus]] = frozenset(
    status for status in FINAL if TRANSITIONS[status]
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NewJob:
    """What is known of a copy when it is asked for.

    :ivar source_tenant_id: the project that asked, not the image's owner.
    :ivar destination_image_name: of the copy; None for the source's own name.
    :ivar image_size: bytes of the source image.
    :ivar request_id: of the API request that made the job; the worker logs
        under it.
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verification:
    """What shows that the destination's image is the source's.

    :ivar algorithm: of both hashes, as Glance's ``os_hash_algo`` names it.
    :ivar source: hexadecimal, of the source's bytes.
    :ivar destination: hexadecimal, of what the destination has stored.
    """

    algorithm: str
    source: str
    destination: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job(NewJob):
    """One copy of an image, as it was when it was read.

    :ivar destination_image_id: the image at the destination, once it exists.
    :ivar reserved_image_id: the id under which this attempt creates its
        image. It is committed before the image is made, and stays until the
        image is either the job's result or known to be gone, so that no crash
        leaves an image that nobody knows of.
    :ivar bytes_copied: bytes that the destination has taken in this attempt.
    :ivar bytes_per_second: how fast: smoothed while it runs, the mean once it
        is replicated.
    :ivar turn: the job's place in the queue. A tenant's jobs have turns one
        after the other, so that tenants are served in rounds.
    :ivar slot: which of the places for copies to its region the job has,
        where their number is limited.
    :ivar worker_id: the worker that owns the job; None when none does.
    :ivar claim_number: how often a worker has claimed the job. It grows with
        each claim and never shrinks, as it is half of the fence: no claim
        that was lost is ever good again.
    :ivar uncounted_claims: those of them that do not count as attempts of
        this run: they belong to a run before it, were given back in good
        order, or were there to cancel.
    :ivar lease_expires_at: when the job may be taken from its worker.
    :ivar retry_at: until when the job waits after an attempt that failed.
    :ivar error_code: a short, stable word for why the job, or its attempt
        before the one that is waited for, failed.
    :ivar error_message: the same for people, fit to be shown to the user.
    :ivar created_at: naive UTC, of the database's clock; so are the others.
    """

    id: str
    status: JobStatus
    destination_image_id: str | None = None
    reserved_image_id: str | None = None
    bytes_copied: int = 0
    bytes_per_second: int | None = None
    turn: int = 0
    slot: int | None = None
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
        """How often a worker has begun the copy in this run."""
        return self.claim_number - self.uncounted_claims

    @property
    def copy_progress(self) -> int:
        """Whole percent, 0 to 100, of the bytes the destination has taken.

        Rounded down: 100 means all of them. An empty image has no bytes to
        count, so it is at 100 when it is replicated and at 0 before.
        """
        if self.status is JobStatus.REPLICATED:
            return 100
        if not self.image_size:
            return 0
        return min(100, self.bytes_copied * 100 // self.image_size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """A worker's claim on a job: the fence that each of its writes carries.

    :ivar claim_number: of the job, when it was claimed.
    """

    job_id: str
    worker_id: str
    claim_number: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkerDescription:
    """A worker process, as it describes itself to operators.

    :ivar version: of its code.
    :ivar concurrency: copies that it runs at most at a time.
    :ivar destination_regions: that it serves, comma-separated; None for all.
    """

    id: str
    host: str
    version: str
    concurrency: int
    destination_regions: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class RegisteredWorker(WorkerDescription):
    """A worker process, as it was when it was last seen.

    :ivar started_at: naive UTC, of the database's clock.
    :ivar seen_at: its last sign of life; same clock.
    """

    started_at: datetime.datetime
    seen_at: datetime.datetime
