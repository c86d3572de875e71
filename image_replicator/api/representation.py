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

"""Jobs as each version of the API shows them, and plans of jobs."""

import datetime
from collections.abc import Mapping
from typing import Any
from typing import Final

from image_replicator import jobs
from image_replicator import metadata
from image_replicator.api import admission
from image_replicator.api import http_errors
from image_replicator.api import versions

#: The keys of a job in version 1.0, which does not change.
_KEYS_1_0: Final = (
    "copy_progress",
    "destination_image_id",
    "destination_region_id",
    "destination_tenant_id",
    "source_image_id",
    "source_image_name",
    "source_region_id",
    "source_tenant_id",
    "status",
)

_TIMES_1_1: Final = ("created_at", "updated_at", "started_at", "finished_at")
_FIGURES_1_1: Final = ("image_size", "bytes_copied", "bytes_per_second")


def represent(
    job: jobs.Job, version: versions.Version, positions: Mapping[str, int]
) -> dict[str, Any]:
    """Return a job as a version shows it.

    :param positions: places in the queue, by the job's id, of the jobs that
        wait; not used in 1.0.
    """
    shown = {"job_id": job.id} | {key: getattr(job, key) for key in _KEYS_1_0}
    if version >= versions.V1_1:
        shown |= {key: _time(getattr(job, key)) for key in _TIMES_1_1}
        shown |= {key: getattr(job, key) for key in _FIGURES_1_1}
        shown |= {
            "attempts": job.attempts,
            "eta_seconds": _eta(job),
            "queue_position": positions.get(job.id),
            "error": _error(job),
            "verification": _verification(job),
        }
    if version >= versions.V1_2:
        shown |= {
            "priority": job.priority,
            "read_from": _read_from(job),
            "retry_at": _time(job.retry_at),
            "skipped": job.skipped,
            "waiting_for": _waiting_for(job),
        }
    return shown


def _read_from(job: jobs.Job) -> dict[str, str | None] | None:
    if job.read_image_id is None:
        return None
    return {"region_id": job.read_region_id, "image_id": job.read_image_id}


def _waiting_for(job: jobs.Job) -> str | None:
    """Return the job that this one waits for, if it does so just now."""
    if job.status is not jobs.JobStatus.REPLICATE_REQUESTED:
        return None
    return job.waiting_for


def _time(value: datetime.datetime | None) -> str | None:
    """Return a time in Glance's format: UTC, in whole seconds."""
    if value is None:
        return None
    return f"{value.isoformat(timespec='seconds')}Z"


def _eta(job: jobs.Job) -> int | None:
    """Return the seconds until the copy is likely to end, rounded up."""
    if job.status is not jobs.JobStatus.REPLICATING:
        return None
    if not job.bytes_per_second:
        return None
    left = max(0, job.image_size - job.bytes_copied)
    return -(-left // job.bytes_per_second)


def _error(job: jobs.Job) -> dict[str, str | None] | None:
    if job.error_code is None:
        return None
    return {"code": job.error_code, "message": job.error_message}


def _verification(job: jobs.Job) -> dict[str, str | None] | None:
    if job.verification_algorithm is None:
        return None
    return {
        "algorithm": job.verification_algorithm,
        "source": job.verification_source,
        "destination": job.verification_destination,
    }


def of_plan(plan: admission.Plan) -> dict[str, Any]:
    """Return a plan, as a dry run shows it.

    What the checks have not come to is null.
    """
    image, present, region = plan.source.image, plan.present, plan.region
    read_from = plan.read_from
    return {
        "destination_tenant_id": plan.wanted.tenant_id,
        "destination_region_id": region and region.name,
        "region_reason": region and region.reason,
        "region_is_up": plan.is_up,
        "name": plan.wanted.name or (image and image.get("name")),
        "image_size": image and image["size"],
        "properties": _properties(plan),
        "usage": plan.usage,
        "skipped": present is not None,
        "destination_image_id": present and present.image_id,
        "read_from": read_from
        and {
            "region_id": read_from.region_id,
            "image_id": read_from.image_id,
        },
        "refusal": _refusal(plan.refusal),
    }


def _properties(plan: admission.Plan) -> dict[str, Any] | None:
    """Return the names of the properties, by fate, with the reasons."""
    if plan.source.judged is None:
        return None
    judged = dict(plan.source.judged)
    if plan.wanted.name is not None:
        judged["name"] = metadata.Judgement(
            metadata.Fate.REWRITTEN, "The request names the copy."
        )
    return {
        fate.value: {
            name: judgement.reason or None
            for name, judgement in judged.items()
            if judgement.fate is fate
        }
        for fate in metadata.Fate
    }


def _refusal(refusal: admission.Refusal | None) -> dict[str, Any] | None:
    """Return the error that a request without ``dry_run`` would get."""
    if refusal is None:
        return None
    status = http_errors.status_of(refusal)
    return {"code": int(status), "message": refusal.message}
