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

"""Which image services answer, known without asking each time."""

import collections
import dataclasses
import math
import threading
import time
from collections.abc import Callable
from typing import Final

#: Seconds for which an answer counts: that a service is up, as it is asked
#: before each copy; that it is down, only so that not all find out at once.
_UP_SECONDS: Final = 5.0
_DOWN_SECONDS: Final = 1.0


@dataclasses.dataclass
class _Known:
    """What is known of one service.

    :ivar up: None while nobody has an answer.
    :ivar good_until: by the clock.
    """

    up: bool | None = None
    good_until: float = -math.inf
    asking: bool = False


class Availability:
    """Asks each region's image service now and then, one thread at a time.

    The services of two regions can wait for each other: threads of the one
    ask whether the other is up, whose threads all wait for bytes that workers
    read from the first. So no more than one thread of a process may be lost
    to the question.

    :param ask: tells whether a region's image service answers.
    :param clock: seconds, never going back.
    """

    def __init__(
        self,
        ask: Callable[[str], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._changed = threading.Condition()
        self._known: dict[str, _Known] = collections.defaultdict(_Known)

    def is_up(self, region: str) -> bool:
        """Tell whether a region's image service answered of late."""
        with self._changed:
            known = self._known[region]
            while known.up is None and known.asking:
                self._changed.wait()
            if known.up is not None and (
                known.asking or self._clock() < known.good_until
            ):
                return known.up
            known.asking = True
        up: bool | None = None
        try:
            up = self._ask(region)
        finally:
            with self._changed:
                self._note(known, up)
        return up

    def _note(self, known: _Known, up: bool | None) -> None:
        known.asking = False
        known.up = up
        seconds = _UP_SECONDS if up else _DOWN_SECONDS
        known.good_until = self._clock() + seconds
        self._changed.notify_all()
