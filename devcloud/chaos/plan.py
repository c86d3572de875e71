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

"""The plan of a run: all events and their times, derived from the seed."""

import dataclasses
import enum
import random
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Final

from devcloud import cloud
from devcloud import faults

#: Seconds of a worker's lease: the least that the option allows.
LEASE: Final = 2.0

#: Users who ask for copies, each of a project of their own.
USERS: Final = 3

_OUTAGES: Final = ("kill", "stop", "freeze")
_LARGEST: Final = 3 << 20  # bytes of an image
_CANCELED: Final = 0.12  # part of the requests
_MOST_AT_ONCE: Final = 4  # tenants of one request
_PATIENCE_OF_USERS: Final = 3.0  # seconds before one of these is canceled


class Act(enum.StrEnum):
    """The kinds of failures."""

    KILL_WORKER = "a worker killed, another started"
    END_WORKER = "a worker told to stop, another started"
    HALT_WORKER = "a worker halted past its lease"
    RESUME_WORKER = "and let go on"
    HALT_KEYSTONE = "Keystone halted"
    RESUME_KEYSTONE = "and let go on (Keystone)"
    CUT_REGION = "all connections to a region cut"
    CLOSE_REGION = "connections to a region refused"
    OPEN_REGION = "and taken again"
    KILL_GATEWAY = "the gateway killed, and started again"
    HALT_GATEWAY = "the gateway halted"
    RESUME_GATEWAY = "and let go on (the gateway)"
    TAKE_RIGHT = "a role in a destination project taken from a user"
    GIVE_RIGHT = "and given back"
    BEGIN_OUTAGE = "the database away"
    END_OUTAGE = "and back"


@dataclasses.dataclass(frozen=True, order=True)
class Step:
    """An act at a point of time.

    :ivar at: seconds since the begin
    :ivar subject: the worker's number, the region, the kind of outage, or the
        numbers of a user and a destination tenant
    """

    at: float
    act: Act
    subject: str = ""


@dataclasses.dataclass(frozen=True)
class _Trouble:
    """A kind of failure that happens repeatedly.

    :ivar every: seconds between two of them, about
    :ivar begin: the act that begins it
    :ivar end: the act that ends it; None if it does not last
    :ivar lasts: the least and the most seconds
    """

    every: float
    begin: Act
    end: Act | None = None
    lasts: tuple[float, float] = (0.0, 0.0)


_TROUBLES: Final = (
    _Trouble(12, Act.KILL_WORKER),
    _Trouble(30, Act.END_WORKER),
    _Trouble(
        12,
        Act.HALT_WORKER,
        Act.RESUME_WORKER,
        lasts=(1.5 * LEASE, 3 * LEASE),
    ),
    _Trouble(40, Act.HALT_KEYSTONE, Act.RESUME_KEYSTONE, lasts=(1, 4)),
    _Trouble(8, Act.CUT_REGION),
    _Trouble(30, Act.CLOSE_REGION, Act.OPEN_REGION, lasts=(0.5, 3)),
    _Trouble(10, Act.KILL_GATEWAY),
    _Trouble(25, Act.HALT_GATEWAY, Act.RESUME_GATEWAY, lasts=(1, 5)),
    _Trouble(15, Act.TAKE_RIGHT, Act.GIVE_RIGHT, lasts=(20, 45)),
    _Trouble(12, Act.BEGIN_OUTAGE, Act.END_OUTAGE, lasts=(0.3, 3)),
)

#: The probability of each fault, for each request of a worker.
ODDS: Final[Mapping[faults.Fault, float]] = {
    faults.Fault.REFUSE: 0.05,
    faults.Fault.CUT_REQUEST: 0.02,
    faults.Fault.CUT_ANSWER: 0.03,
    faults.Fault.STALL_REQUEST: 0.01,
    faults.Fault.STALL_ANSWER: 0.01,
    faults.Fault.SHORTEN_UPLOAD: 0.02,
    faults.Fault.SHORTEN_ANSWER: 0.03,
    faults.Fault.FLIP_UPLOAD: 0.02,
    faults.Fault.FLIP_DOWNLOAD: 0.02,
    faults.Fault.SLOW_REQUEST: 0.03,
    faults.Fault.SLOW_ANSWER: 0.03,
}


@dataclasses.dataclass(frozen=True)
class Wish:
    """The copies of an image that a user will ask for at once.

    :ivar at: seconds since the begin
    :ivar source: the number of the image
    :ivar tenants: the numbers of the destination tenants
    :ivar cancel_after: seconds after the answer, to cancel the first copy;
        None for no cancelation
    """

    at: float
    source: int
    tenants: Sequence[int]
    cancel_after: float | None


