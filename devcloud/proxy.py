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

"""A TCP proxy that can hold, slow and cut connections.

It listens on a free port of 127.0.0.1 and forwards to another one. All taps
act on each connection separately, and Glance under uWSGI serves one request
per connection. So ``hold_after(1000)`` lets short answers pass and stops each
download after 1000 bytes, headers included.

The kernel's buffers may hold about 200 KB more. So the client of a held upload
notices only when these buffers, its own among them, are full.

Other changes are made by behaviours, such as
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
    """A proxy between a client and a server; see the module.

    :param upstream_port: the port to forward to; :meth:`connect_to` can set it
        later
    :param longest_hold: the seconds after which a held connection is cut, so
        that a forgotten hold ends
    :param behaviours: applied to the bytes before the taps

    :ivar port: the port on which it listens
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
        """Call a function in the thread of the proxy; return its result."""
        future = asyncio.run_coroutine_threadsafe(action, self._loop)
        return future.result()

    @property
    def url(self) -> str:
        """The proxy's URL for HTTP, without a path."""
        return f"http://{ports.HOST}:{self.port}"

    def connect_to(self, upstream_port: int) -> None:
        """Forward new connections to another port."""
        self._carrier.upstream_port = upstream_port

    # Taps

    def hold_after(
        self, n_bytes: int, direction: Direction = Direction.DOWNLOAD
    ) -> None:
        """Hold each connection after a number of bytes."""
        self._do(self._taps.turn(direction, limit=n_bytes))

    def pause(self, direction: Direction | None = None) -> None:
        """Hold all bytes, in one direction or in both."""
        self._do(self._taps.turn(direction, paused=True))

    def release(self, direction: Direction | None = None) -> None:
        """End :meth:`pause` and :meth:`hold_after`."""
        self._do(self._taps.turn(direction, paused=False, limit=None))

    def throttle(
        self,
        bytes_per_second: float | None,
        direction: Direction | None = None,
    ) -> None:
        """Limit the rate of each connection; None removes the limit."""
        self._do(self._taps.turn(direction, rate=bytes_per_second))

    # Connections

    def refuse(self, refusing: bool = True) -> None:
        """Cut new connections at once, or accept them again."""
        self._carrier.refusing = refusing

    def cut(self) -> int:
        """Cut all connections; return their number."""

        async def cut() -> int:
            return self._carrier.cut()

        return self._do(cut())

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return self._carrier.connections

    # Observation

    @property
    def bytes_passed(self) -> int:
        """The bytes that passed so far, in both directions."""
        return sum(self.passed(direction) for direction in Direction)

    def passed(self, direction: Direction) -> int:
        """Return the bytes that passed in one direction."""
        return self._taps[direction].passed

    def wait_until_held(
        self,
        connections: int = 1,
        direction: Direction = Direction.DOWNLOAD,
        timeout: float = 30.0,
    ) -> bool:
        """Wait until so many connections are held; return whether it is so.

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
        """Wait for bytes of one direction; return whether so many passed.

        :param timeout: seconds
        """
        tap = self._taps[direction]
        return self._do(
            self._taps.wait_until(lambda: tap.passed >= n_bytes, timeout)
        )
