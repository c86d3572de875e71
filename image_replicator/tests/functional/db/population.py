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

"""Jobs of all statuses, and their rights, for tests with many rows."""

import datetime
from typing import Any

from image_replicator.jobs import FINAL
from image_replicator.jobs import JobStatus
from image_replicator.tests.functional.db import base

#: The number of jobs that run.
RUNNING = 20

DAY = datetime.timedelta(days=1)


def over(first: int, count: int) -> list[dict[str, Any]]:
    return [
        _row(number, sorted(FINAL)[number % 3])
        for number in range(first, first + count)
    ]


def waiting(first: int, count: int) -> list[dict[str, Any]]:
    return [
        _row(
            number,
            JobStatus.REPLICATE_REQUESTED,
            turn=number // 7,
            # This job would be read first.
            retry_at=base.LONG_AGO + 9999 * DAY if number < 3 else None,
        )
        for number in range(first, first + count)
    ]


def running() -> list[dict[str, Any]]:
    return [
        _row(
            number,
            JobStatus.REPLICATING,
            worker_id=f"worker-{number % 4}",
            lease_expires_at=base.LONG_AGO + 9999 * DAY,
            reserved_image_id=f"image-{number}",
            # These slots are beyond the limits, so that no claim gets one.
            slot=1000 + number,
            claim_number=1,
        )
        for number in range(RUNNING)
    ]


def _row(number: int, status: JobStatus, **changes: Any) -> dict[str, Any]:
    moment = base.LONG_AGO + datetime.timedelta(minutes=number // 3)
    return base.row(
        id=f"{status}-{number:05}",
        status=status,
        created_at=moment,
        finished_at=moment if status in FINAL else None,
        source_tenant_id=f"tenant-{number % 5}",
        destination_tenant_id=f"tenant-{number % 4}",
        destination_region_id=f"region-{number % 3}",
        destination_image_id=f"image-{number}" if status in FINAL else None,
        **changes,
    )


def right(job_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the rows of a job's authority and of its trust."""
    trust_id = f"trust-{job_id}"
    authority = {
        "job_id": job_id,
        "user_id": f"user-{job_id}",
        "source_trust_id": trust_id,
        "destination_trust_id": trust_id,
    }
    delegation = {
        "trust_id": trust_id,
        "user_id": authority["user_id"],
        "project_id": "project",
        "roles": "roles",
        "role_names": "member",
        "used_at": base.LONG_AGO,
    }
    return authority, delegation
