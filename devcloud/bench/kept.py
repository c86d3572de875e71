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

"""Copies over a link to a Glance behind a proxy that keeps connections."""

import contextlib
import functools
from collections.abc import Callable

from devcloud import fronts
from devcloud.bench import catalogue
from devcloud.bench import copies
from devcloud.bench import link as wan_link
from devcloud.bench.copies import MIB
from devcloud.bench.lan import POLL_INTERVAL
from devcloud.bench.lan import warm_up
from devcloud.bench.measure import Sample
from devcloud.bench.measure import take_turns
from devcloud.bench.stage import SOURCE
from devcloud.bench.stage import Stage

_UWSGI = "uWSGI itself"
_FRONTS: dict[str, Callable[[], fronts.Front]] = {
    "HAProxy": fronts.HAProxy,
    "nginx": fronts.Nginx,
}


def run(stage: Stage) -> None:
    """Copy an image from a Glance without a proxy, and with each."""
    shape = wan_link.shape(stage, wan_link.ROUND_TRIP)
    size = stage.options.wan_size
    image = copies.make_image(stage, size * MIB)
    case = stage.new_case("kept", f"80 ms, {size} MiB")
    glance_port = stage.running.glances[SOURCE].server.port
    with contextlib.ExitStack() as stack:
        ports = {_UWSGI: glance_port}
        for name, new in _FRONTS.items():
            front = stack.enter_context(new())
            front.connect_to(glance_port)
            ports[name] = front.port
        subjects: dict[str, Callable[[], Sample]] = {}
        for name, port in ports.items():
            link = wan_link.Link(stage, port)
            stack.callback(link.close)
            link.take_shape(shape)
            subjects[name] = functools.partial(_copy, stage, image, link)
        take_turns(case, subjects, stage.options.pairs, stage.say)
    for name in subjects:
        case.ratios.append(wan_link.over_link(case, name, image, shape, 1.1))
    copies.delete_image(stage, image)


def _copy(stage: Stage, image: copies.Image, link: wan_link.Link) -> Sample:
    """Copy with a worker of its own, which learns the way first."""
    ways = copies.Ways(stage, link.url)
    with (
        catalogue.moved(stage.running, SOURCE, link.url),
        stage.worker(worker={"poll_interval": POLL_INTERVAL}) as worker,
    ):
        warm_up(stage, ways, worker)
        return ways.ours(image, worker)
