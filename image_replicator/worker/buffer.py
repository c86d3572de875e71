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

"""The memory that the copies of one worker share."""

import threading


class Buffer:
    """Divides memory among the copies that run.

    A copy that runs alone reads further ahead, which a wide link pays for. If
    another one begins, each gets less. What was read already stays in memory
    until it is uploaded, so for some seconds there may be more than the total.

    :param total: bytes for all copies.
    :param most: the most bytes for one copy.
    """

    def __init__(self, total: int, most: int) -> None:
        self._total = total
        self._most = most
        self._lock = threading.Lock()
        self._copies = 0

    def join(self) -> None:
        """Count one more copy that runs."""
        with self._lock:
            self._copies += 1

    def leave(self) -> None:
        """Count one less."""
        with self._lock:
            self._copies -= 1

    def share(self) -> int:
        """Return the bytes that each copy may have in memory by now."""
        return min(self._most, self._total // max(1, self._copies))