@dataclasses.dataclass(frozen=True)
class Plan:
    """The plan of a run.

    :ivar seconds: the time in which failures happen
    :ivar sizes: bytes of each source image
    :ivar tenants: the number of destination tenants
    """

    seed: str
    seconds: float
    workers: int
    steps: Sequence[Step]
    wishes: Sequence[Wish]
    sizes: Sequence[int]
    tenants: int

    @property
    def calm(self) -> bool:
        """Whether no failure happens."""
        return not self.steps

    @property
    def replacements(self) -> int:
        """The number of workers that replace others."""
        ends = (Act.KILL_WORKER, Act.END_WORKER)
        return sum(step.act in ends for step in self.steps)


def make(
    seed: str,
    *,
    seconds: float,
    jobs: int,
    workers: int = 4,
    tenants: int = 5,
    size: int | None = None,
    trouble: bool = True,
) -> Plan:
    """Return the plan for a seed.

    :param size: bytes of each image; None for random sizes
    :param trouble: whether failures happen
    """
    chance = random.Random(f"{seed} jobs")
    images = -(-jobs // tenants)
    sizes = [_size(chance) if size is None else size for _ in range(images)]
    copies = list(_copies(chance, jobs, images, tenants))
    times = sorted(chance.uniform(0, seconds) for _ in copies)
    wishes = [
        Wish(at, *copy, cancel_after=_patience(chance) if trouble else None)
        for at, copy in zip(times, copies, strict=True)
    ]
    steps = []
    if trouble:
        steps = list(_steps(seed, seconds, workers, tenants))
    return Plan(
        seed=seed,
        seconds=seconds,
        workers=workers,
        steps=sorted(steps),
        wishes=wishes,
        sizes=sizes,
        tenants=tenants,
    )


def is_of_1_2(image: int) -> bool:
    """Tell whether an image is asked for in version 1.2, and with a key."""
    return image % 2 == 1


def _copies(
    chance: random.Random, jobs: int, images: int, tenants: int
) -> Iterator[tuple[int, Sequence[int]]]:
    """Yield an image and some tenants, until there are so many copies.

    The images of version 1.2 go to several tenants at once.
    """
    groups: list[tuple[int, list[int]]] = []
    for image in range(images):
        numbers = list(range(tenants))
        chance.shuffle(numbers)
        while numbers:
            size = chance.randint(1, _MOST_AT_ONCE) if is_of_1_2(image) else 1
            groups.append((image, numbers[:size]))
            del numbers[:size]
    chance.shuffle(groups)
    for image, group in groups:
        if jobs:
            chosen = group[:jobs]
            jobs -= len(chosen)
            yield image, tuple(chosen)


def _size(chance: random.Random) -> int:
    """Return a random size of an image: 0, small, or up to the largest."""
    kind = chance.random()
    if kind < 0.1:
        return 0
    if kind < 0.2:
        return chance.randint(1, 100)
    return int(1024 * (_LARGEST / 1024) ** chance.random())


def _patience(chance: random.Random) -> float | None:
    """Return the seconds after which a user cancels; None for never."""
    cancels, seconds = chance.random() < _CANCELED, chance.random()
    return seconds * _PATIENCE_OF_USERS if cancels else None


def _steps(
    seed: str, seconds: float, workers: int, tenants: int
) -> Iterator[Step]:
    for trouble in _TROUBLES:
        # Each kind has a generator of its own, so that a new kind changes no
        # other.
        chance = random.Random(f"{seed} {trouble.begin.name}")
        times = max(1, round(seconds / trouble.every))
        for number in range(times):
            at = (number + chance.random() / 2) * seconds / times
            subject = _subject(trouble.begin, number, workers, tenants, chance)
            yield Step(at, trouble.begin, subject)
            if trouble.end:
                lasts = chance.uniform(*trouble.lasts)
                if trouble.begin is not Act.TAKE_RIGHT:
                    # It must end before it begins again.
                    lasts = min(lasts, 0.49 * seconds / times)
                yield Step(at + lasts, trouble.end, subject)


def _subject(
    act: Act,
    number: int,
    workers: int,
    tenants: int,
    chance: random.Random,
) -> str:
    """Return a random subject of an act."""
    if act in (Act.KILL_WORKER, Act.END_WORKER, Act.HALT_WORKER):
        return str(chance.randrange(workers))
    if act in (Act.CUT_REGION, Act.CLOSE_REGION):
        return chance.choice(cloud.REGIONS)
    if act is Act.TAKE_RIGHT:
        # One after the other, so that no right is taken twice at once.
        user, tenant = number % USERS, (number // USERS) % tenants
        return f"{user} {tenant}"
    if act is Act.BEGIN_OUTAGE:
        return _OUTAGES[number % len(_OUTAGES)]
    return ""
