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

"""A cache of the problems of image services."""

import collections
import dataclasses
import math
import threading
import time
from collections.abc import Callable
from typing import Final

from image_replicator.images import probe

#: Seconds for which an answer is kept. A good one is kept because each copy
#: needs it, a bad one only so that not all requests ask at once.
_UP_SECONDS: Final = 5.0
_DOWN_SECONDS: Final = 1.0


@dataclasses.dataclass
class _Known:
    """The latest answer about one service.

    :ivar answered: whether the service has been asked yet.
    :ivar problem: the answer; None for a service that can be used.
    :ivar good_until: the time until which it is kept, by the clock.
    """

    answered: bool = False
    problem: probe.Problem | None = None
    good_until: float = -math.inf
    asking: bool = False


class Availability:
    """Checks each region's image service at times, in one thread at a time.

    The services of two regions could wait for each other: threads of the first
    check the second, all of whose threads wait for data that workers read from
    the first. So at most one thread of a process checks.

    :param ask: finds the problem of a region's image service, if it has one.
    :param clock: seconds, never going back.
    """

    def __init__(
        self,
        ask: Callable[[str], probe.Problem | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._changed = threading.Condition()
        self._known: dict[str, _Known] = collections.defaultdict(_Known)

    def problem(self, region: str) -> probe.Problem | None:
        """Return the recent problem of a region's image service.

        :returns: None if it can be used.
        """
        with self._changed:
            known = self._known[region]
            while known.asking and not known.answered:
                self._changed.wait()
            if known.answered and (
                known.asking or self._clock() < known.good_until
            ):
                return known.problem
            known.asking = True
        return self._find_out(region, known)

    def _find_out(self, region: str, known: _Known) -> probe.Problem | None:
        answered, problem = False, None
        try:
            problem = self._ask(region)
            answered = True
        finally:
            with self._changed:
                known.asking = False
                known.answered, known.problem = answered, problem
                seconds = _DOWN_SECONDS if problem else _UP_SECONDS
                known.good_until = self._clock() + seconds
                self._changed.notify_all()
        return problem
