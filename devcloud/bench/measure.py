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

"""Results of measurements, and their ratios: medians and spreads.

Machines are noisy, so results of different runs are not compared. The subjects
take turns in one run, and the ratio is taken turn by turn.
"""

import dataclasses
import statistics
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

#: The values of one run of a subject, by metric, whose name has the unit.
Sample = Mapping[str, float]
Subject = Callable[[], Sample]


@dataclasses.dataclass(frozen=True)
class Spread:
    """The median, the minimum and the maximum of some values."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of one or more values."""
        return cls(statistics.median(values), min(values), max(values))


@dataclasses.dataclass(frozen=True)
class Aim:
    """The aim of a ratio: at least, or at most, a number."""

    bound: float
    at_most: bool = False

    def met_by(self, value: float) -> bool:
        """Tell whether a ratio meets the aim."""
        return value <= self.bound if self.at_most else value >= self.bound

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.bound:g}"


@dataclasses.dataclass(frozen=True)
class Ratio:
    """The ratios of one subject to another, turn by turn.

    :ivar values: one ratio per turn
    :ivar aim: None if the ratio has none
    """

    name: str
    values: Sequence[float]
    aim: Aim | None = None

    @property
    def met(self) -> bool | None:
        """Whether the median meets the aim; None without an aim."""
        if self.aim is None:
            return None
        return self.aim.met_by(Spread.of(self.values).median)


@dataclasses.dataclass
class Case:
    """The results of subjects that took turns under the same conditions.

    :ivar part: of the benchmark, such as ``wan``
    :ivar name: the conditions, such as ``80 ms``
    :ivar series: the values by subject and metric, one per turn
    :ivar notes: further sentences for the reader
    """

    part: str
    name: str
    series: dict[tuple[str, str], list[float]] = dataclasses.field(
        default_factory=dict
    )
    ratios: list[Ratio] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    def add(self, subject: str, sample: Sample) -> None:
        """Add the values of one run of a subject."""
        for metric, value in sample.items():
            self.series.setdefault((subject, metric), []).append(value)

    def compare(
        self, over: str, under: str, metric: str, aim: Aim | None = None
    ) -> None:
        """Add the ratio of two subjects."""
        pairs = zip(
            self.series[over, metric], self.series[under, metric], strict=True
        )
        values = [one / other for one, other in pairs]
        self.ratios.append(Ratio(f"{over} / {under}, {metric}", values, aim))


def take_turns(
    case: Case,
    subjects: Mapping[str, Subject],
    turns: int,
    say: Callable[[str], None],
) -> None:
    """Run all subjects in each turn, and add their values to a case.

    The order changes from turn to turn, so that no subject always runs after
    the same other one.

    :param say: is called with the progress
    """
    names = list(subjects)
    for turn in range(turns):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            sample = subjects[name]()
            case.add(name, sample)
            say(
                f"{case.part}, {case.name}: {turn + 1} of {turns}: {name}: "
                + ", ".join(f"{n:.4g} {unit}" for unit, n in sample.items())
            )
