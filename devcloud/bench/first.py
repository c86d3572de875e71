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

"""The first copy after a start, compared with one right after it."""

import contextlib
import time
from collections.abc import Iterator

from devcloud.bench import copies
from devcloud.bench import link as wan_link
from devcloud.bench.lan import POLL_INTERVAL
from devcloud.bench.measure import Aim
from devcloud.bench.measure import Case
from devcloud.bench.stage import finished_at
from devcloud.bench.stage import reconfigured
from devcloud.bench.stage import Stage

FIRST = "the first copy"
LATER = "the next copy"

_AIM = Aim(1.15, at_most=True)
_SECTION = "[keystone_authtoken]\n"


def run(stage: Stage) -> None:
    """Compare both copies within a LAN, and over a link."""
    with without_token_cache(stage):
        size = stage.options.first_size
        case = stage.new_case("first", f"LAN, {size} MiB")
        _measure(stage, case, copies.Ways(stage), size)
        with wan_link.laid(stage) as link:
            link.take_shape(wan_link.shape(stage, wan_link.ROUND_TRIP))
            size = stage.options.first_far_size
            name = f"{wan_link.ROUND_TRIP * 1e3:g} ms, {size} MiB"
            case = stage.new_case("first", name)
            _measure(stage, case, copies.Ways(stage, link.url), size)


@contextlib.contextmanager
def without_token_cache(stage: Stage) -> Iterator[None]:
    """Make both Glances validate the token at each request."""
    with contextlib.ExitStack() as stack:
        for service in stage.running.glances.values():
            path = service.directory / "glance-api.conf"
            text = path.read_text().replace(
                _SECTION, f"{_SECTION}token_cache_time = -1\n"
            )
            stack.enter_context(reconfigured(service, path, text))
        yield


def _measure(stage: Stage, case: Case, ways: copies.Ways, size: int) -> None:
    """Restart all services before each pair of copies.

    :param size: MiB of the image
    """
    case.notes.append(
        "Keystone, both Glances and the worker are started right before the "
        "first copy. No Glance caches tokens."
    )
    image = copies.make_image(stage, size * copies.MIB)
    for turn in range(stage.options.pairs):
        stage.running.restart_services()
        with stage.worker(worker={"poll_interval": POLL_INTERVAL}):
            for subject in (FIRST, LATER):
                sample = _copy(ways, image)
                case.add(subject, sample)
                stage.say(
                    f"first, {case.name}: {turn + 1} of "
                    f"{stage.options.pairs}: {subject}: {sample['s']:.2f} s"
                )
    copies.delete_image(stage, image)
    case.compare(FIRST, LATER, "s", _AIM)


def _copy(ways: copies.Ways, image: copies.Image) -> dict[str, float]:
    begin = time.time()
    job = ways.done(image)
    return {"s": finished_at(job) - begin, "attempts": job.attempts}
