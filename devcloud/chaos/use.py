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

"""Samples the resources that workers use, and checks that none grows.

A worker runs for months, so no use may grow with time.
"""

import dataclasses
import pathlib
import statistics
import threading
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from types import TracebackType
from typing import Final
from typing import Self

Sample = Mapping[str, float]

MEBIBYTE: Final = 1 << 20

#: The increase of each resource, beyond 5 %, that does not count as growth.
_SLACK: Final[Sample] = {
    "MiB of memory": 2.0,
    "threads": 2,
    "file descriptors": 3,
    "database connections": 3,
}
_GROWTH: Final = 1.05

_INTERVAL: Final = 0.5  # seconds between two samples
_LEAST: Final = 40  # samples that a judgement takes


def of_process(pid: int) -> dict[str, float]:
    """Return the resources that a process uses.

    :raises OSError: if the process has ended
    """
    directory = pathlib.Path(f"/proc/{pid}")
    status = dict(
        line.split(":", 1)
        for line in (directory / "status").read_text().splitlines()
    )
    return {
        "MiB of memory": int(status["VmRSS"].split()[0]) * 1024 / MEBIBYTE,
        "threads": int(status["Threads"]),
        "file descriptors": sum(1 for _ in (directory / "fd").iterdir()),
    }


@dataclasses.dataclass(frozen=True)
class Course:
    """The use of one resource over time.

    :ivar values: one for each sample
    """

    values: Sequence[float]

    @property
    def early(self) -> float:
        """The median of the second quarter; the first one is the warm-up."""
        return self._median(1)

    @property
    def late(self) -> float:
        """The median of the last quarter."""
        return self._median(3)

    def _median(self, quarter: int) -> float:
        size = len(self.values) // 4
        return statistics.median(
            self.values[quarter * size : (quarter + 1) * size]
        )

    def grows(self, slack: float) -> bool:
        """Tell whether the late median exceeds the early one."""
        return self.late > self.early * _GROWTH + slack

    def __str__(self) -> str:
        return (
            f"{self.early:.1f} early, {self.late:.1f} late, "
            f"at most {max(self.values):.1f}"
        )


class Watch:
    """A context that takes samples while it is open.

    :param subjects: functions that return a sample, by name; each may raise
        OSError
    """

    def __init__(self, subjects: Mapping[str, Callable[[], Sample]]) -> None:
        self._subjects = subjects
        self._samples: dict[str, list[Sample]] = {
            name: [] for name in subjects
        }
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_INTERVAL):
            self.sample()

    def sample(self) -> None:
        """Take a sample of each subject that has not ended."""
        for name, ask in self._subjects.items():
            try:
                self._samples[name].append(ask())
            except OSError:
                continue

    def courses(self) -> Mapping[str, Course]:
        """Return the course of each resource that has enough samples."""
        return {
            f"{name}: {what}": Course([sample[what] for sample in samples])
            for name, samples in self._samples.items()
            if len(samples) >= _LEAST
            for what in samples[0]
        }

    def violations(self) -> Iterator[str]:
        """Yield a sentence for each resource that grew, or has few samples."""
        for name, samples in self._samples.items():
            if len(samples) < _LEAST:
                yield f"{name}: {len(samples)} samples are too few"
        for name, course in self.courses().items():
            what = name.rpartition(": ")[2]
            if course.grows(_SLACK[what]):
                yield f"{name}: it grows, {course}"
