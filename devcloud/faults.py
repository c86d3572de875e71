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

"""An HTTP proxy that does harm to requests, at random and by a seed.

It stands between a worker and a Glance as :mod:`.proxy` does, and can be told
to cut or refuse all connections as that can. What it does on its own, request
by request, is one of :class:`Fault`::

    relay = self.useFixture(faults.FaultyProxy(seed=7))
    relay.odds = {faults.Fault.CUT_ANSWER: 0.1}
    ...
    relay.odds = {}
    print(relay.counts)

The seed gives the sequence of what is done and where. Which request meets it
depends on the order in which requests come.
"""

import collections
import contextlib
import dataclasses
import enum
import io
import itertools
import random
import socket
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping

from devcloud import http_messages
from devcloud import proxy

#: What is answered in the service's place.
STATUSES = (401, 429, 500, 503)

_LINGER = 2.0  # seconds for a client to take note of an early answer
_SLICE = 1 << 14  # bytes of a slowed message that are sent at a time
_EARLY = 0.3  # part of the cuts and stalls that come before the first byte


class Fault(enum.StrEnum):
    """What may happen to one request."""

    REFUSE = "answered with an error in the service's place"
    CUT_REQUEST = "cut off while the request was sent"
    CUT_ANSWER = "cut off while the answer came"
    STALL_REQUEST = "stalled while the request was sent, then cut off"
    STALL_ANSWER = "stalled while the answer came, then cut off"
    SHORTEN_UPLOAD = "upload shortened, its length adjusted"
    SHORTEN_ANSWER = "answer shortened, its length adjusted"
    FLIP_UPLOAD = "a bit of an upload flipped"
    FLIP_DOWNLOAD = "a bit of a download flipped"
    SLOW_REQUEST = "slowed while the request was sent"
    SLOW_ANSWER = "slowed while the answer came"


_OF_BODIES = (
    Fault.CUT_REQUEST,
    Fault.STALL_REQUEST,
    Fault.SHORTEN_UPLOAD,
    Fault.FLIP_UPLOAD,
    Fault.SLOW_REQUEST,
)
_OF_DATA = (Fault.SHORTEN_UPLOAD, Fault.FLIP_UPLOAD, Fault.FLIP_DOWNLOAD)


@dataclasses.dataclass(frozen=True)
class _Message:
    """A request or an answer that is on its way, and what happens to it.

    :ivar pieces: its body
    :ivar fault: that may be one of the other direction
    :ivar place: where it happens, from 0 to 1
    :ivar choice: whatever else is to be chosen, from 0 to 1
    """

    link: proxy._Link
    head: http_messages.Head
    pieces: Iterator[bytes]
    fault: Fault | None
    place: float
    choice: float

    @property
    def offset(self) -> int:
        """The place as a number of bytes, less than the length."""
        return int(self.place * (self.head.length or 0))

    def untouched(self) -> Iterator[bytes]:
        """Yield all of it."""
        yield self.head.wire
        yield from self.pieces

    def first_part(self) -> Iterator[bytes]:
        """Yield what comes before the place."""
        if self.choice < _EARLY or not self.head.length:
            return
        yield self.head.wire
        yield from self.first_bytes()

    def first_bytes(self) -> Iterator[bytes]:
        """Yield what of the body comes before the place."""
        left = self.offset
        while left:
            piece = next(self.pieces)[:left]
            left -= len(piece)
            yield piece


