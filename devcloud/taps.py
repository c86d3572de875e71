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

"""Holds, slows and counts the bytes of each connection."""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncGenerator
from collections.abc import Callable

from devcloud import carrier
from devcloud.carrier import Direction

_THROTTLED_PIECES = 50  # per second, so that a slow flow is smooth
_CATCH_UP = 0.1  # seconds of a pause that a throttled flow may make up for


@dataclasses.dataclass
class Tap:
    """The settings and counts of one direction of all connections.

    :ivar paused: whether no byte passes
    :ivar limit: bytes after which a connection is held; None for no limit
    :ivar rate: bytes per second of a connection; None for no limit
    :ivar passed: bytes that passed, of all connections
    :ivar held: the number of connections that are held now
    """

    paused: bool = False
    limit: int | None = None
    rate: float | None = None
    passed: int = 0
    held: int = 0


@dataclasses.dataclass
class _Flow:
    """One direction of one connection.

    :ivar passed: bytes so far
    :ivar due: the time.monotonic() at which the next bytes may pass by the
        rate
    """

    passed: int = 0
    due: float = 0.0


class Taps(carrier.Behaviour):
    """A tap for each direction, which acts on each connection separately.

    :param longest_hold: the seconds after which a held connection is cut, so
        that a forgotten hold ends
    """

    def __init__(self, longest_hold: float) -> None:
        self._longest_hold = longest_hold
        self._taps = {direction: Tap() for direction in Direction}
        self._changed = asyncio.Condition()

    def __getitem__(self, direction: Direction) -> Tap:
        return self._taps[direction]

    async def turn(
        self, direction: Direction | None, **settings: float | None
    ) -> None:
        """Change settings of the taps.

        :param direction: None for both
        :param settings: attributes of :class:`Tap`
        """
        async with self._changed:
            for each in [direction] if direction else list(Direction):
                for name, value in settings.items():
                    setattr(self._taps[each], name, value)
            self._changed.notify_all()

    async def wait_until(
        self, holds: Callable[[], bool], timeout: float
    ) -> bool:
        """Wait until a condition on the taps holds; return whether it does.

        :param timeout: seconds
        """
        async with self._changed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._changed.wait_for(holds)
            return holds()

    async def apply(
        self,
        link: carrier.Link,
        direction: Direction,
        pieces: AsyncGenerator[bytes],
    ) -> AsyncGenerator[bytes]:
        """Yield the bytes as the tap of their direction allows.

        :raises OSError: when a hold lasts too long
        """
        tap, flow = self._taps[direction], _Flow()
        async for piece in pieces:
            rest = piece
            while rest:
                await self._wait_for_turn(tap, flow)
                room = await self._room(tap, flow, len(rest))
                yield rest[:room]
                rest = rest[room:]
                flow.passed += room
                async with self._changed:
                    tap.passed += room
                    self._changed.notify_all()

    async def _wait_for_turn(self, tap: Tap, flow: _Flow) -> None:
        """Wait while the tap lets no byte pass.

        :raises OSError: when that lasts too long
        """

        def free() -> bool:
            full = tap.limit is not None and flow.passed >= tap.limit
            return not (tap.paused or full)

        if free():
            return
        async with self._changed:
            tap.held += 1
            self._changed.notify_all()
        try:
            if not await self.wait_until(free, self._longest_hold):
                raise ConnectionAbortedError
        finally:
            tap.held -= 1

    async def _room(self, tap: Tap, flow: _Flow, room: int) -> int:
        """Wait as the rate demands; return how many of some bytes may pass."""
        if tap.limit is not None:
            room = min(room, max(1, tap.limit - flow.passed))
        rate = tap.rate
        if rate:
            room = min(room, max(1, int(rate / _THROTTLED_PIECES)))
            wait = max(0.0, flow.due - time.monotonic())
            await self.wait_until(lambda: tap.rate != rate, wait)
            begin = max(flow.due, time.monotonic() - _CATCH_UP)
            flow.due = begin + room / rate
        return room
