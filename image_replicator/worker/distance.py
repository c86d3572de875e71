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

"""How far away a region is, whatever it has to do just now."""

import threading


class Distances:
    """The shortest time in which each region has answered.

    What takes longer than that is load. To meet it with more requests would
    make it worse, and copies that begin together would all do so.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shortest: dict[str, float] = {}

    def note(self, region: str, seconds: float) -> float:
        """Take note of an answer; return the shortest time by now.

        :param seconds: from the request to the answer.
        """
        with self._lock:
            shortest = min(seconds, self._shortest.get(region, seconds))
            self._shortest[region] = shortest
        return shortest
