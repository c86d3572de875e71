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

"""The parts of the time before the first byte of a copy."""

import datetime
import time
from collections.abc import Iterable

from devcloud import cloud
from devcloud import uwsgi
from devcloud.bench import copies
from devcloud.bench.first import without_token_cache
from devcloud.bench.measure import Sample
from devcloud.bench.stage import BenchError
from devcloud.bench.stage import DESTINATION
from devcloud.bench.stage import Stage
from image_replicator.jobs import Job

_OURS = "a copy"
_TURNS = 5  # for each pair, as the wait for the worker is a matter of chance
_STEP = 0.17  # seconds


def run(stage: Stage) -> None:
    """Split the time from a request for a copy to its first byte."""
    _copy_again_and_again(stage, "LAN, tokens cached")
    with without_token_cache(stage):
        _copy_again_and_again(stage, "LAN, no token cached")


def _copy_again_and_again(stage: Stage, name: str) -> None:
    case = stage.new_case("start", name)
    case.notes.append(
        "From the request's first byte to that of the upload. The worker "
        "looks for jobs as often as it does by default. All services are "
        "warm, and the worker has made a copy before. What a service takes is "
        "the sum of its own times of its answers."
    )
    image = copies.make_image(stage, copies.MIB)
    ways = copies.Ways(stage)
    with stage.worker(worker={"poll_interval": None}):
        ways.done(image)
        for turn in range(_TURNS * stage.options.pairs):
            # With this pause, requests meet the worker at random times.
            time.sleep(turn * _STEP % 1)
            sample = _measure(stage, ways, image)
            case.add(_OURS, sample)
            stage.say(f"start: {sample['s']:.3f} s before the first byte")
    copies.delete_image(stage, image)


def _measure(stage: Stage, ways: copies.Ways, image: copies.Image) -> Sample:
    """Make a copy; return the parts of the time before its first byte."""
    asked = time.time()
    job_id = stage.request_copy(image.id)
    answered = time.time()
    job = stage.await_copy(job_id)
    claimed = _claimed_at(job)
    uploading = _upload_of(stage, job)
    ways.discard(job)
    return {
        "s": uploading - asked,
        **_split(stage, "request", asked, answered),
        "wait for a worker, s": claimed - answered,
        **_split(stage, "worker", claimed, uploading),
    }


def _split(stage: Stage, part: str, begin: float, end: float) -> Sample:
    """Return the time that each service took in a period, and the rest.

    Glance's time is without that for which it waited for Keystone.

    :param begin: seconds since the epoch; so is the end
    """
    glances = stage.running.glances.values()
    asked = [request for one in glances for request in one.server.requests()]
    keystone = _within(stage.running.requests_to_keystone(), begin, end)
    in_keystone = sum(request.seconds for request in keystone)
    # Glance's process serves requests to the image replicator, too.
    in_glance = sum(
        request.seconds
        for request in _within(asked, begin, end)
        if not request.path.startswith(cloud.BASE_PATH)
    )
    return {
        f"{part}, s": end - begin,
        f"{part}: Keystone, s": in_keystone,
        f"{part}: requests to Keystone": len(keystone),
        f"{part}: Glance, s": max(0.0, in_glance - in_keystone),
    }


def _within(
    requests: Iterable[uwsgi.Request], begin: float, end: float
) -> list[uwsgi.Request]:
    return [
        request
        for request in requests
        if begin <= request.began and request.began + request.seconds <= end
    ]


def _upload_of(stage: Stage, job: Job) -> float:
    """Return the begin of a copy's upload, in seconds since the epoch.

    :raises BenchError: when there was none
    """
    path = f"/v2/images/{job.destination_image_id}/file"
    for request in stage.running.glances[DESTINATION].server.requests():
        if request.method == "PUT" and request.path == path:
            return request.began
    raise BenchError("a copy was made without an upload")


def _claimed_at(job: Job) -> float:
    assert job.started_at
    return job.started_at.replace(tzinfo=datetime.UTC).timestamp()
