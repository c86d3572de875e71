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

Behaviours change the bytes: each gets the bytes of one direction of a
connection and yields those to send, which may be delayed, slowed, changed or
dropped.
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
    """The direction in which bytes flow."""

    DOWNLOAD = "from upstream to the client"
    UPLOAD = "from the client to upstream"


class Link:
    """A connection: the client's socket and the one to upstream."""

    def __init__(self, client: socket.socket, upstream: socket.socket) -> None:
        self.client = client
        self.upstream = upstream
        self._resets = False

    def ends(
        self, direction: Direction
    ) -> tuple[socket.socket, socket.socket]:
        """Return the sockets from and to which a direction's bytes flow."""
        if direction is Direction.UPLOAD:
            return self.client, self.upstream
        return self.upstream, self.client

    def shut(self) -> None:
        """Shut both sockets down."""
        if self._resets:
            return
        for end in (self.client, self.upstream):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Close the connection with a reset at both ends."""
        self._resets = True
        for end in (self.client, self.upstream):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


class Behaviour:
    """Base of behaviours, which change connections; it changes nothing.

    All methods run in the event loop of the carrier.
    """

    async def begin(self, link: Link) -> None:
        """Prepare for a new connection, before upstream is connected."""

    def apply(
        self, link: Link, direction: Direction, pieces: AsyncGenerator[bytes]
    ) -> AsyncGenerator[bytes]:
        """Yield the bytes of one direction that are sent on.

        :raises OSError: to break the connection off
        """
        return pieces


class Carrier:
    """Carries connections, each through all behaviours in order.

    :param piece: the most bytes that are read from a socket at a time
    :param buffer: bytes of the kernel's buffer for each socket; None for its
        default

    :ivar upstream_port: the port of upstream; None refuses connections
    :ivar refusing: whether new connections are cut at once
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
        """The number of connections that are open to both ends."""
        return self._open

    async def serve(self, listener: socket.socket) -> None:
        """Accept connections until cancelled; the open ones end then."""
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
                # Both ends notice a broken connection themselves.
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

        :raises OSError: when it does not listen, or connections are refused
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
        # A client that has seen the end closes soon.
        await asyncio.wait([upload], timeout=_PATIENCE)
        upload.cancel()

    async def _pump(self, link: Link, direction: Direction) -> None:
        """Carry the bytes of one direction until their source ends."""
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
            # The answer may be on the way. A connection that is closed with
            # unread bytes is reset, and the answer is lost.
            await self._drain(source)

    async def _read(self, source: socket.socket) -> AsyncGenerator[bytes]:
        loop = asyncio.get_running_loop()
        while piece := await loop.sock_recv(source, self._piece):
            yield piece

    async def _drain(self, source: socket.socket) -> None:
        async for _piece in self._read(source):
            continue
