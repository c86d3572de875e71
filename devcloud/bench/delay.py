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

"""A delay line: bytes come out a fixed time after they went in."""

import asyncio
import collections
import time


class DelayLine:
    """Holds bytes for a time, and no more of them than it has room for.

    :param delay: seconds
    :param room: bytes that may be on their way; whoever has more waits, as a
        sender does whose window is full
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
        """Send a piece on its way; an empty one is the end."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: not self._held or self._held + len(piece) <= self._room
            )
            self._held += len(piece)
            self._pieces.append((time.monotonic() + self._delay, piece))
            self._changed.notify_all()

    async def get(self) -> bytes:
        """Return the next piece, once it is there."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._pieces)
            due, piece = self._pieces.popleft()
        wait = due - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        return piece

    async def forget(self, piece: bytes) -> None:
        """Make room again: the other side has taken this piece."""
        async with self._changed:
            self._held -= len(piece)
            self._changed.notify_all()