class FaultyProxy(proxy.Proxy):
    """Stands between a client and an HTTP server, and does harm; see above.

    :param seed: two proxies with the same do the same
    :param stall: seconds for which a stalled request is held
    :param slow: seconds that a slowed request takes longer, at most

    :ivar odds: the probability of each fault, for each request; those that
        make no sense for it do not happen to it
    """

    def __init__(
        self, seed: int | str, stall: float = 4.0, slow: float = 2.0
    ) -> None:
        super().__init__()
        self._random = random.Random(seed)
        self._stall_seconds = stall
        self._slow_seconds = slow
        self._counts: collections.Counter[Fault] = collections.Counter()
        self._requests = 0
        self.odds: Mapping[Fault, float] = {}

    @property
    def counts(self) -> Mapping[Fault, int]:
        """How often which fault has happened."""
        with self._changed:
            return dict(self._counts)

    @property
    def requests(self) -> int:
        """How many requests there have been."""
        return self._requests

    # A connection. What breaks it is an OSError, and ends it.

    def _forward(self, link: proxy._Link) -> None:
        with self._changed:
            self._links.add(link)
        client, upstream = link.sockets
        try:
            with (
                contextlib.suppress(OSError),
                client.makefile("rb") as requests,
                upstream.makefile("rb") as answers,
            ):
                while self._exchange(link, requests, answers):
                    continue
        finally:
            link.shut()
            with self._changed:
                self._links.discard(link)

    def _exchange(
        self,
        link: proxy._Link,
        requests: io.BufferedReader,
        answers: io.BufferedReader,
    ) -> bool:
        """Carry a request and its answer; tell whether more may come."""
        head = http_messages.read_head(requests)
        if head is None:
            return False
        request = self._draw(link, head, requests)
        client = link.sockets[0]
        if request.fault is Fault.REFUSE:
            self._refuse(client, request)
            return False
        whole = self._send_request(request)
        answer = http_messages.read_head(answers)
        if answer is None:
            return False
        body = http_messages.answer_body(head.method, answer, answers)
        harmed = dataclasses.replace(request, head=answer, pieces=body)
        for piece in self._harm(harmed, _TO_ANSWERS):
            client.sendall(piece)
        if not whole:
            _linger(client)
        return whole and not (head.closes or answer.closes)

    def _draw(
        self,
        link: proxy._Link,
        head: http_messages.Head,
        stream: io.BufferedReader,
    ) -> _Message:
        """Read a request, and choose what happens to it."""
        with self._changed:
            self._requests += 1
            odds = self.odds
            # As many numbers whatever comes of them.
            number, place, choice = (self._random.random() for _ in range(3))
        body = http_messages.request_body(head, stream)
        fault = _chosen(odds, number)
        if not _makes_sense(fault, head):
            fault = None
        return _Message(link, head, body, fault, place, choice)

    def _refuse(self, client: socket.socket, request: _Message) -> None:
        """Answer in the service's place, whatever is still sent."""
        self._note(request)
        client.sendall(
            b"HTTP/1.1 %d Not Now\r\nContent-Length: 0\r\n"
            b"Connection: close\r\n\r\n"
            % STATUSES[int(request.choice * len(STATUSES))]
        )
        _linger(client)

    def _send_request(self, request: _Message) -> bool:
        """Send a request on; tell whether the service took all of it."""
        upstream = request.link.sockets[1]
        for piece in self._harm(request, _TO_REQUESTS):
            try:
                upstream.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                # It wants no more; its answer may be on the way.
                return False
        return True

    # Harm.

    def _harm(
        self, message: _Message, ways: "Mapping[Fault, _Way]"
    ) -> Iterator[bytes]:
        """Yield what is sent of a message.

        :param ways: to do harm, of the faults of the message's direction
        """
        if message.fault is None or message.fault not in ways:
            return message.untouched()
        return ways[message.fault](self, message)

    def _note(self, message: _Message) -> None:
        assert message.fault
        with self._changed:
            self._counts[message.fault] += 1

    def _cut(self, message: _Message) -> Iterator[bytes]:
        yield from message.first_part()
        self._note(message)
        raise ConnectionAbortedError

    def _stall(self, message: _Message) -> Iterator[bytes]:
        yield from message.first_part()
        self._note(message)
        self._wait(message.link, self._stall_seconds)
        raise ConnectionAbortedError

    def _shorten(self, message: _Message) -> Iterator[bytes]:
        if not message.head.length:
            yield from message.untouched()
            return
        length = str(message.offset).encode()
        shortened = dataclasses.replace(
            message, head=message.head.replaced(b"content-length", length)
        )
        self._note(message)
        yield shortened.head.wire
        yield from message.first_bytes()
        for _piece in message.pieces:
            continue

    def _flip(self, message: _Message) -> Iterator[bytes]:
        offset = message.offset
        yield message.head.wire
        for piece in message.pieces:
            if 0 <= offset < len(piece):
                flipped = bytearray(piece)
                flipped[offset] ^= 1 << int(message.choice * 8)
                self._note(message)
                yield bytes(flipped)
            else:
                yield piece
            offset -= len(piece)

    def _slow(self, message: _Message) -> Iterator[bytes]:
        seconds = message.choice * self._slow_seconds
        self._note(message)
        length = message.head.length
        if not length:
            self._wait(message.link, seconds)
        yield message.head.wire
        for piece in message.pieces:
            for begin in range(0, len(piece), _SLICE):
                part = piece[begin : begin + _SLICE]
                self._wait(message.link, seconds * len(part) / (length or 1))
                yield part

    def _wait(self, link: proxy._Link, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: link.closed, seconds)


_Way = Callable[[FaultyProxy, _Message], Iterator[bytes]]

_TO_REQUESTS: Mapping[Fault, _Way] = {
    Fault.CUT_REQUEST: FaultyProxy._cut,
    Fault.STALL_REQUEST: FaultyProxy._stall,
    Fault.SHORTEN_UPLOAD: FaultyProxy._shorten,
    Fault.FLIP_UPLOAD: FaultyProxy._flip,
    Fault.SLOW_REQUEST: FaultyProxy._slow,
}

_TO_ANSWERS: Mapping[Fault, _Way] = {
    Fault.CUT_ANSWER: FaultyProxy._cut,
    Fault.STALL_ANSWER: FaultyProxy._stall,
    Fault.SHORTEN_ANSWER: FaultyProxy._shorten,
    Fault.FLIP_DOWNLOAD: FaultyProxy._flip,
    Fault.SLOW_ANSWER: FaultyProxy._slow,
}


def _chosen(odds: Mapping[Fault, float], number: float) -> Fault | None:
    """Return the fault that a number from 0 to 1 stands for, if any."""
    ends = itertools.accumulate(odds.values())
    for fault, end in zip(odds, ends, strict=True):
        if number < end:
            return fault
    return None


def _makes_sense(fault: Fault | None, request: http_messages.Head) -> bool:
    """Tell whether a fault can happen to a request."""
    if fault in _OF_DATA and not request.path.endswith("/file"):
        return False
    return bool(request.length) or fault not in _OF_BODIES


def _linger(client: socket.socket) -> None:
    """Let a client that is still sending see the answer.

    A connection that is closed with bytes unread is reset, and the answer
    with it.
    """
    deadline = time.monotonic() + _LINGER
    client.settimeout(_LINGER)
    client.shutdown(socket.SHUT_WR)
    while time.monotonic() < deadline and client.recv(_SLICE):
        continue
