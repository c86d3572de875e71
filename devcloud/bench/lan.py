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

"""Copies between two regions over a fast network."""

from devcloud import process
from devcloud.bench import copies
from devcloud.bench.measure import Aim
from devcloud.bench.measure import take_turns
from devcloud.bench.stage import Stage

#: A short interval, so that a job does not wait for an idle worker.
POLL_INTERVAL = 0.2  # seconds


def run(stage: Stage) -> None:
    """Copy images of several sizes in all ways."""
    with stage.worker(worker={"poll_interval": POLL_INTERVAL}) as worker:
        warm_up(stage, copies.Ways(stage), worker)
        for size in stage.options.lan_sizes:
            _measure(stage, worker, size * copies.MIB)


def warm_up(stage: Stage, ways: copies.Ways, worker: process.Process) -> None:
    """Make one copy, so that all code is loaded and connections are open."""
    image = copies.make_image(stage, copies.MIB)
    for copy in ways.all(image, worker).values():
        copy()
    copies.delete_image(stage, image)


def _measure(stage: Stage, worker: process.Process, size: int) -> None:
    image = copies.make_image(stage, size)
    case = stage.new_case("lan", f"{size // copies.MIB} MiB")
    take_turns(
        case,
        copies.Ways(stage).all(image, worker),
        stage.options.pairs,
        stage.say,
    )
    copies.delete_image(stage, image)
    case.compare(copies.OURS, copies.CURL, "s", Aim(1.03, at_most=True))
    case.compare(copies.IMPORT, copies.OURS, "s", Aim(1.8))
    case.compare(copies.OURS, copies.UPLOAD, "s")
    case.compare(copies.OURS, copies.CURL, "CPU s/GiB")
