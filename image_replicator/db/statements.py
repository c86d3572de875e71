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

"""Statements and columns that several stores use."""

from collections.abc import Iterable
from typing import Any
from typing import Final

import sqlalchemy as sa

from image_replicator import exception
from image_replicator.db import listing
from image_replicator.db import models
from image_replicator.db import text
from image_replicator.db import times
from image_replicator.jobs import Claim
from image_replicator.jobs import IfPresent
from image_replicator.jobs import Job
from image_replicator.jobs import JobStatus
from image_replicator.jobs import Present
from image_replicator.jobs import Priority
from image_replicator.jobs import Verification

_jobs: Final = models.Job.__table__.c

#: The statuses in which a copy may run, and uses a slot of its region.
COPYING: Final = frozenset({JobStatus.REPLICATING, JobStatus.CANCEL_REQUESTED})


#: The columns of the owner, for a job without one.
UNOWNED: Final[dict[str, Any]] = {
    "worker_id": None,
    "lease_expires_at": None,
    "slot": None,
}

#: The columns of a job that waits for no other one.
WAITING_FOR_NONE: Final[dict[str, Any]] = {
    "waiting_for": None,
    "waiting_since": None,
}

#: The columns of the progress, for a job whose copy begins again.
NOTHING_COPIED: Final[dict[str, Any]] = {
    "bytes_copied": 0,
    "bytes_per_second": None,
}


def verified(verification: Verification) -> dict[str, Any]:
    """Return the columns of the hashes."""
    return {
        "verification_algorithm": verification.algorithm,
        "verification_source": verification.source,
        "verification_destination": verification.destination,
    }


def skipped(present: Present) -> dict[str, Any]:
    """Return the columns of a job whose image is at the destination."""
    return {
        "skipped": True,
        "destination_image_id": present.image_id,
        **verified(present.verification),
    }


def update(
    connection: sa.Connection, *where: sa.ColumnElement[bool], **values: Any
) -> bool:
    """Update columns of a job; return whether a row matched."""
    written = connection.execute(
        sa.update(models.Job)
        .where(*where)
        .values(updated_at=times.utcnow(), **values)
    )
    return bool(written.rowcount)


def owned(claim: Claim) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the fence: conditions that hold only while a claim is valid."""
    return (
        _jobs.id == claim.job_id,
        _jobs.worker_id == claim.worker_id,
        _jobs.claim_number == claim.claim_number,
    )


#: It is built once, as building it takes as long as running it, and programs
#: that watch a job run it often.
JOB_BY_ID: Final = sa.select(*listing.COLUMNS).where(
    text.equal(_jobs.id, sa.bindparam("job_id", type_=_jobs.id.type))
)


def get(connection: sa.Connection, job_id: str) -> Job:
    """Return a job.

    :raises JobNotFound: if there is none with this id.
    """
    return the_job(connection.execute(JOB_BY_ID, {"job_id": job_id}), job_id)


def the_job(rows: Iterable[sa.Row[Any]], job_id: str) -> Job:
    """Return the job that :data:`JOB_BY_ID` found.

    :raises JobNotFound: if it found none.
    """
    for row in rows:
        return job(row)
    raise exception.JobNotFound(job_id)


def job(row: sa.Row[Any]) -> Job:
    """Return the job of a row with :data:`listing.COLUMNS`."""
    values = dict(row._mapping)
    values["status"] = JobStatus(values["status"])
    values["priority"] = Priority(values["priority"])
    values["if_present"] = IfPresent(values["if_present"])
    return Job(**values)
