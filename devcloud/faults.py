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

"""Random faults of HTTP requests, derived from a seed.

The behaviour is for a proxy between a worker and a Glance. It applies one
:class:`Fault` or none to each request::

    harm = faults.Faults(seed=7)
    relay = self.useFixture(proxy.Proxy(behaviours=[harm]))
    harm.odds = {faults.Fault.CUT_ANSWER: 0.1}
    ...
    harm.odds = {}
    print(harm.counts)

The seed determines the sequence of faults. The requests that they hit depend
on the order in which requests arrive.
"""

import asyncio
import collections
import dataclasses
import enum
import itertools
import random
import weakref
from collections.abc import AsyncGenerator
from collections.abc import Callable
from collections.abc import Mapping

from devcloud import carrier
from devcloud import http_messages

#: The answers that are sent in the service's place.
STATUSES = (401, 429, 500, 503)

_SLICE = 1 << 14  # bytes of a slowed message that are sent at a time
_EARLY = 0.3  # part of the cuts and stalls that come before the first byte


class Fault(enum.StrEnum):
    """The faults that a request can have."""

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
    """A request or an answer, and the fault that it has.

    :ivar pieces: its body
    :ivar fault: the fault of the request, which may apply to the other
        direction
    :ivar place: the position of the fault in the message, from 0 to 1
    :ivar choice: a random number for further choices, from 0 to 1
    """

    head: http_messages.Head
    pieces: AsyncGenerator[bytes]
    fault: Fault | None
    place: float
    choice: float

    @property
    def offset(self) -> int:
        """The place as an offset in bytes, below the length."""
        return int(self.place * (self.head.length or 0))

    async def untouched(self) -> AsyncGenerator[bytes]:
        """Yield the whole message."""
        yield self.head.wire
        async for piece in self.pieces:
            yield piece

    async def first_part(self) -> AsyncGenerator[bytes]:
        """Yield the message up to the place."""
        if self.choice < _EARLY or not self.head.length:
            return
        yield self.head.wire
        async for piece in self.first_bytes():
            yield piece

    async def first_bytes(self) -> AsyncGenerator[bytes]:
        """Yield the body up to the place."""
        left = self.offset
        while left:
            piece = (await anext(self.pieces))[:left]
            left -= len(piece)
            yield piece


# The requests of a connection, in order; None is the end.
_Exchanges = asyncio.Queue[_Message | None]


