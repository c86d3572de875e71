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

"""A token bucket: how long bytes take to pass at a rate."""

import time
from collections.abc import Callable


class Bucket:
    """Lets bytes pass at a rate.

    :param rate: bytes per second
    :param slack: seconds of the rate that may be made up for after a pause;
        a timer that comes late then does not lower the mean
    :param clock: tells the time in seconds
    """

    def __init__(
        self,
        rate: float,
        slack: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = rate
        self._slack = slack
        self._clock = clock
        self._due: float | None = None

    def take(self, size: int) -> float:
        """Let so many bytes pass behind those before.

        :returns: seconds until the last of them has passed
        """
        now = self._clock()
        # What was not used before the first byte is nothing to make up for.
        due = now if self._due is None else max(self._due, now - self._slack)
        self._due = due + size / self._rate
        return max(0.0, self._due - now)
