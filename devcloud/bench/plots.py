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

"""Draws the results with matplotlib."""

import dataclasses
import importlib
import pathlib
from collections.abc import Sequence
from typing import Any

from devcloud.bench.measure import Case
from devcloud.bench.measure import Spread

_FORMATS = ("png", "svg")


@dataclasses.dataclass(frozen=True)
class Plot:
    """The plot of a part.

    :ivar lines: the subjects begin with numbers, and cases are drawn as lines
        over them; else each case has a bar for each subject
    :ivar across: the label of these numbers
    """

    part: str
    metric: str
    title: str
    lines: bool = False
    across: str = ""


PLOTS = (
    Plot("lan", "s", "Seconds for a copy, nothing in the way"),
    Plot("wan", "s", "Seconds for a copy, by round trip"),
    Plot(
        "streams",
        "s",
        "Seconds for a copy, by number of streams",
        lines=True,
        across="streams",
    ),
    Plot("loss", "s", "Seconds for a copy, connections cut on the way"),
    Plot("https", "s", "Seconds for a copy, over TLS"),
    Plot("many", "s", "Seconds for many copies at once"),
    Plot("small", "jobs/s", "Small images per second"),
    Plot("api", "requests/s", "Requests per second"),
    Plot(
        "fleet",
        "claims/s",
        "Claims per second, by number of workers",
        lines=True,
        across="workers",
    ),
)


def draw(cases: Sequence[Case], directory: pathlib.Path) -> list[pathlib.Path]:
    """Write a file for each part that has results, in each format.

    :raises ImportError: if matplotlib is not installed
    """
    # It is imported by name, as only the benchmark has it installed.
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("agg")
    pyplot = importlib.import_module("matplotlib.pyplot")
    written = []
    for plot in PLOTS:
        chosen = [case for case in cases if _has(case, plot)]
        if not chosen:
            continue
        figure, axes = pyplot.subplots(figsize=(9, 5), layout="constrained")
        (_draw_lines if plot.lines else _draw_bars)(axes, plot, chosen)
        axes.set_title(plot.title)
        axes.set_ylabel(plot.metric)
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", alpha=0.3)
        figure.legend(loc="outside right upper")
        for extension in _FORMATS:
            path = directory / f"{plot.part}.{extension}"
            figure.savefig(path)
            written.append(path)
        pyplot.close(figure)
    return written


def _has(case: Case, plot: Plot) -> bool:
    return case.part == plot.part and any(
        metric == plot.metric for _subject, metric in case.series
    )


def _spreads(case: Case, metric: str) -> dict[str, Spread]:
    return {
        subject: Spread.of(values)
        for (subject, of), values in case.series.items()
        if of == metric
    }


def _errors(spreads: Sequence[Spread]) -> list[list[float]]:
    """Return the distances of minimum and maximum from each median."""
    return [
        [one.median - one.least for one in spreads],
        [one.most - one.median for one in spreads],
    ]


def _draw_bars(axes: Any, plot: Plot, cases: Sequence[Case]) -> None:
    """Draw a group of bars per case, with whiskers for the spread."""
    groups = [_spreads(case, plot.metric) for case in cases]
    subjects = list(dict.fromkeys(name for one in groups for name in one))
    width = 0.8 / len(subjects)
    for place, subject in enumerate(subjects):
        there = [
            (number, spreads[subject])
            for number, spreads in enumerate(groups)
            if subject in spreads
        ]
        axes.bar(
            [number - 0.4 + (place + 0.5) * width for number, _one in there],
            [one.median for _number, one in there],
            width,
            yerr=_errors([one for _number, one in there]),
            capsize=3,
            label=subject,
        )
    # The bars are narrow, so that the groups do not overlap.
    names = [case.name.replace(", ", ",\n") for case in cases]
    axes.set_xticks(range(len(cases)), names)


def _draw_lines(axes: Any, plot: Plot, cases: Sequence[Case]) -> None:
    """Draw a line per case, with whiskers for the spread."""
    numbers: set[int] = set()
    for case in cases:
        spreads = _spreads(case, plot.metric)
        across = [int(subject.split()[0]) for subject in spreads]
        numbers |= set(across)
        axes.errorbar(
            across,
            [one.median for one in spreads.values()],
            yerr=_errors(list(spreads.values())),
            capsize=3,
            marker="o",
            label=case.name,
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted(numbers), [str(one) for one in sorted(numbers)])
    axes.set_xlabel(plot.across)
