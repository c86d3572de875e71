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

"""A TCP proxy with taps: holds, slows and cuts the bytes between two ends.

It listens on a free port of 127.0.0.1 and forwards to another one. All taps
act on each connection alone, and Glance under uWSGI serves one request per
connection; so ``hold_after(1000)`` lets short answers pass and stops each
download once 1000 bytes of it (its headers included) went through.

Up to about 200 KB more than what passed may wait in the kernel's buffers, and
what a client has sent, it has sent: with an upload that is held, the client
notices only when these buffers, its own among them, are full.
"""

import contextlib
import dataclasses
import enum
import socket
import threading
import time
from collections.abc import Callable

import fixtures

from devcloud import ports

_PIECE = 1 << 16  # bytes taken from a socket at a time
_BUFFER = 1 << 16  # bytes that the kernel shall buffer for each socket
_THROTTLED_PIECES = 50  # per second, so that a slow flow is a smooth one
_CATCH_UP = 0.1  # seconds of a throttled flow that may be made up for
_PATIENCE = 5.0  # seconds to wait for a peer or a thread


class Direction(enum.Enum):
    """Which way bytes flow."""

    DOWNLOAD = "from upstream to the client"
    UPLOAD = "from the client to upstream"


@dataclasses.dataclass
class _Tap:
    """What happens to one direction of every connection."""

    paused: bool = False
    limit: int | None = None  # bytes of a connection; then it holds
    rate: float | None = None  # bytes per second of a connection
    passed: int = 0  # bytes of all connections
    held: int = 0  # connections that wait just now


