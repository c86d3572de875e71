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

"""Writes the results as a table and as JSON."""

import dataclasses
import json
import textwrap
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from devcloud.bench.measure import Case
from devcloud.bench.measure import Ratio
from devcloud.bench.measure import Spread

_WIDTH = 79
_NAME_WIDTH = 42
_NUMBER_WIDTH = 8


def _number(value: float) -> str:
    """Return a number with about three significant digits."""
    size = abs(value)
    digits = 0 if size >= 1000 else 1 if size >= 100 else 2
    return f"{value:.{digits}f}"


def _row(name: str, cells: Iterable[str], last: str) -> str:
    columns = "".join(f"{cell:>{_NUMBER_WIDTH}}" for cell in cells)
    return f"  {name:{_NAME_WIDTH}}{columns}  {last}".rstrip()


def _spread_row(name: str, values: Sequence[float], last: str) -> str:
    spread = Spread.of(values)
    cells = (spread.median, spread.least, spread.most)
    return _row(name, map(_number, cells), last)


def _verdict(ratio: Ratio) -> str:
    """Return whether the aim of a ratio is met, if it has one."""
    if ratio.aim is None:
        return ""
    return "met" if ratio.met else "MISSED"


def _case_lines(case: Case) -> Iterator[str]:
    yield _row(
        f"{case.part}: {case.name}", ("median", "least", "most"), ""
    ).strip()
    yield "-" * _WIDTH
    for (subject, metric), values in case.series.items():
        yield _spread_row(f"{subject}, {metric}", values, f"n={len(values)}")
    for ratio in case.ratios:
        yield _spread_row(ratio.name, ratio.values, _verdict(ratio))
    for note in case.notes:
        yield from textwrap.wrap(
            note, _WIDTH, initial_indent="  ", subsequent_indent="  "
        )


def _machine_lines(machine: Mapping[str, str]) -> Iterator[str]:
    yield from textwrap.wrap(
        ", ".join(f"{name} {value}" for name, value in machine.items()), _WIDTH
    )


def _aim_lines(cases: Sequence[Case]) -> Iterator[str]:
    """Yield each aim with the measured ratio."""
    found = [
        (case, ratio) for case in cases for ratio in case.ratios if ratio.aim
    ]
    if not found:
        return
    yield _row("aims", ("median", "least", "most"), "").strip()
    yield "=" * _WIDTH
    for case, ratio in found:
        yield f"{case.part}: {case.name}: aimed at {ratio.aim}"
        yield _spread_row(ratio.name, ratio.values, _verdict(ratio))
    yield ""


def table(machine: Mapping[str, str], cases: Sequence[Case]) -> str:
    """Return a table of at most 79 columns.

    :param machine: the description of the machine
    """
    lines = [*_machine_lines(machine), "", *_aim_lines(cases)]
    for case in cases:
        lines += [*_case_lines(case), ""]
    return "\n".join(lines)


def _ratio_object(ratio: Ratio) -> dict[str, Any]:
    return {
        "name": ratio.name,
        "values": list(ratio.values),
        **dataclasses.asdict(Spread.of(ratio.values)),
        "aim": str(ratio.aim) if ratio.aim else None,
        "met": ratio.met,
    }


def _case_object(case: Case) -> dict[str, Any]:
    return {
        "part": case.part,
        "name": case.name,
        "series": [
            {
                "subject": subject,
                "metric": metric,
                "values": values,
                **dataclasses.asdict(Spread.of(values)),
            }
            for (subject, metric), values in case.series.items()
        ],
        "ratios": [_ratio_object(ratio) for ratio in case.ratios],
        "notes": case.notes,
    }


def as_json(
    machine: Mapping[str, str],
    options: Mapping[str, Any],
    cases: Sequence[Case],
) -> str:
    """Return all results as JSON.

    :param options: of the run
    """
    document = {
        "machine": machine,
        "options": options,
        "cases": [_case_object(case) for case in cases],
    }
    return json.dumps(document, indent=1) + "\n"
