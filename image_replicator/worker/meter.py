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

"""Measures a parallel read, so that the number of streams can be adapted."""

import contextlib
import time
from collections.abc import Callable
from collections.abc import Iterator


class Meter:
    """Measures for how long streams read, and the upload waits for them.

    Not thread-safe: the caller holds a lock.

    :param clock: returns seconds; never goes back.
    :ivar busy: number of streams that are reading.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.busy = 0
        self._changed_at = 0.0
        self.restart(0)

    def restart(self, arrived: int) -> None:
        """Begin a new measurement.

        :param arrived: bytes that were read before.
        """
        self._began = self._changed_at = self._clock()
        self._arrived = arrived
        self._waited = 0.0
        self._stream_seconds = 0.0

    def change_busy(self, by: int) -> None:
        """Count streams that begin (positive) or end (negative) reading."""
        now = self._clock()
        self._stream_seconds += self.busy * (now - self._changed_at)
        self._changed_at = now
        self.busy += by

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Measure the time for which the upload waits for data."""
        began = self._clock()
        try:
            yield
        finally:
            self._waited += self._clock() - began

    def measure(
        self, arrived: int, pause: float
    ) -> tuple[float, float, float] | None:
        """Return what the tuner is to know, and begin a new measurement.

        :param arrived: bytes that were read so far.
        :param pause: seconds that a measurement takes.
        :returns: bytes per second, the share of the time for which the
            upload waited, and the mean number of busy streams; None before
            ``pause`` seconds have passed.
        """
        seconds = self._clock() - self._began
        if seconds < pause or not seconds:
            return None
        self.change_busy(0)
        seen = (
            (arrived - self._arrived) / seconds,
            self._waited / seconds,
            self._stream_seconds / seconds,
        )
        self.restart(arrived)
        return seen
