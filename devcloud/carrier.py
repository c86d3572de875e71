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

"""Carries TCP connections to a port of this machine.

Behaviours decide how: each is given the bytes of one direction of a connection
and yields those that go on, later, slower, changed, or not at all.
"""

import asyncio
import contextlib
import enum
import socket
import struct
from collections.abc import AsyncGenerator
from collections.abc import Sequence
from typing import Final

from devcloud import ports

PIECE: Final = 1 << 16  # bytes taken from a socket at a time

_PATIENCE = 5.0  # seconds to wait for a peer
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with an RST


class Direction(enum.Enum):
    """Which way bytes flow."""

    DOWNLOAD = "from upstream to the client"
    UPLOAD = "from the client to upstream"


class Link:
    """One connection: the client's socket and the one to upstream."""

    def __init__(self, client: socket.socket, upstream: socket.socket) -> None:
        self.client = client
        self.upstream = upstream
        self._resets = False

    def ends(
        self, direction: Direction
    ) -> tuple[socket.socket, socket.socket]:
        """Return where bytes of a direction come from, and where they go."""
        if direction is Direction.UPLOAD:
            return self.client, self.upstream
        return self.upstream, self.client

    def shut(self) -> None:
        """Tell both ends that this is the end."""
        if self._resets:
            return
        for end in (self.client, self.upstream):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Let both ends see a reset when the connection is closed."""
        self._resets = True
        for end in (self.client, self.upstream):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


class Behaviour:
    """What happens to connections; this one lets all pass as it is.

    All of it runs in the event loop of the carrier.
    """

    async def begin(self, link: Link) -> None:
        """Take note of a connection, before upstream is called."""

    def apply(
        self, link: Link, direction: Direction, pieces: AsyncGenerator[bytes]
    ) -> AsyncGenerator[bytes]:
        """Yield what goes on of the bytes of one direction.

        :raises OSError: to break the connection off
        """
        return pieces


class Carrier:
    """Carries connections, each through all behaviours in their order.

    :param piece: bytes that are taken from a socket at a time
    :param buffer: bytes that the kernel shall buffer for each socket; None
        leaves that to the kernel

    :ivar upstream_port: where to; None refuses connections
    :ivar refusing: whether connections to come are cut at once
    """

    def __init__(
        self,
        behaviours: Sequence[Behaviour],
        piece: int = PIECE,
        buffer: int | None = None,
    ) -> None:
        self._behaviours = behaviours
        self._piece = piece
        self._buffer = buffer
        self._connections: set[asyncio.Task[None]] = set()
        self._open = 0
        self.upstream_port: int | None = None
        self.refusing = False

    @property
    def connections(self) -> int:
        """Connections that are open to both ends."""
        return self._open

    async def serve(self, listener: socket.socket) -> None:
        """Take connections until cancelled; those that there are end then."""
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        try:
            while True:
                client, _address = await loop.sock_accept(listener)
                task = asyncio.create_task(self._carry(client))
                self._connections.add(task)
                task.add_done_callback(self._connections.discard)
        finally:
            self.cut()
            await asyncio.gather(*self._connections, return_exceptions=True)

    def cut(self) -> int:
        """Cut all connections; return how many were open."""
        for task in self._connections:
            task.cancel()
        return self._open

    async def _carry(self, client: socket.socket) -> None:
        """Carry one connection to its end."""
        upstream = socket.socket()
        with client, upstream:
            for end in (client, upstream):
                self._prepare(end)
            link = Link(client, upstream)
            try:
                await self._connect(link)
                self._open += 1
                try:
                    await self._both_ways(link)
                finally:
                    self._open -= 1
            except* OSError:
                # A connection that breaks is its two ends' business.
                pass
            finally:
                link.shut()

    def _prepare(self, end: socket.socket) -> None:
        end.setblocking(False)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._buffer is not None:
            for which in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                end.setsockopt(socket.SOL_SOCKET, which, self._buffer)

    async def _connect(self, link: Link) -> None:
        """Connect to upstream.

        :raises OSError: when it is not there, or shall seem so
        """
        if self.refusing or self.upstream_port is None:
            raise ConnectionRefusedError
        for behaviour in self._behaviours:
            await behaviour.begin(link)
        loop = asyncio.get_running_loop()
        address = (ports.HOST, self.upstream_port)
        async with asyncio.timeout(_PATIENCE):
            await loop.sock_connect(link.upstream, address)

    async def _both_ways(self, link: Link) -> None:
        async with asyncio.TaskGroup() as tasks:
            upload = tasks.create_task(self._pump(link, Direction.UPLOAD))
            tasks.create_task(self._download(link, upload))

    async def _download(self, link: Link, upload: asyncio.Task[None]) -> None:
        await self._pump(link, Direction.DOWNLOAD)
        # A client that was told the end has no reason to linger.
        await asyncio.wait([upload], timeout=_PATIENCE)
        upload.cancel()

    async def _pump(self, link: Link, direction: Direction) -> None:
        """Carry bytes one way until their source ends."""
        loop = asyncio.get_running_loop()
        source, sink = link.ends(direction)
        pieces = self._read(source)
        for behaviour in self._behaviours:
            pieces = behaviour.apply(link, direction, pieces)
        wanted = True
        async with contextlib.aclosing(pieces):
            async for piece in pieces:
                try:
                    await loop.sock_sendall(sink, piece)
                except (BrokenPipeError, ConnectionResetError):
                    if direction is Direction.DOWNLOAD:
                        raise
                    wanted = False
                    break
        if wanted:
            sink.shutdown(socket.SHUT_WR)
        else:
            # Its answer may be on the way. A connection that is closed with
            # bytes unread is reset, and the answer with it.
            await self._drain(source)

    async def _read(self, source: socket.socket) -> AsyncGenerator[bytes]:
        loop = asyncio.get_running_loop()
        while piece := await loop.sock_recv(source, self._piece):
            yield piece

    async def _drain(self, source: socket.socket) -> None:
        async for _piece in self._read(source):
            continue
