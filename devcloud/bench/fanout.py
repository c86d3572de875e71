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

"""One image to many tenants of a far region, asked for at once."""

import functools
import time
from collections.abc import Callable

from devcloud.bench import copies
from devcloud.bench import databases
from devcloud.bench import link as wan_link
from devcloud.bench import usage
from devcloud.bench.copies import MIB
from devcloud.bench.lan import POLL_INTERVAL
from devcloud.bench.measure import Aim
from devcloud.bench.measure import Ratio
from devcloud.bench.measure import Sample
from devcloud.bench.measure import take_turns
from devcloud.bench.stage import BenchError
from devcloud.bench.stage import DESTINATION
from devcloud.bench.stage import finished_at
from devcloud.bench.stage import seconds_at
from devcloud.bench.stage import SOURCE
from devcloud.bench.stage import Stage
from image_replicator.jobs import Job

WITH = "with nearest sources"
WITHOUT = "without them"
CARRIED = "bytes over the link / image"

_TENANTS = 8
_USER = "many"


def run(stage: Stage) -> None:
    """Copy an image to all tenants, with nearest sources and without."""
    size = stage.options.wan_size
    tenants = _new_tenants(stage)
    with (
        databases.glances_on_server(stage) as server,
        wan_link.laid(stage) as link,
    ):
        link.take_shape(wan_link.shape(stage, wan_link.ROUND_TRIP))
        case = stage.new_case("fanout", f"{_TENANTS} tenants, {size} MiB")
        case.notes.append(f"Both Glances have their databases on {server}.")
        image = copies.make_image(stage, size * MIB)
        subjects: dict[str, Callable[[], Sample]] = {
            name: functools.partial(
                _copy, stage, image, link, tenants, nearest_source=enabled
            )
            for name, enabled in ((WITH, True), (WITHOUT, False))
        }
        take_turns(case, subjects, stage.options.pairs, stage.say)
        copies.delete_image(stage, image)
    case.ratios.append(
        Ratio(
            f"{WITH}: {CARRIED}",
            case.series[WITH, CARRIED],
            Aim(1.1, at_most=True),
        )
    )
    case.compare(WITH, WITHOUT, "s", Aim(1 / 3, at_most=True))


def _new_tenants(stage: Stage) -> dict[str, str]:
    """Make projects of one user; return their names by id."""
    cloud = stage.running
    names = [f"{_USER}-{number}" for number in range(_TENANTS)]
    for name in names:
        cloud.create_project(name)
    cloud.create_user(_USER, dict.fromkeys([*names, "source"], "member"))
    return {cloud.project_id(name): name for name in names}


def _copy(
    stage: Stage,
    image: copies.Image,
    link: wan_link.Link,
    tenants: dict[str, str],
    *,
    nearest_source: bool,
) -> Sample:
    """Copy an image to all tenants, with a worker of its own."""
    options = {
        "poll_interval": POLL_INTERVAL,
        "concurrency": _TENANTS,
        # All of them are asked for by one tenant.
        "max_copies_per_tenant": _TENANTS,
    }
    transfer = {"nearest_source": nearest_source}
    small = copies.make_image(stage, MIB)
    with stage.worker(worker=options, transfer=transfer) as worker:
        # The first copies of a worker get tokens and the catalogue.
        _discard(stage, tenants, _asked(stage, small, tenants))
        usage.forget_peak(worker.pid)
        cpu = usage.group_cpu_seconds(worker.pid)
        carried = link.carried()
        begin = time.time()
        jobs = _asked(stage, image, tenants)
        first = min(job.started_at for job in jobs if job.started_at)
        sample = {
            "first begun, s": seconds_at(first) - begin,
            "s": max(finished_at(job) for job in jobs) - begin,
            CARRIED: (link.carried() - carried) / image.size,
            "first ended, s": min(map(finished_at, jobs)) - begin,
            "CPU s": usage.group_cpu_seconds(worker.pid) - cpu,
            "peak MiB": usage.peak_mebibytes(worker.pid),
        }
        _discard(stage, tenants, jobs)
    copies.delete_image(stage, small)
    return sample


def _asked(
    stage: Stage, image: copies.Image, tenants: dict[str, str]
) -> list[Job]:
    """Ask for all copies in one request; return the jobs at their end.

    :raises BenchError: if they are refused
    """
    answer = stage.running.jobs_client(SOURCE, _USER).post(
        "/jobs",
        json={
            "image_id": image.id,
            "destinations": [{"tenant_id": tenant} for tenant in tenants],
        },
        headers={"OpenStack-API-Version": "image-replicator 1.2"},
    )
    if answer.status_code != 202:
        raise BenchError(f"the copies were refused: {answer.text}")
    return [stage.await_copy(job["job_id"]) for job in answer.json()["jobs"]]


def _discard(stage: Stage, tenants: dict[str, str], jobs: list[Job]) -> None:
    """Delete the copies that jobs made."""
    for job in jobs:
        project = tenants[job.destination_tenant_id]
        images = stage.running.images(DESTINATION, _USER, project)
        assert job.destination_image_id
        images.delete(job.destination_image_id)
