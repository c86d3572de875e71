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

"""A TCP proxy between two ends, which can be told to do harm.

It listens on a free port of 127.0.0.1 and forwards to another one. All taps
act on each connection alone, and Glance under uWSGI serves one request per
connection; so ``hold_after(1000)`` lets short answers pass and stops each
download once 1000 bytes of it (its headers included) went through.

Up to about 200 KB more than what passed may wait in the kernel's buffers, and
what a client has sent, it has sent: with an upload that is held, the client
notices only when these buffers, its own among them, are full.

Whatever else shall happen to what passes is a behaviour, such as
:class:`.faults.Faults` or :class:`.distance.Distance`.
"""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from collections.abc import Sequence
from typing import Any
from typing import TypeVar

import fixtures

from devcloud import carrier
from devcloud import ports
from devcloud import taps
from devcloud.carrier import Direction as Direction

_BUFFER = 1 << 16  # bytes that the kernel shall buffer for each socket
_PATIENCE = 5.0  # seconds to wait for the thread

_Result = TypeVar("_Result")


class Proxy(fixtures.Fixture):
    """Stands between a client and a server; see the module.

    :param upstream_port: where to forward to; it can be told later, by
        :meth:`connect_to`
    :param longest_hold: seconds; a connection that waits longer is cut, so
        that a forgotten hold ends by itself
    :param behaviours: what happens to the bytes before they come to the taps

    :ivar port: where it listens
    """

    port: int

    def __init__(
        self,
        upstream_port: int | None = None,
        longest_hold: float = 60.0,
        behaviours: Sequence[carrier.Behaviour] = (),
    ) -> None:
        super().__init__()
        self._upstream_port = upstream_port
        self._longest_hold = longest_hold
        self._behaviours = behaviours

    def _setUp(self) -> None:
        self._taps = taps.Taps(self._longest_hold)
        self._carrier = carrier.Carrier(
            [*self._behaviours, self._taps], buffer=_BUFFER
        )
        self._carrier.upstream_port = self._upstream_port
        self._listener = ports.listen(None, "a proxy")
        self.port = ports.number(self._listener)
        self._loop = asyncio.new_event_loop()
        self._serving = self._loop.create_task(
            self._carrier.serve(self._listener)
        )
        self._thread = threading.Thread(
            target=self._run, name=f"proxy-{self.port}", daemon=True
        )
        self._thread.start()
        self.addCleanup(self._stop)

    def _run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._serving)
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())

    def _stop(self) -> None:
        """End the thread and close all sockets."""
        self._loop.call_soon_threadsafe(self._serving.cancel)
        self._thread.join(_PATIENCE)
        self._listener.close()
        if not self._thread.is_alive():
            self._loop.close()

    def _do(self, action: Coroutine[Any, Any, _Result]) -> _Result:
        """Do something in the thread of the proxy; return its result."""
        future = asyncio.run_coroutine_threadsafe(action, self._loop)
        return future.result()

    @property
    def url(self) -> str:
        """Where it listens, as an HTTP endpoint without a path."""
        return f"http://{ports.HOST}:{self.port}"

    def connect_to(self, upstream_port: int) -> None:
        """Forward connections to come to another port."""
        self._carrier.upstream_port = upstream_port

    # Taps

    def hold_after(
        self, n_bytes: int, direction: Direction = Direction.DOWNLOAD
    ) -> None:
        """Hold each connection once so many of its bytes have passed."""
        self._do(self._taps.turn(direction, limit=n_bytes))

    def pause(self, direction: Direction | None = None) -> None:
        """Let no byte pass, in one direction or in both."""
        self._do(self._taps.turn(direction, paused=True))

    def release(self, direction: Direction | None = None) -> None:
        """End :meth:`pause` and :meth:`hold_after`."""
        self._do(self._taps.turn(direction, paused=False, limit=None))

    def throttle(
        self,
        bytes_per_second: float | None,
        direction: Direction | None = None,
    ) -> None:
        """Slow each connection down; None lets it run again."""
        self._do(self._taps.turn(direction, rate=bytes_per_second))

    # Connections

    def refuse(self, refusing: bool = True) -> None:
        """Cut connections to come at once, or take them again."""
        self._carrier.refusing = refusing

    def cut(self) -> int:
        """Cut all connections; return how many there were."""

        async def cut() -> int:
            return self._carrier.cut()

        return self._do(cut())

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return self._carrier.connections

    # Looks

    @property
    def bytes_passed(self) -> int:
        """Bytes that passed so far, of all connections, both ways."""
        return sum(self.passed(direction) for direction in Direction)

    def passed(self, direction: Direction) -> int:
        """Return the bytes that passed one way, of all connections."""
        return self._taps[direction].passed

    def wait_until_held(
        self,
        connections: int = 1,
        direction: Direction = Direction.DOWNLOAD,
        timeout: float = 30.0,
    ) -> bool:
        """Wait until so many connections are held; return whether they are.

        :param timeout: seconds
        """
        tap = self._taps[direction]
        return self._do(
            self._taps.wait_until(lambda: tap.held >= connections, timeout)
        )

    def wait_for_bytes(
        self,
        n_bytes: int,
        direction: Direction = Direction.DOWNLOAD,
        timeout: float = 30.0,
    ) -> bool:
        """Wait until so many bytes passed one way; return whether they did.

        :param timeout: seconds
        """
        tap = self._taps[direction]
        return self._do(
            self._taps.wait_until(lambda: tap.passed >= n_bytes, timeout)
        )
