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

"""The schedule of a duty that is done at regular intervals."""

import time
from collections.abc import Callable

#: Returns seconds that never decrease, as :func:`time.monotonic` does.
Clock = Callable[[], float]


class Interval:
    """Tells when a recurring duty is due; it is due at once at first.

    :param seconds: between two runs.
    :param clock: the time that is measured by.
    """

    def __init__(self, seconds: float, clock: Clock = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._due = clock()

    def is_over(self) -> bool:
        """Return whether the duty is due; if so, start the next interval."""
        now = self._clock()
        if now < self._due:
            return False
        self._due = now + self._seconds
        return True
