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

"""The link between the regions: a relay before the source's Glance."""

import contextlib
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator

from devcloud import ports
from devcloud import process
from devcloud.bench import catalogue
from devcloud.bench import copies
from devcloud.bench import relay
from devcloud.bench import usage
from devcloud.bench.measure import Aim
from devcloud.bench.measure import Case
from devcloud.bench.measure import Ratio
from devcloud.bench.stage import SOURCE
from devcloud.bench.stage import Stage
from devcloud.distance import MEGABIT
from devcloud.distance import Shape

#: Seconds of the round trip for which the aims are.
ROUND_TRIP = 0.08

_LOOKS = 3  # at the link
_REQUESTS = 5  # to measure the round trip
_CONNECTION_SECONDS = 2  # of one connection, to measure its rate
_LINK_SECONDS = 3  # of the link
_SURPLUS = 1.6  # times the connections that fill the link by their rates


class Link:
    """A link to the source's Glance, whose shape can be changed.

    :param port: of another server at its end; None for the source's Glance
    :ivar url: the URL at its beginning
    """

    def __init__(self, stage: Stage, port: int | None = None) -> None:
        self._stage = stage
        self._port = port or stage.running.glances[SOURCE].server.port
        self._listener = ports.listen(None, "the link")
        self._relay: process.Process | None = None
        self._count = tempfile.TemporaryFile()
        self._count.write(relay.COUNT.pack(0))
        self._count.flush()
        self.url = f"http://{ports.HOST}:{ports.number(self._listener)}"

    @property
    def pid(self) -> int:
        """The id of the process that carries the bytes."""
        assert self._relay
        return self._relay.pid

    def take_shape(self, shape: Shape) -> None:
        """Change the shape; open connections are cut."""
        self._stop()
        descriptor = self._listener.fileno()
        self._relay = self._stage.spawn_module(
            "relay",
            [
                str(descriptor),
                str(self._port),
                str(self._count.fileno()),
                str(shape),
            ],
            [descriptor, self._count.fileno()],
        )

    def carried(self) -> int:
        """Return the bytes that were carried from the source so far."""
        packed = os.pread(self._count.fileno(), relay.COUNT.size, 0)
        (count,) = relay.COUNT.unpack(packed)
        return int(count)

    def _stop(self) -> None:
        if self._relay:
            self._stage.supervisor.stop(self._relay)
            self._relay = None

    def close(self) -> None:
        """Close the link."""
        self._stop()
        self._listener.close()
        self._count.close()


@contextlib.contextmanager
def laid(stage: Stage) -> Iterator[Link]:
    """Route the source's internal endpoint through a link."""
    link = Link(stage)
    try:
        with catalogue.moved(stage.running, SOURCE, link.url):
            yield link
    finally:
        link.close()


def shape(stage: Stage, round_trip: float) -> Shape:
    """Return a link with the rates of the command line.

    :param round_trip: seconds
    """
    return Shape(
        round_trip,
        stage.options.rate * MEGABIT,
        stage.options.link_rate * MEGABIT,
    )


def over_link(
    case: Case,
    subject: str,
    image: copies.Image,
    shape: Shape,
    most: float,
) -> Ratio:
    """Compare a subject with the time that a link takes for an image's size.

    :param most: the aim
    """
    at_best = image.size / shape.link_rate
    return Ratio(
        f"{subject} / the link's time for its size, s",
        [seconds / at_best for seconds in case.series[subject, "s"]],
        Aim(most, at_most=True),
    )


def prove(stage: Stage, link: Link, shape: Shape, image: copies.Image) -> None:
    """Measure the link with curl, and compare it with its shape.

    :param image: is read to measure the rates
    """
    case = stage.new_case("link", f"{shape.round_trip * 1e3:g} ms")
    ways = copies.Ways(stage, link.url)
    wanted = {
        "round trip, ms": shape.round_trip * 1e3,
        "one connection, Mbit/s": shape.connection_rate / MEGABIT,
        "all connections, Mbit/s": shape.link_rate / MEGABIT,
    }
    cpu = usage.group_cpu_seconds(link.pid)
    begin = time.monotonic()
    for _look in range(_LOOKS):
        found = (
            _round_trip(stage, link) * 1e3,
            _rate(ways, image, shape.connection_rate) / MEGABIT,
            _link_rate(ways, image, shape) / MEGABIT,
        )
        case.add("measured", dict(zip(wanted, found, strict=True)))
    cpu = usage.group_cpu_seconds(link.pid) - cpu
    seconds = time.monotonic() - begin
    for name, number in wanted.items():
        values = case.series["measured", name]
        case.ratios.append(
            Ratio(f"over {number:g}, {name}", [n / number for n in values])
        )
        stage.say(
            f"the link, {case.name}: {name}: {statistics.median(values):.4g} "
            f"of {number:g}"
        )
    case.notes.append(
        f"The relay used {100 * cpu / seconds:.0f} % of a core meanwhile."
    )


def _round_trip(stage: Stage, link: Link) -> float:
    """Return the seconds of a round trip.

    A request takes two: one for the connection, one for the answer.
    """
    straight, long = (
        statistics.median(
            _timed(url, "%{time_total}") for _request in range(_REQUESTS)
        )
        for url in (stage.running.endpoint(SOURCE), link.url)
    )
    return (long - straight) / 2


def _timed(url: str, variable: str) -> float:
    """Return curl's figures for a request for a trivial page."""
    command = ["curl", "-sS", "--noproxy", "*", "-o", "/dev/null"]
    done = subprocess.run(
        [*command, "-w", variable, f"{url}/healthcheck"],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def _read(
    ways: copies.Ways, image: copies.Image, size: int
) -> subprocess.Popen[str]:
    """Begin to read a part of an image; curl prints size, begin and end."""
    told = "%{size_download} %{time_starttransfer} %{time_total}"
    end = min(size, image.size) - 1
    more = ["-o", "/dev/null", "-w", told, "-r", f"0-{end}"]
    return subprocess.Popen(
        ways.read(image, *more), stdout=subprocess.PIPE, text=True
    )


def _ended(reader: subprocess.Popen[str]) -> tuple[float, float, float]:
    """Return the bytes read, and the seconds until the first and last byte."""
    out, _err = reader.communicate()
    size, first, last = (float(word) for word in out.split())
    return size, first, last


def _rate(ways: copies.Ways, image: copies.Image, rate: float) -> float:
    """Return the bytes per second of one connection."""
    size, first, last = _ended(
        _read(ways, image, int(rate * _CONNECTION_SECONDS))
    )
    return size / (last - first)


def _link_rate(ways: copies.Ways, image: copies.Image, shape: Shape) -> float:
    """Return the bytes per second of more connections than fill the link."""
    count = int(_SURPLUS * shape.link_rate / shape.connection_rate) + 1
    size = int(shape.link_rate * _LINK_SECONDS / count)
    ended = [
        _ended(reader)
        for reader in [_read(ways, image, size) for _one in range(count)]
    ]
    first = min(first for _size, first, _last in ended)
    last = max(last for _size, _first, last in ended)
    return sum(size for size, _first, _last in ended) / (last - first)
