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

"""What was measured, and how it compares: pairs, medians and spreads.

Machines are noisy, so nothing is compared across runs. What is measured and
what it is measured against take turns, and the ratio is taken turn by turn.
"""

import dataclasses
import statistics
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

#: What one run of a subject gave, by metric; its name tells the unit.
Sample = Mapping[str, float]
Subject = Callable[[], Sample]


@dataclasses.dataclass(frozen=True)
class Spread:
    """A median, and the least and the most of what it is of."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of one or more values."""
        return cls(statistics.median(values), min(values), max(values))


@dataclasses.dataclass(frozen=True)
class Aim:
    """What a ratio is to be: at least, or at most, a number."""

    bound: float
    at_most: bool = False

    def met_by(self, value: float) -> bool:
        """Tell whether a ratio is as it should be."""
        return value <= self.bound if self.at_most else value >= self.bound

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.bound:g}"


@dataclasses.dataclass(frozen=True)
class Ratio:
    """One subject over another, turn by turn.

    :ivar values: one ratio per turn
    :ivar aim: None where the figure is for information
    """

    name: str
    values: Sequence[float]
    aim: Aim | None = None

    @property
    def met(self) -> bool | None:
        """Whether the median is as aimed at; None without an aim."""
        if self.aim is None:
            return None
        return self.aim.met_by(Spread.of(self.values).median)


@dataclasses.dataclass
class Case:
    """What took turns under the same conditions.

    :ivar part: of the benchmark, such as ``wan``
    :ivar name: the conditions, such as ``80 ms``
    :ivar series: the values by subject and metric, one per turn
    :ivar notes: what a reader has to know beside them
    """

    part: str
    name: str
    series: dict[tuple[str, str], list[float]] = dataclasses.field(
        default_factory=dict
    )
    ratios: list[Ratio] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    def add(self, subject: str, sample: Sample) -> None:
        """Note what one run of a subject gave."""
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
    """Run all subjects in each turn, and add what they give to a case.

    Who begins changes from turn to turn, so that nobody always profits, or
    suffers, from who was there before.

    :param say: is told how far it is
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
