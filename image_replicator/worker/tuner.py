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

"""Finds the number of streams that a copy reads with, by trying."""

import math
import time
from collections.abc import Callable
from typing import Final

#: Seconds of a round trip from which a source counts as far away. A copy from
#: there begins with one stream for each _SECONDS_PER_STREAM: a connection
#: over a long way is slow, and a wrong guess costs little.
_FAR: Final = 0.03
_SECONDS_PER_STREAM: Final = 0.0035

#: Share of the time for which the upload may wait for data.
_HUNGRY: Final = 0.1

#: The same for a single stream, whose reading and sending share a machine.
_HUNGRY_ALONE: Final = 0.5

#: Factor by which the rate must grow when the number of streams grows. Where
#: the first byte of a piece comes soon, more is asked for beyond the second
#: stream: each one costs the source a request, and a higher rate may be other
#: traffic that paused. Where it takes long, streams wait most of the time, and
#: others can use that time.
_PAYS: Final = 1.1
_PAYS_NEAR: Final = 1.5
_LONG_LATENCY: Final = 0.06

#: Factors by which the number grows: while it is new and each growth raises
#: the rate by _FAST_PAYS at least, and later.
_FAST_GROWTH: Final = 4
_GROWTH: Final = 2
_FAST_PAYS: Final = 2.0

#: Streams for each busy one, so that a slow stream does not hold up others.
_SPARE: Final = 1.25

#: Measurements in a row that must show that more streams do not pay. A single
#: one may have met a moment in which the machine or the link was busy.
_DOUBTS: Final = 2

#: Seconds before growth that did not pay is tried again. The first is short,
#: as the rate before may have been a burst from a buffer; it doubles with each
#: failure, so that a full link is left alone.
_PATIENCE: Final = 1.0
_MOST_PATIENCE: Final = 60.0

#: Seconds without growth after the source said that it is overloaded.
_RESPITE: Final = 20.0


class Tuner:
    """Decides on the number of streams.

    It grows while the upload waits for data and more streams raise the rate;
    it shrinks when streams are idle or the source is overloaded.

    :param least: smallest number of streams.
    :param most: largest number of streams.
    :param round_trip: seconds that a round trip to the source takes.
    :param known: the number that an earlier copy from the same region settled
        on; None if that is not known.
    :param clock: returns seconds; never goes back.
    :ivar streams: the number.
    :ivar fast: whether the number grows fast, as it is new.
    """

    def __init__(
        self,
        least: int,
        most: int,
        round_trip: float,
        known: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._least = least
        self._most = most
        self._alone = False
        self._clock = clock
        self._grown_from: tuple[int, float] | None = None
        self._doubts = 0
        self._patience = _PATIENCE
        self._no_growth_before = clock()
        far = round_trip > _FAR
        guess = round(round_trip / _SECONDS_PER_STREAM) if far else 1
        guess = max(guess, known or 1)
        self.streams = max(least, min(most, guess))
        self.fast = True

    @property
    def _at_least(self) -> int:
        return 1 if self._alone else self._least

    @property
    def _at_most(self) -> int:
        return 1 if self._alone else self._most

    def observe(
        self, rate: float, waiting: float, busy: float, latency: float
    ) -> None:
        """Adapt the number to a measurement.

        :param rate: bytes per second.
        :param waiting: share of the time, 0 to 1, for which the upload
            waited for data.
        :param busy: mean number of streams that were reading.
        :param latency: seconds from a request to its first byte.
        """
        if waiting > (_HUNGRY if self.streams > 1 else _HUNGRY_ALONE):
            self._grow(rate, latency)
        elif self.streams > 1:
            # From now on single moments must not decide.
            self.fast = False
            self._forget_growth()
            needed = math.ceil(busy * _SPARE)
            self.streams = max(self._at_least, min(self.streams, needed))

    def _grow(self, rate: float, latency: float) -> None:
        if self._grown_from and rate < self._least_that_pays(
            *self._grown_from, latency
        ):
            self._doubt(self._grown_from[0])
        elif self._clock() >= self._no_growth_before:
            if self._grown_from:
                self._patience = _PATIENCE
                self.fast &= rate >= _FAST_PAYS * self._grown_from[1]
            self._doubts = 0
            self._grown_from = (self.streams, rate)
            factor = _FAST_GROWTH if self.fast else _GROWTH
            self.streams = min(self._at_most, self.streams * factor)
            self.fast &= self.streams < self._at_most

    def _least_that_pays(
        self, streams: int, rate: float, latency: float
    ) -> float:
        soon = streams > 1 and latency < _LONG_LATENCY
        return rate * (_PAYS_NEAR if soon else _PAYS)

    def _doubt(self, before: int) -> None:
        """Shrink again if growth has not paid for long enough."""
        self._doubts += 1
        if self._doubts == _DOUBTS:
            # The link or the source is at its limit.
            self.streams = before
            self._wait(self._patience)
            self._patience = min(_MOST_PATIENCE, 2 * self._patience)

    def back_off(self) -> None:
        """Halve the number, as the source is overloaded."""
        self.streams = max(self._at_least, self.streams // 2)
        self._wait(_RESPITE)

    def use_one_stream(self, alone: bool = True) -> None:
        """Keep to one stream, as the source sends no ranges.

        :param alone: False once another source is read, which does.
        """
        if alone != self._alone:
            self._alone = alone
            self.streams = 1 if alone else self._at_least

    def _wait(self, seconds: float) -> None:
        self.fast = False
        self._forget_growth()
        self._no_growth_before = self._clock() + seconds

    def _forget_growth(self) -> None:
        self._grown_from = None
        self._doubts = 0
