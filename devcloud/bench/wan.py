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

"""Copies between regions that are far from each other."""

import dataclasses
import functools

from devcloud.bench import copies
from devcloud.bench import link as wan_link
from devcloud.bench.copies import IMPORT
from devcloud.bench.copies import MIB
from devcloud.bench.copies import OURS
from devcloud.bench.copies import UPLOAD
from devcloud.bench.curl import CurlFailed
from devcloud.bench.lan import POLL_INTERVAL
from devcloud.bench.lan import warm_up
from devcloud.bench.measure import Aim
from devcloud.bench.measure import Case
from devcloud.bench.measure import Ratio
from devcloud.bench.measure import Sample
from devcloud.bench.measure import take_turns
from devcloud.bench.stage import BenchError
from devcloud.bench.stage import Stage
from devcloud.distance import MEGABIT
from devcloud.distance import Shape

#: The link for which the aims hold.
_AIMED_ROUND_TRIP = 80  # ms
_AIMED_RATE = 80  # Mbit/s

_STEADY = "nothing cut"
_LOSSY = "connections cut"


def run(stage: Stage) -> None:
    """Copy an image in all ways, and with several numbers of streams."""
    aimed = copies.make_image(stage, stage.options.wan_size * MIB)
    other = copies.make_image(stage, stage.options.wan_other_size * MIB)
    with wan_link.laid(stage) as link:
        for milliseconds in stage.options.round_trips:
            image = aimed if milliseconds == _AIMED_ROUND_TRIP else other
            shape = wan_link.shape(stage, milliseconds / 1e3)
            link.take_shape(shape)
            wan_link.prove(stage, link, shape, image)
            _all_ways(stage, link, shape, image)
            _streams(stage, link, shape, image)
        _cut_connections(stage, link, aimed)
    for image in (aimed, other):
        copies.delete_image(stage, image)


def _name(shape: Shape, image: copies.Image) -> str:
    return f"{shape.round_trip * 1e3:g} ms, {image.size // MIB} MiB"


def _all_ways(
    stage: Stage, link: wan_link.Link, shape: Shape, image: copies.Image
) -> None:
    case = stage.new_case("wan", _name(shape, image))
    ways = copies.Ways(stage, link.url)
    with stage.worker(worker={"poll_interval": POLL_INTERVAL}) as worker:
        warm_up(stage, ways, worker)
        subjects = ways.all(image, worker)
        take_turns(case, subjects, stage.options.pairs, stage.say)
    aims: tuple[Aim | None, Aim | None] = (None, None)
    if (shape.round_trip, shape.connection_rate) == (
        _AIMED_ROUND_TRIP / 1e3,
        _AIMED_RATE * MEGABIT,
    ):
        aims = (Aim(10), Aim(1.08, at_most=True))
    case.compare(IMPORT, OURS, "s", aims[0])
    at_best = image.size / shape.link_rate
    case.ratios.append(_over_limit(case, at_best, aims[1]))
    case.compare(copies.CURL, OURS, "s")


def _over_limit(case: Case, at_best: float, aim: Aim | None) -> Ratio:
    """Compare with the bare upload or the link, whichever is slower.

    :param at_best: the least seconds that the link takes for the image
    """
    values = [
        ours / max(upload, at_best)
        for ours, upload in zip(
            case.series[OURS, "s"], case.series[UPLOAD, "s"], strict=True
        )
    ]
    return Ratio(f"{OURS} / upload or link, s", values, aim)


# By number of streams.


def _streams(
    stage: Stage, link: wan_link.Link, shape: Shape, image: copies.Image
) -> None:
    case = stage.new_case("streams", _name(shape, image))
    ways = copies.Ways(stage, link.url)
    small = copies.make_image(stage, MIB)

    def copy(count: int) -> Sample:
        with stage.worker(
            worker={"poll_interval": POLL_INTERVAL},
            transfer={"min_streams": count, "max_streams": count},
        ) as worker:
            # The first copy of a worker gets a token and the catalogue.
            ways.ours(small, worker)
            return ways.ours(image, worker)

    subjects = {
        f"{n} streams": functools.partial(copy, n)
        for n in stage.options.streams
    }
    take_turns(case, subjects, stage.options.pairs, stage.say)
    copies.delete_image(stage, small)
    first, *_between, last = subjects
    case.compare(first, last, "s")


# Connections that are cut.


def _cut_connections(
    stage: Stage, link: wan_link.Link, image: copies.Image
) -> None:
    """Compare copies over a link that cuts connections with ones that last."""
    steady = wan_link.shape(stage, _AIMED_ROUND_TRIP / 1e3)
    mean = stage.options.cut_after * MIB
    lossy = dataclasses.replace(steady, mean_bytes_to_cut=mean)
    case = stage.new_case(
        "loss",
        f"{_name(lossy, image)}, cut every {stage.options.cut_after} MiB",
    )
    ways = copies.Ways(stage, link.url)
    with stage.worker(worker={"poll_interval": POLL_INTERVAL}) as worker:

        def copy(shape: Shape) -> Sample:
            link.take_shape(shape)
            return ways.ours(image, worker)

        copy(steady)
        take_turns(
            case,
            {_STEADY: lambda: copy(steady), _LOSSY: lambda: copy(lossy)},
            stage.options.pairs,
            stage.say,
        )
    case.compare(_LOSSY, _STEADY, "s")
    link.take_shape(lossy)
    _try_others(stage, case, ways, image)


def _try_others(
    stage: Stage, case: Case, ways: copies.Ways, image: copies.Image
) -> None:
    """Note whether the ways that cannot resume a broken read succeed."""
    for name, copy in (
        (copies.CURL, ways.piped),
        (IMPORT, ways.glance_download),
    ):
        try:
            copy(image)
            ending = "got through"
        except (CurlFailed, BenchError):
            ending = "failed"
        case.notes.append(f"One {name} over such a link {ending}.")
        stage.say(case.notes[-1])
