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

"""A long way between two ports of this machine: a process of its own.

It delays what passes by half a round trip each way, and the first bytes of a
connection by a round trip more, as setting it up takes one. It caps the rate
of each connection and of the link, each way, and may cut connections after a
random number of bytes. What it does not have is TCP's slow start: a connection
has its full rate at once, which favours whoever uses few.
"""

import argparse
import asyncio
import contextlib
import random
import signal
import socket
import struct

from devcloud import ports
from devcloud.bench.bucket import Bucket
from devcloud.bench.delay import DelayLine
from devcloud.bench.shape import Shape

_PIECE_SECONDS = 0.01  # of a connection's rate; longer ones are less smooth
_SMALLEST_PIECE = 16 * 1024
_LARGEST_PIECE = 256 * 1024
_CONNECTION_SLACK = 0.02  # seconds
_LINK_SLACK = 0.05  # seconds
_WINDOW_SECONDS = 0.25  # of the rate, beside what the delay holds
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with an RST


class Cut(ConnectionError):
    """The connection is to break off here."""


class _Direction:
    """One way of one connection."""

    def __init__(self, shape: Shape, link: Bucket, allowance: float) -> None:
        rate = shape.connection_rate
        self._buckets = (Bucket(rate, _CONNECTION_SLACK), link)
        self._allowance = allowance
        wanted = int(rate * _PIECE_SECONDS)
        self._piece = min(max(wanted, _SMALLEST_PIECE), _LARGEST_PIECE)
        window = int(rate * (shape.delay + _WINDOW_SECONDS))
        self._line = DelayLine(shape.delay, max(window, _LARGEST_PIECE))

    async def carry(self, source: socket.socket, sink: socket.socket) -> None:
        """Carry bytes until the source ends.

        :raises OSError: when an end is closed, or is to be
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._take(source))
            tasks.create_task(self._give(sink))

    async def _take(self, source: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while piece := await loop.sock_recv(source, self._piece):
            wait = max(bucket.take(len(piece)) for bucket in self._buckets)
            if wait:
                await asyncio.sleep(wait)
            self._allowance -= len(piece)
            if self._allowance < 0:
                raise Cut
            await self._line.put(piece)
        await self._line.put(b"")

    async def _give(self, sink: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while piece := await self._line.get():
            await loop.sock_sendall(sink, piece)
            await self._line.forget(piece)
        sink.shutdown(socket.SHUT_WR)


class Relay:
    """Carries connections to a port of this machine.

    :param upstream_port: where to
    """

    def __init__(self, upstream_port: int, shape: Shape) -> None:
        self._upstream = (ports.HOST, upstream_port)
        self._shape = shape
        # The link's two ways do not share its rate.
        self._links = [
            Bucket(shape.link_rate, _LINK_SLACK) for _way in ("up", "down")
        ]
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, listener: socket.socket) -> None:
        """Take connections until cancelled."""
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        while True:
            client, _address = await loop.sock_accept(listener)
            task = asyncio.create_task(self._relay(client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _relay(self, client: socket.socket) -> None:
        """Carry one connection to its end."""
        upstream = socket.socket()
        with client, upstream:
            for end in (client, upstream):
                end.setblocking(False)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # Setting it up takes a round trip; what the client has sent
            # already waits in the kernel.
            await asyncio.sleep(2 * self._shape.delay)
            try:
                await self._both_ways(client, upstream)
            except* OSError:
                for end in (client, upstream):
                    with contextlib.suppress(OSError):
                        end.setsockopt(
                            socket.SOL_SOCKET, socket.SO_LINGER, _RESET
                        )

    async def _both_ways(
        self, client: socket.socket, upstream: socket.socket
    ) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(upstream, self._upstream)
        mean = self._shape.mean_bytes_to_cut
        up, down = (
            _Direction(
                self._shape,
                link,
                random.expovariate(1 / mean) if mean else float("inf"),
            )
            for link in self._links
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(up.carry(client, upstream))
            tasks.create_task(down.carry(upstream, client))


async def _run(listener: socket.socket, relay: Relay) -> None:
    task = asyncio.create_task(relay.serve(listener))
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def main() -> None:
    """Serve a listening socket that was inherited, until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("descriptor", type=int)
    parser.add_argument("upstream_port", type=int)
    parser.add_argument("shape", type=Shape.parse)
    options = parser.parse_args()
    listener = socket.socket(fileno=options.descriptor)
    asyncio.run(_run(listener, Relay(options.upstream_port, options.shape)))


if __name__ == "__main__":
    main()
