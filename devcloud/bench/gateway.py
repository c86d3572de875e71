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

"""Copies over a link from a store without ranges, by a gateway or not."""

import contextlib
import functools
import os
from collections.abc import Callable
from collections.abc import Iterator

from devcloud import process
from devcloud import s3
from devcloud import settings
from devcloud.bench import copies
from devcloud.bench import link as wan_link
from devcloud.bench import usage
from devcloud.bench.copies import GIB
from devcloud.bench.copies import MIB
from devcloud.bench.lan import POLL_INTERVAL
from devcloud.bench.measure import Sample
from devcloud.bench.measure import take_turns
from devcloud.bench.stage import reconfigured
from devcloud.bench.stage import SOURCE
from devcloud.bench.stage import Stage
from devcloud.distance import Shape

WITH = "with the gateway"
WITHOUT = "without it"

#: A raw disk: of each four MiB, one has data that shrinks to a half.
_EACH = 4


def run(stage: Stage) -> None:
    """Copy random data, and a raw disk, from an S3 store."""
    shape = wan_link.shape(stage, wan_link.ROUND_TRIP)
    with _store_without_ranges(stage), wan_link.laid(stage) as link:
        link.take_shape(shape)
        near = stage.running.new_gateway(SOURCE)
        started = near.start()
        far = wan_link.Link(stage, near.port)
        try:
            far.take_shape(shape)
            _compare(stage, shape, far, started)
        finally:
            far.close()
            started.stop()


@contextlib.contextmanager
def _store_without_ranges(stage: Stage) -> Iterator[None]:
    """Run the source's Glance with its images in an S3 server."""
    server = s3.S3(stage.supervisor)
    server.start()
    service = stage.running.glances[SOURCE]
    path = service.directory / "glance-api.conf"
    further = settings.write(stage.store / "s3.conf", server.glance_settings())
    # The last value of an option counts.
    text = path.read_text() + further.read_text()
    with reconfigured(service, path, text):
        yield


def _random(_number: int) -> bytes:
    return os.urandom(MIB)


def _disk(number: int) -> bytes:
    if number % _EACH:
        return bytes(MIB)
    # Hexadecimal digits have four bits a byte.
    return os.urandom(MIB // 2).hex().encode()


def _compare(
    stage: Stage,
    shape: Shape,
    far: wan_link.Link,
    near: process.Process,
) -> None:
    options = stage.options
    for name, size, content, most, without in (
        ("random", options.wan_size, _random, 1.15, True),
        ("raw disk", options.disk_size, _disk, 0.3, False),
    ):
        case = stage.new_case("gateway", f"{name}, {size} MiB")
        image = copies.make_image(stage, size * MIB, content)
        subjects: dict[str, Callable[[], Sample]] = {
            WITH: functools.partial(_copy, stage, image, far.url, near)
        }
        if without:
            subjects[WITHOUT] = functools.partial(
                _copy, stage, image, None, None
            )
        take_turns(case, subjects, options.pairs, stage.say)
        case.ratios.append(wan_link.over_link(case, WITH, image, shape, most))
        if without:
            case.compare(WITHOUT, WITH, "s")
        copies.delete_image(stage, image)


def _copy(
    stage: Stage,
    image: copies.Image,
    url: str | None,
    near: process.Process | None,
) -> Sample:
    """Copy an image with a worker of its own.

    :param url: of the gateway; None to do without
    :param near: the gateway's process
    """
    region = {f"region:{SOURCE}": {"data_endpoint": url}} if url else {}
    ways = copies.Ways(stage)
    small = copies.make_image(stage, MIB)
    with stage.worker(
        worker={"poll_interval": POLL_INTERVAL}, **region
    ) as worker:
        # The first copy of a worker gets a token and the catalogue.
        ways.ours(small, worker)
        before = usage.group_cpu_seconds(near.pid) if near else 0.0
        sample = dict(ways.ours(image, worker))
        if near:
            used = usage.group_cpu_seconds(near.pid) - before
            sample["gateway, CPU s/GiB"] = used * GIB / image.size
            sample["gateway, peak MiB"] = usage.peak_mebibytes(near.pid)
    copies.delete_image(stage, small)
    return sample