class _Link:
    """One connection: the client's socket and the one to upstream."""

    def __init__(self, client: socket.socket, upstream: socket.socket) -> None:
        self.sockets = (client, upstream)
        self.closed = False
        self.passed = dict.fromkeys(Direction, 0)
        self.due = dict.fromkeys(Direction, 0.0)  # time.monotonic()

    def ends(
        self, direction: Direction
    ) -> tuple[socket.socket, socket.socket]:
        """Return where bytes of a direction come from, and where they go."""
        client, upstream = self.sockets
        if direction is Direction.UPLOAD:
            return client, upstream
        return upstream, client

    def shut(self) -> None:
        """Wake and end both pumps."""
        self.closed = True
        for end in self.sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Proxy(fixtures.Fixture):
    """Stands between a client and a server; see the module.

    :param upstream_port: where to forward to; it can be told later, by
        :meth:`connect_to`
    :param longest_hold: seconds; a connection that waits longer is cut, so
        that a forgotten hold ends by itself

    :ivar port: where it listens
    """

    port: int

    def __init__(
        self, upstream_port: int | None = None, longest_hold: float = 60.0
    ) -> None:
        super().__init__()
        self._upstream_port = upstream_port
        self._longest_hold = longest_hold

    def _setUp(self) -> None:
        self._changed = threading.Condition()
        self._taps = {direction: _Tap() for direction in Direction}
        self._links: set[_Link] = set()
        self._serving = 0  # threads
        self._refusing = False
        self._listener = ports.listen(None, "a proxy")
        self.port = ports.number(self._listener)
        self._acceptor = self._start(self._accept)
        self.addCleanup(self._stop)

    @property
    def url(self) -> str:
        """Where it listens, as an HTTP endpoint without a path."""
        return f"http://{ports.HOST}:{self.port}"

    def connect_to(self, upstream_port: int) -> None:
        """Forward connections to come to another port."""
        self._upstream_port = upstream_port

    # Taps

    def hold_after(
        self, n_bytes: int, direction: Direction = Direction.DOWNLOAD
    ) -> None:
        """Hold each connection once so many of its bytes have passed."""
        with self._changed:
            self._taps[direction].limit = n_bytes
            self._changed.notify_all()

    def pause(self, direction: Direction | None = None) -> None:
        """Let no byte pass, in one direction or in both."""
        with self._changed:
            for tap in self._chosen(direction):
                tap.paused = True

    def release(self, direction: Direction | None = None) -> None:
        """End :meth:`pause` and :meth:`hold_after`."""
        with self._changed:
            for tap in self._chosen(direction):
                tap.paused = False
                tap.limit = None
            self._changed.notify_all()

    def throttle(
        self,
        bytes_per_second: float | None,
        direction: Direction | None = None,
    ) -> None:
        """Slow each connection down; None lets it run again."""
        with self._changed:
            for tap in self._chosen(direction):
                tap.rate = bytes_per_second
            self._changed.notify_all()

    def refuse(self, refusing: bool = True) -> None:
        """Cut connections to come at once, or take them again."""
        with self._changed:
            self._refusing = refusing

    def cut(self) -> int:
        """Cut all connections; return how many there were."""
        with self._changed:
            links = list(self._links)
            for link in links:
                link.shut()
            self._changed.notify_all()
        return len(links)

    def _chosen(self, direction: Direction | None) -> list[_Tap]:
        chosen = [direction] if direction else list(Direction)
        return [self._taps[each] for each in chosen]

    # Looks

    @property
    def bytes_passed(self) -> int:
        """Bytes that passed so far, of all connections, both ways."""
        return sum(self.passed(direction) for direction in Direction)

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return len(self._links)

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
        return self._wait_until(lambda: tap.held >= connections, timeout)

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
        return self._wait_until(lambda: tap.passed >= n_bytes, timeout)

    def _wait_until(self, holds: Callable[[], bool], timeout: float) -> bool:
        with self._changed:
            return self._changed.wait_for(holds, timeout)

    # Threads

    def _start(
        self, target: Callable[..., None], *arguments: object
    ) -> threading.Thread:
        thread = threading.Thread(
            target=target,
            args=arguments,
            name=f"proxy-{self.port}",
            daemon=True,
        )
        thread.start()
        return thread

    def _stop(self) -> None:
        """End all threads and close all sockets."""
        # A plain close() would not wake the thread that waits in accept().
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(_PATIENCE)
        self._listener.close()
        self.cut()
        with self._changed:
            self._changed.wait_for(lambda: not self._serving, _PATIENCE)

    def _accept(self) -> None:
        """Take connections until the listening socket is shut."""
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            with self._changed:
                self._serving += 1
            self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        """Forward one connection to its end."""
        try:
            with client, self._connect() as upstream:
                self._forward(_Link(client, upstream))
        except OSError:
            # Upstream is not there; the client sees its connection close.
            return
        finally:
            with self._changed:
                self._serving -= 1
                self._changed.notify_all()

    def _connect(self) -> socket.socket:
        """Connect to upstream.

        :raises OSError: when it is not there, or shall seem so
        """
        if self._refusing or self._upstream_port is None:
            raise ConnectionRefusedError
        address = (ports.HOST, self._upstream_port)
        upstream = socket.create_connection(address, _PATIENCE)
        upstream.settimeout(None)
        return upstream

    def _forward(self, link: _Link) -> None:
        """Pump both ways until upstream has closed."""
        for end in link.sockets:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        with self._changed:
            self._links.add(link)
        try:
            upload = self._start(self._pump, link, Direction.UPLOAD)
            self._pump(link, Direction.DOWNLOAD)
            # A client that was told the end has no reason to linger.
            upload.join(_PATIENCE)
            link.shut()
            upload.join()
        finally:
            with self._changed:
                self._links.discard(link)

    def _pump(self, link: _Link, direction: Direction) -> None:
        """Carry bytes one way until their source ends."""
        source, sink = link.ends(direction)
        try:
            while piece := source.recv(_PIECE):
                self._pass_on(link, direction, piece, sink)
            sink.shutdown(socket.SHUT_WR)
        except BrokenPipeError:
            # Upstream wants no more; its answer may still be on the way.
            if direction is Direction.DOWNLOAD:
                link.shut()
        except OSError:
            link.shut()

    def _pass_on(
        self,
        link: _Link,
        direction: Direction,
        piece: bytes,
        sink: socket.socket,
    ) -> None:
        """Send a piece on, as fast as the tap of its direction allows.

        :raises OSError: when an end is closed, or a hold lasts too long
        """
        tap = self._taps[direction]
        rest = memoryview(piece)
        while rest:
            with self._changed:
                self._wait_for_turn(link, direction, tap)
                room = self._room(link, direction, tap, len(rest))
            admitted = rest[:room]
            sink.sendall(admitted)
            rest = rest[len(admitted) :]
            with self._changed:
                link.passed[direction] += len(admitted)
                tap.passed += len(admitted)
                self._changed.notify_all()

    def _wait_for_turn(
        self, link: _Link, direction: Direction, tap: _Tap
    ) -> None:
        """Wait while the tap is shut.

        :raises OSError: when the connection is cut, or waits too long
        """

        def free() -> bool:
            full = (
                tap.limit is not None and link.passed[direction] >= tap.limit
            )
            return link.closed or not (tap.paused or full)

        if not free():
            tap.held += 1
            self._changed.notify_all()
            try:
                self._changed.wait_for(free, self._longest_hold)
            finally:
                tap.held -= 1
        if link.closed or not free():
            raise ConnectionAbortedError

    def _room(
        self, link: _Link, direction: Direction, tap: _Tap, room: int
    ) -> int:
        """Return how many of some bytes may pass, having kept to the rate."""
        if tap.limit is not None:
            room = min(room, max(1, tap.limit - link.passed[direction]))
        if tap.rate:
            rate = tap.rate
            room = min(room, max(1, int(rate / _THROTTLED_PIECES)))
            self._changed.wait_for(
                lambda: link.closed or tap.rate != rate,
                max(0.0, link.due[direction] - time.monotonic()),
            )
            begin = max(link.due[direction], time.monotonic() - _CATCH_UP)
            link.due[direction] = begin + room / rate
        return room