class Faults(carrier.Behaviour):
    """Applies faults to HTTP requests and their answers; see the module.

    :param seed: the same seed gives the same faults
    :param stall: seconds for which a stalled request is held
    :param slow: the most seconds by which a slowed request takes longer

    :ivar odds: the probability of each fault, for each request; faults that a
        request cannot have are left out
    :ivar requests: the number of requests so far
    """

    def __init__(
        self, seed: int | str, stall: float = 4.0, slow: float = 2.0
    ) -> None:
        self._random = random.Random(seed)
        self._stall_seconds = stall
        self._slow_seconds = slow
        self._counts: collections.Counter[Fault] = collections.Counter()
        self._exchanges: weakref.WeakKeyDictionary[
            carrier.Link, _Exchanges
        ] = weakref.WeakKeyDictionary()
        self.requests = 0
        self.odds: Mapping[Fault, float] = {}

    @property
    def counts(self) -> Mapping[Fault, int]:
        """The number of times that each fault has happened."""
        return dict(self._counts)

    async def begin(self, link: carrier.Link) -> None:
        """Prepare to match the answers of a connection with its requests."""
        self._exchanges[link] = asyncio.Queue()

    def apply(
        self,
        link: carrier.Link,
        direction: carrier.Direction,
        pieces: AsyncGenerator[bytes],
    ) -> AsyncGenerator[bytes]:
        """Yield requests or answers, with their faults.

        :raises OSError: to break the connection off
        """
        stream = http_messages.Stream(pieces)
        if direction is carrier.Direction.UPLOAD:
            return self._requests(self._exchanges[link], stream)
        return self._answers(self._exchanges[link], stream)

    async def _requests(
        self, exchanges: _Exchanges, stream: http_messages.Stream
    ) -> AsyncGenerator[bytes]:
        while head := await http_messages.read_head(stream):
            request = self._draw(head, stream)
            exchanges.put_nowait(request)
            if request.fault is Fault.REFUSE:
                # Further bytes are dropped.
                while await stream.some(_SLICE):
                    continue
                return
            async for piece in self._harm(request, _TO_REQUESTS):
                yield piece
        exchanges.put_nowait(None)

    async def _answers(
        self, exchanges: _Exchanges, stream: http_messages.Stream
    ) -> AsyncGenerator[bytes]:
        while request := await exchanges.get():
            if request.fault is Fault.REFUSE:
                yield self._refusal(request)
                return
            head = await http_messages.read_head(stream)
            if head is None:
                return
            body = http_messages.answer_body(request.head.method, head, stream)
            answer = dataclasses.replace(request, head=head, pieces=body)
            async for piece in self._harm(answer, _TO_ANSWERS):
                yield piece
            if request.head.closes or head.closes:
                return

    def _draw(
        self, head: http_messages.Head, stream: http_messages.Stream
    ) -> _Message:
        """Draw the fault of a request."""
        self.requests += 1
        # It always draws as many numbers, so that the sequence stays the same.
        number, place, choice = (self._random.random() for _ in range(3))
        body = http_messages.request_body(head, stream)
        fault = _chosen(self.odds, number)
        if not _makes_sense(fault, head):
            fault = None
        return _Message(head, body, fault, place, choice)

    def _refusal(self, request: _Message) -> bytes:
        """Return the answer in the service's place."""
        self._count(request)
        return (
            b"HTTP/1.1 %d Not Now\r\nContent-Length: 0\r\n"
            b"Connection: close\r\n\r\n"
            % STATUSES[int(request.choice * len(STATUSES))]
        )

    # Faults

    def _harm(
        self, message: _Message, ways: "Mapping[Fault, _Way]"
    ) -> AsyncGenerator[bytes]:
        """Yield the bytes of a message, with its fault.

        :param ways: the functions that apply each fault of the direction
        """
        if message.fault is None or message.fault not in ways:
            return message.untouched()
        return ways[message.fault](self, message)

    def _count(self, message: _Message) -> None:
        assert message.fault
        self._counts[message.fault] += 1

    async def _cut(self, message: _Message) -> AsyncGenerator[bytes]:
        async for piece in message.first_part():
            yield piece
        self._count(message)
        raise ConnectionAbortedError

    async def _stall(self, message: _Message) -> AsyncGenerator[bytes]:
        async for piece in message.first_part():
            yield piece
        self._count(message)
        await asyncio.sleep(self._stall_seconds)
        raise ConnectionAbortedError

    async def _shorten(self, message: _Message) -> AsyncGenerator[bytes]:
        if not message.head.length:
            async for piece in message.untouched():
                yield piece
            return
        length = str(message.offset).encode()
        self._count(message)
        yield message.head.replaced(b"content-length", length).wire
        async for piece in message.first_bytes():
            yield piece
        async for _piece in message.pieces:
            continue

    async def _flip(self, message: _Message) -> AsyncGenerator[bytes]:
        offset = message.offset
        yield message.head.wire
        async for piece in message.pieces:
            if 0 <= offset < len(piece):
                flipped = bytearray(piece)
                flipped[offset] ^= 1 << int(message.choice * 8)
                self._count(message)
                yield bytes(flipped)
            else:
                yield piece
            offset -= len(piece)

    async def _slow(self, message: _Message) -> AsyncGenerator[bytes]:
        seconds = message.choice * self._slow_seconds
        self._count(message)
        length = message.head.length
        if not length:
            await asyncio.sleep(seconds)
        yield message.head.wire
        async for piece in message.pieces:
            for begin in range(0, len(piece), _SLICE):
                part = piece[begin : begin + _SLICE]
                await asyncio.sleep(seconds * len(part) / (length or 1))
                yield part


_Way = Callable[[Faults, _Message], AsyncGenerator[bytes]]

_TO_REQUESTS: Mapping[Fault, _Way] = {
    Fault.CUT_REQUEST: Faults._cut,
    Fault.STALL_REQUEST: Faults._stall,
    Fault.SHORTEN_UPLOAD: Faults._shorten,
    Fault.FLIP_UPLOAD: Faults._flip,
    Fault.SLOW_REQUEST: Faults._slow,
}

_TO_ANSWERS: Mapping[Fault, _Way] = {
    Fault.CUT_ANSWER: Faults._cut,
    Fault.STALL_ANSWER: Faults._stall,
    Fault.SHORTEN_ANSWER: Faults._shorten,
    Fault.FLIP_DOWNLOAD: Faults._flip,
    Fault.SLOW_ANSWER: Faults._slow,
}


def _chosen(odds: Mapping[Fault, float], number: float) -> Fault | None:
    """Return the fault for a number from 0 to 1; None for no fault."""
    ends = itertools.accumulate(odds.values())
    for fault, end in zip(odds, ends, strict=True):
        if number < end:
            return fault
    return None


def _makes_sense(fault: Fault | None, request: http_messages.Head) -> bool:
    """Tell whether a request can have a fault."""
    if fault in _OF_DATA and not request.path.endswith("/file"):
        return False
    return bool(request.length) or fault not in _OF_BODIES
