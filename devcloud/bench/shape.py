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

"""What a long way between two regions is like."""

import dataclasses
import json

#: Bytes per second of one Mbit/s.
MEGABIT = 1e6 / 8


@dataclasses.dataclass(frozen=True)
class Shape:
    """What a link does to what passes.

    :ivar round_trip: seconds
    :ivar connection_rate: bytes per second of one connection, each way
    :ivar link_rate: bytes per second of all connections, each way
    :ivar mean_bytes_to_cut: after how many bytes a connection breaks off, in
        the mean; 0 for never
    """

    round_trip: float
    connection_rate: float
    link_rate: float
    mean_bytes_to_cut: float = 0

    @property
    def delay(self) -> float:
        """Seconds that a byte takes one way."""
        return self.round_trip / 2

    def __str__(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def parse(cls, text: str) -> "Shape":
        """Return what :meth:`__str__` wrote."""
        return cls(**json.loads(text))
