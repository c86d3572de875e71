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

"""Simulates a distant network between two ports of this machine.

It delays bytes by half a round trip each way, and the first bytes of a
connection by one round trip more, as its setup takes one. It caps the rate of
each connection and of the link, each way, and may cut connections after a
random number of bytes. It does not simulate TCP's slow start: a connection has
its full rate at once, which favours readers with few connections.
"""

import asyncio
import collections
import dataclasses
import json
import random
import time
from collections.abc import AsyncGenerator
from collections.abc import Callable
from typing import Final

from devcloud import carrier
from devcloud.carrier import Direction

#: Bytes per second of one Mbit/s.
MEGABIT: Final = 1e6 / 8

_PIECE_SECONDS = 0.01  # of a connection's rate; longer pieces are less smooth
_SMALLEST_PIECE = 16 * 1024
_LARGEST_PIECE = 256 * 1024
_CONNECTION_SLACK = 0.02  # seconds
_LINK_SLACK = 0.05  # seconds
_WINDOW_SECONDS = 0.25  # of the rate, beside what the delay holds


@dataclasses.dataclass(frozen=True)
class Shape:
    """The delay, the rates and the cuts of a link.

    :ivar round_trip: seconds
    :ivar connection_rate: bytes per second of one connection, each way
    :ivar link_rate: bytes per second of all connections, each way
    :ivar mean_bytes_to_cut: the mean bytes after which a connection is cut; 0
        for never
    """

    round_trip: float
    connection_rate: float
    link_rate: float
    mean_bytes_to_cut: float = 0

    @property
    def delay(self) -> float:
        """The seconds that a byte takes one way."""
        return self.round_trip / 2

    def __str__(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def parse(cls, text: str) -> "Shape":
        """Return the shape that :meth:`__str__` wrote."""
        return cls(**json.loads(text))


class Bucket:
    """Lets bytes pass at a rate.

    :param rate: bytes per second
    :param slack: seconds of a pause whose bytes may be sent at once
        afterwards, so that a late timer does not lower the mean rate
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
        """Reserve the rate for a number of bytes, after all earlier ones.

        :returns: seconds until the last of them has passed
        """
        now = self._clock()
        # The time before the first byte does not count as a pause.
        due = now if self._due is None else max(self._due, now - self._slack)
        self._due = due + size / self._rate
        return max(0.0, self._due - now)


class DelayLine:
    """Delays a limited number of bytes.

    :param delay: seconds
    :param room: the most bytes that are delayed at once; a sender with more
        waits, as for a full TCP window
    """

    def __init__(self, delay: float, room: int) -> None:
        self._delay = delay
        self._room = room
        self._held = 0
        self._pieces: collections.deque[tuple[float, bytes]] = (
            collections.deque()
        )
        self._changed = asyncio.Condition()

    async def put(self, piece: bytes) -> None:
        """Add a piece; wait while there is no room."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: not self._held or self._held + len(piece) <= self._room
            )
            self._held += len(piece)
            self._pieces.append((time.monotonic() + self._delay, piece))
            self._changed.notify_all()

    async def end(self) -> None:
        """Add an empty piece, which is the last one."""
        async with self._changed:
            self._pieces.append((time.monotonic() + self._delay, b""))
            self._changed.notify_all()

    async def get(self) -> bytes:
        """Return the next piece after its delay; an empty one is the end."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._pieces)
            due, piece = self._pieces.popleft()
        wait = due - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        return piece

    async def forget(self, piece: bytes) -> None:
        """Free the room of a piece that the other side has taken."""
        async with self._changed:
            self._held -= len(piece)
            self._changed.notify_all()


class Distance(carrier.Behaviour):
    """The behaviour of a link with a shape."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        # Each direction has the link's full rate.
        self._links = {
            direction: Bucket(shape.link_rate, _LINK_SLACK)
            for direction in Direction
        }

    @property
    def piece(self) -> int:
        """The bytes that a carrier should read at a time, for an even flow."""
        wanted = int(self._shape.connection_rate * _PIECE_SECONDS)
        return min(max(wanted, _SMALLEST_PIECE), _LARGEST_PIECE)

    async def begin(self, link: carrier.Link) -> None:
        """Wait for the round trip that the setup of a connection takes.

        Bytes that the client has already sent wait in the kernel.
        """
        await asyncio.sleep(self._shape.round_trip)

    async def apply(
        self,
        link: carrier.Link,
        direction: Direction,
        pieces: AsyncGenerator[bytes],
    ) -> AsyncGenerator[bytes]:
        """Yield the bytes, delayed and slowed.

        :raises OSError: when the connection is to break off
        """
        rate = self._shape.connection_rate
        window = int(rate * (self._shape.delay + _WINDOW_SECONDS))
        line = DelayLine(self._shape.delay, max(window, _LARGEST_PIECE))
        filling = asyncio.create_task(
            self._fill(line, link, self._links[direction], pieces)
        )
        try:
            while piece := await line.get():
                yield piece
                await line.forget(piece)
            await filling
        finally:
            filling.cancel()
            await asyncio.wait([filling])

    async def _fill(
        self,
        line: DelayLine,
        link: carrier.Link,
        link_bucket: Bucket,
        pieces: AsyncGenerator[bytes],
    ) -> None:
        """Add pieces to the delay line, at the rates of the shape.

        :raises OSError: when the connection is to break off
        """
        own = Bucket(self._shape.connection_rate, _CONNECTION_SLACK)
        allowance = self._allowance()
        try:
            async for piece in pieces:
                size = len(piece)
                await asyncio.sleep(
                    max(own.take(size), link_bucket.take(size))
                )
                allowance -= size
                if allowance < 0:
                    link.reset()
                    raise ConnectionAbortedError
                await line.put(piece)
        finally:
            await line.end()

    def _allowance(self) -> float:
        """Return the number of bytes after which a connection is cut."""
        mean = self._shape.mean_bytes_to_cut
        return random.expovariate(1 / mean) if mean else float("inf")
