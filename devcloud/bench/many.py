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

"""Many copies at once, large ones and small ones."""

import concurrent.futures
import statistics
import time
from collections.abc import Sequence

from devcloud import process
from devcloud.bench import copies
from devcloud.bench import databases
from devcloud.bench import usage
from devcloud.bench.copies import CURL
from devcloud.bench.copies import GIB
from devcloud.bench.copies import MIB
from devcloud.bench.copies import OURS
from devcloud.bench.lan import POLL_INTERVAL
from devcloud.bench.measure import Case
from devcloud.bench.measure import Sample
from devcloud.bench.measure import take_turns
from devcloud.bench.stage import DESTINATION
from devcloud.bench.stage import finished_at
from devcloud.bench.stage import SOURCE
from devcloud.bench.stage import Stage
from image_replicator.jobs import Job

#: Small copies that are made at once, by us and by curl.
_AT_ONCE = 4


def run_large(stage: Stage) -> None:
    """Copy some large images at once."""
    count, size = stage.options.many, stage.options.many_size
    case = stage.new_case("many", f"{count} x {size} MiB")
    _compare(stage, case, count, size * MIB, at_once=count)
    case.compare(OURS, CURL, "s")


def run_small(stage: Stage) -> None:
    """Copy many small images, a few at once."""
    count = stage.options.small
    case = stage.new_case("small", f"{count} x 1 MiB, {_AT_ONCE} at once")
    _compare(stage, case, count, MIB, at_once=_AT_ONCE)
    case.compare(OURS, CURL, "jobs/s")
    case.notes.append(
        "Jobs are asked for one after the other while the worker works; "
        "curl's images are created and looked at. Both are counted."
    )


def _compare(
    stage: Stage, case: Case, count: int, size: int, at_once: int
) -> None:
    """Copy so many images, ours by a worker and the others by curl."""
    options = {
        "poll_interval": POLL_INTERVAL,
        "concurrency": at_once,
        # All of them are one tenant's.
        "max_copies_per_tenant": at_once,
    }
    ways = copies.Ways(stage)
    with (
        databases.glances_on_server(stage) as server,
        stage.worker(worker=options) as worker,
    ):
        case.notes.append(f"Both Glances have their databases on {server}.")
        stage.say(f"{case.part}: making {count} images")
        images = [copies.make_image(stage, size) for _one in range(count)]
        ways.ours(images[0], worker)
        subjects = {
            OURS: lambda: _ours(stage, images, worker),
            CURL: lambda: _curls(ways, images, at_once),
        }
        take_turns(case, subjects, stage.options.pairs, stage.say)
        for image in images:
            copies.delete_image(stage, image)


def _ours(
    stage: Stage, images: Sequence[copies.Image], worker: process.Process
) -> Sample:
    """Ask for all copies; measure until the last is done."""
    usage.forget_peak(worker.pid)
    meter = _Meter(stage, worker)
    begin = time.time()
    asked = [stage.request_copy(image.id) for image in images]
    asking = time.time() - begin
    jobs = [stage.await_copy(job_id) for job_id in asked]
    used = meter.read()
    seconds = max(finished_at(job) for job in jobs) - begin
    destination = stage.running.images(DESTINATION, "alice", "destination")
    for job in jobs:
        assert job.destination_image_id
        destination.delete(job.destination_image_id)
    mebibytes = sum(image.size for image in images) / MIB
    return {
        "s": seconds,
        "jobs/s": len(images) / seconds,
        "MiB/s": mebibytes / seconds,
        "CPU s/GiB": used["worker"] * GIB / MIB / mebibytes,
        "peak MiB": usage.peak_mebibytes(worker.pid),
        "asking, ms/job": asking / len(jobs) * 1e3,
        "copying, ms/job": statistics.mean(map(_held, jobs)) * 1e3,
        **{
            f"CPU of {name}, ms/job": cpu / len(jobs) * 1e3
            for name, cpu in used.items()
        },
    }


def _held(job: Job) -> float:
    """Return how many seconds a job had a worker."""
    assert job.finished_at
    assert job.started_at
    return (job.finished_at - job.started_at).total_seconds()


class _Meter:
    """The CPU seconds of all that has a part in a copy, from now on."""

    def __init__(self, stage: Stage, worker: process.Process) -> None:
        self._groups = {"worker": worker.pid}
        for region in (SOURCE, DESTINATION):
            served = stage.running.glances[region].server.process
            assert served
            self._groups[region] = served.pid
        self._begin = self._now()

    def _now(self) -> dict[str, float]:
        return {
            name: usage.group_cpu_seconds(group)
            for name, group in self._groups.items()
        }

    def read(self) -> dict[str, float]:
        """Return what each has used since."""
        now = self._now()
        return {name: now[name] - self._begin[name] for name in now}


def _curls(
    ways: copies.Ways, images: Sequence[copies.Image], at_once: int
) -> Sample:
    """Copy all images by curl, so many at once."""
    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        samples = list(pool.map(ways.piped, images))
    seconds = time.monotonic() - begin
    return {
        "s": seconds,
        "jobs/s": len(images) / seconds,
        "MiB/s": sum(image.size for image in images) / MIB / seconds,
        "CPU s/GiB": statistics.mean(one["CPU s/GiB"] for one in samples),
        "peak MiB": at_once * max(one["peak MiB"] for one in samples),
    }
