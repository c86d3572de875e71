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

"""How many streams a copy reads with: found by trying, configured by none."""

import math
import time
from collections.abc import Callable
from typing import Final

#: Seconds for an answer that only a source far away takes. It is begun with
#: a stream for each of the shorter ones: over a long way a connection is slow,
#: and a guess that was wrong costs little.
_FAR: Final = 0.06
_SECONDS_PER_STREAM: Final = 0.007

#: The part of its time for which the upload may wait for data.
_HUNGRY: Final = 0.1

#: The part of its time for which a single stream may read, and not send.
_HUNGRY_ALONE: Final = 0.5

#: Twice as many streams must bring this much more. From near, those beyond
#: the second are worth it only where each is slow by itself: they cost the
#: source a request each, and what looks like more may be others that left
#: room for a moment. With the second, reading and sending go on at once.
_PAYS: Final = 1.1
_PAYS_NEAR: Final = 1.5

#: Streams beyond those that are busy, so that one that is slow does not hurt.
_SPARE: Final = 1.25

#: Looks in a row by which more streams must have failed to pay. One may have
#: met a moment in which the machine, or the link, was busy with others.
_DOUBTS: Final = 2

#: Seconds before what did not pay is tried again: soon, as what it is judged
#: by may have been a burst out of some buffer; each time it fails, twice as
#: many, so that a link that is full is left alone.
_PATIENCE: Final = 1.0
_MOST_PATIENCE: Final = 60.0

#: Seconds for which a source that has too much to do gets no more of it.
_RESPITE: Final = 20.0


class Tuner:
    """Decides on the number of streams.

    It grows while the upload waits for data and more streams bring more of
    it; it shrinks when streams have nothing to do, or the source is busy.

    :param least: streams at least.
    :param most: streams at most.
    :param latency: seconds that the source takes for an answer.
    :param clock: seconds, never going back.
    :ivar streams: the number.
    """

    def __init__(
        self,
        least: int,
        most: int,
        latency: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._least = least
        self._most = most
        self._clock = clock
        self._grown_from: tuple[int, float] | None = None
        self._doubts = 0
        self._patience = _PATIENCE
        self._no_growth_before = clock()
        far = latency > _FAR
        self._pays = _PAYS if far else _PAYS_NEAR
        guess = round(latency / _SECONDS_PER_STREAM) if far else 1
        self.streams = max(least, min(most, guess))

    def observe(
        self, rate: float, waiting: float, busy: float | None = None
    ) -> None:
        """Take note of how it went since the last time.

        :param rate: bytes per second.
        :param waiting: the part of the time, 0 to 1, for which the upload
            waited for data.
        :param busy: how many streams were reading, on average; None for a
            single one, which does not read while it sends.
        """
        limit = _HUNGRY_ALONE if busy is None else _HUNGRY
        if waiting > limit:
            self._grow(rate)
        elif busy is not None:
            self._forget_growth()
            needed = math.ceil(busy * _SPARE)
            self.streams = max(self._least, min(self.streams, needed))

    def _grow(self, rate: float) -> None:
        if self._grown_from and rate < self._least_that_pays(
            *self._grown_from
        ):
            self._doubt(self._grown_from[0])
        elif self._clock() >= self._no_growth_before:
            if self._grown_from:
                self._patience = _PATIENCE
            self._doubts = 0
            self._grown_from = (self.streams, rate)
            self.streams = min(self._most, self.streams * 2)

    def _least_that_pays(self, streams: int, rate: float) -> float:
        return rate * (_PAYS if streams == 1 else self._pays)

    def _doubt(self, before: int) -> None:
        """Go back if more have not brought more for long enough."""
        self._doubts += 1
        if self._doubts == _DOUBTS:
            # The link, or the source, is full.
            self.streams = before
            self._wait(self._patience)
            self._patience = min(_MOST_PATIENCE, 2 * self._patience)

    def refused(self) -> None:
        """Take note that the source has too much to do."""
        self.streams = max(self._least, self.streams // 2)
        self._wait(_RESPITE)

    def stay_single(self) -> None:
        """Take note that the source cannot send parts of the image."""
        self._least = self._most = self.streams = 1

    def _wait(self, seconds: float) -> None:
        self._forget_growth()
        self._no_growth_before = self._clock() + seconds

    def _forget_growth(self) -> None:
        self._grown_from = None
        self._doubts = 0
