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

"""Measures and limits the rate of bytes."""

import math
import threading
import time
from collections.abc import Callable

from image_replicator import exception
from image_replicator.errors import ErrorCode

#: Seconds after which the smoothed rate shows two thirds of a change.
_SMOOTHING: float = 10.0

#: The longest pause, in seconds, whose bytes may be sent at once afterwards.
_BURST: float = 0.25


class Smoothed:
    """The smoothed rate at which a count grows.

    :param clock: returns seconds; never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._time: float | None = None
        self._count = 0
        self._rate: float | None = None

    def update(self, count: int) -> int | None:
        """Return the rate per second; None before the second call.

        :param count: its present value; a smaller one than before restarts
            the measurement.
        """
        now = self._clock()
        if self._time is None or count < self._count:
            self._rate = None
        elif now > self._time:
            self._rate = self._smoothed(
                (count - self._count) / (now - self._time), now - self._time
            )
        self._time = now
        self._count = count
        return None if self._rate is None else round(self._rate)

    def _smoothed(self, latest: float, seconds: float) -> float:
        if self._rate is None:
            return latest
        weight = 1 - math.exp(-seconds / _SMOOTHING)
        return self._rate + weight * (latest - self._rate)


class Limiter:
    """A limit of bytes per second that several threads share.

    Bytes are granted in the order of the calls, so that all threads get an
    equal share.

    :param rate: bytes per second; 0 for no limit.
    :param clock: returns seconds; never goes back.
    """

    def __init__(
        self, rate: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = clock()

    def reserve(self, size: int) -> float:
        """Reserve bytes; return the seconds to wait before sending them."""
        if not self._rate:
            return 0.0
        with self._lock:
            now = self._clock()
            begin = max(self._free_at, now - _BURST)
            self._free_at = begin + size / self._rate
            return max(0.0, begin - now)

    def piece(self, size: int) -> int:
        """Return how many of some bytes to send at a time.

        :param size: bytes that are to be sent.
        """
        if not self._rate:
            return size
        return min(size, max(1, int(self._rate * _BURST)))


class WhileWaiting:
    """The rate of a source while the upload waits for it.

    So a slow destination, or a limit of ours, does not count.

    :param period: seconds of waiting that each measurement takes.
    """

    def __init__(self, period: float) -> None:
        self._period = period
        self._bytes = 0
        self._seconds = 0.0

    def measure(self, size: int, seconds: float) -> float | None:
        """Count bytes of the source.

        :param size: bytes that came.
        :param seconds: seconds for which they were waited for.
        :returns: bytes per second of waiting, if a measurement ends here.
        """
        self._bytes += size
        self._seconds += seconds
        if self._seconds < self._period or not self._seconds:
            return None
        rate = self._bytes / self._seconds
        self._bytes = 0
        self._seconds = 0.0
        return rate


class Minimum:
    """Detects a source that is too slow.

    :param rate: bytes per second of waiting, at least; 0 for no minimum.
    :param period: seconds of waiting after which the rate is looked at.
    """

    def __init__(self, rate: int, period: float) -> None:
        self._rate = rate
        self._measured = WhileWaiting(period)

    def check(self, size: int, seconds: float) -> None:
        """Count bytes of the source.

        :param size: bytes that came.
        :param seconds: seconds for which they were waited for.
        :raises TransferError: if the source is too slow.
        """
        rate = self._measured.measure(size, seconds)
        if rate is not None and rate < self._rate:
            raise exception.TransferError(
                ErrorCode.SOURCE_TOO_SLOW,
                f"The source has sent {rate:.0f} bytes per second while the "
                f"copy waited for it; at least {self._rate} bytes per second "
                "are wanted.",
            )
