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

"""The distance of a region: the shortest time in which it answered."""

import threading


class Distances:
    """The shortest time in which each region answered.

    A longer time is load, not distance. More requests would add to that
    load, and copies that begin at the same time would all send them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shortest: dict[str, float] = {}

    def update(self, region: str, seconds: float) -> float:
        """Record the time of an answer, and return the shortest so far.

        :param region: as the catalogue names it.
        :param seconds: from the request to the answer.
        """
        with self._lock:
            shortest = min(seconds, self._shortest.get(region, seconds))
            self._shortest[region] = shortest
        return shortest
