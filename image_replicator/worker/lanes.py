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

"""Several streams that read one image, a piece each, put in order.

Each lane is a thread with a connection of its own. It takes the next piece,
reads it, and takes another. What they have read waits in memory for its turn;
how far they may be ahead of it is bounded.
"""

import collections
import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Final

from oslo_log import log as logging

from image_replicator import exception
from image_replicator.worker import meter
from image_replicator.worker import span
from image_replicator.worker import tuner as worker_tuner

LOG = logging.getLogger(__name__)

_MEBIBYTE: Final = 1024 * 1024

#: Bytes of the smallest piece: less is not worth a request.
_LEAST_PIECE: Final = _MEBIBYTE

#: Bytes of a piece before it is known how long it takes.
_FIRST_PIECE: Final = 2 * _MEBIBYTE

#: How much longer a piece is read than waited for.
_READING_PER_WAITING: Final = 3

#: Seconds, and latencies, between two looks at how it goes.
_LOOK_SECONDS: Final = 0.2
_LOOK_LATENCIES: Final = 2

#: What lanes are told by, where a source has too much to do.
_BUSY: Final = ("_busy", "_unavailable")


@dataclasses.dataclass
class _Piece:
    """A part of the image that one lane reads.

    :ivar chunks: what has been read and not been taken yet.
    """

    first: int
    end: int
    chunks: list[bytes] = dataclasses.field(default_factory=list)
    done: bool = False


class Lanes:
    """Reads an image from an offset on, with as many lanes as pay.

    :param begin: a download; called by many threads.
    :param size: bytes of the image.
    :param offset: of the first byte that is wanted.
    :param tuner: says how many lanes there shall be.
    :param window: bytes that may be in memory.
    :param chunk_size: bytes to read at a time.
    :param wait: for so many seconds; raises to stop.
    :param latency: seconds to the first byte of a piece, as far as is known.
    :param rate: bytes per second of one lane, as far as is known.
    """

    def __init__(
        self,
        begin: span.Begin,
        size: int,
        offset: int,
        *,
        tuner: worker_tuner.Tuner,
        window: int,
        chunk_size: int,
        wait: Callable[[float], None],
        latency: float = 0.0,
        rate: float = 0.0,
    ) -> None:
        self._begin = begin
        self._size = size
        self._tuner = tuner
        self._window = window
        self._chunk_size = chunk_size
        self._wait = wait
        self._lock = threading.Lock()
        #: The upload waits for data on the one, lanes for room on the other.
        self._data = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._pieces: collections.deque[_Piece] = collections.deque()
        self._taken = offset
        self._arrived = offset
        self._given = offset
        self._error: Exception | None = None
        self._closed = False
        self._threads: list[threading.Thread] = []
        self._live = 0
        self._begun = 0
        self._meter = meter.Meter(offset)
        self._began = time.monotonic()
        self._yields = False
        self._latency = latency
        self._rate = rate

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes in order, until one lane is enough for the rest.

        :raises TransferError: if reading is of no use any more.
        """
        while True:
            self._start_lanes()
            chunks = self._next_chunks()
            if not chunks:
                return
            for chunk in chunks:
                yield chunk
                self._given += len(chunk)
            self._make_room()
            self._look()

    def close(self, abort: Callable[[], None] | None = None) -> None:
        """End all lanes.

        :param abort: ends their requests; without, each may end its own.
        """
        with self._lock:
            self._closed = True
            self._room.notify_all()
        if abort:
            abort()
        for thread in self._threads:
            thread.join()

    # The thread that uploads.

    def _start_lanes(self) -> None:
        with self._lock:
            missing = 0
            if not self._is_ending() and self._taken < self._size:
                missing = self._tuner.streams - self._live
            self._live += max(0, missing)
        for _number in range(missing):
            thread = threading.Thread(
                target=self._read, name="lane", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def _next_chunks(self) -> Sequence[bytes]:
        """Wait for the next bytes; nothing if no lane will read them."""
        with self._lock:
            while True:
                if self._pieces and self._pieces[0].chunks:
                    return self._take_chunks(self._pieces[0])
                if isinstance(self._error, span.NotRanged):
                    self._tuner.stay_single()
                    return ()
                if self._error:
                    raise self._error
                if self._pieces and self._pieces[0].done:
                    self._pieces.popleft()
                    continue
                if not self._pieces and (
                    self._is_ending() or self._taken == self._size
                ):
                    return ()
                with self._meter.waiting():
                    self._data.wait()

    def _take_chunks(self, piece: _Piece) -> Sequence[bytes]:
        chunks, piece.chunks = piece.chunks, []
        if not self._yields:
            # What the lanes yield shows once all of them have begun.
            self._yields = True
            self._meter.restart(self._arrived, time.monotonic() - self._began)
        return chunks

    def _make_room(self) -> None:
        """Let a lane that waits have what the upload has taken."""
        with self._lock:
            if self._has_room():
                self._room.notify()

    def _is_ending(self) -> bool:
        """Tell whether no lane shall take another piece."""
        return (
            self._closed or self._error is not None or self._tuner.streams == 1
        )

    def _look(self) -> None:
        """See how it went of late, and have the number of lanes follow."""
        pause = max(_LOOK_SECONDS, _LOOK_LATENCIES * self._latency)
        with self._lock:
            seen = self._meter.look(self._arrived, pause)
            if seen is None:
                return
            before = self._tuner.streams
            self._tuner.observe(*seen)
            if self._tuner.streams != before:
                LOG.debug(
                    "%d streams instead of %d, after %.1f MB/s, waiting for "
                    "%.0f %% of the time, %.1f of them busy",
                    self._tuner.streams,
                    before,
                    seen[0] / 1e6,
                    seen[1] * 100,
                    seen[2],
                )
                # What is new takes a while to show.
                self._meter.restart(self._arrived, delay=pause)

    # The lanes.

    def _read(self) -> None:
        while piece := self._take_piece():
            error: Exception | None = None
            try:
                self._read_piece(piece)
            except Exception as raised:
                error = raised
            with self._lock:
                self._error = self._error or error
                piece.done = True
                self._meter.change_busy(-1)
                self._data.notify()

    def _take_piece(self) -> _Piece | None:
        """Wait for room, and take the next piece; None to end the lane."""
        with self._lock:
            while True:
                if (
                    self._is_ending()
                    or self._taken == self._size
                    or self._live > self._tuner.streams
                ):
                    self._live -= 1
                    # Another that waits may have to end as well.
                    self._room.notify()
                    return None
                if self._has_room():
                    break
                self._room.wait()
            piece = _Piece(self._taken, self._taken + self._next_size())
            self._taken = piece.end
            self._begun += 1
            self._pieces.append(piece)
            self._meter.change_busy(1)
            if self._has_room():
                self._room.notify()
            return piece

    def _has_room(self) -> bool:
        """Tell whether another piece may be read by now."""
        return self._taken + self._next_size() <= self._given + self._window

    def _next_size(self) -> int:
        """Return the bytes of the next piece: as large as pays.

        Most of a lane's time shall go into reading and not into waiting for
        the first byte; but all lanes' pieces must have room together. One
        that is next in line always has room.
        """
        streams = self._tuner.streams
        left = self._size - self._taken
        size = int(self._rate * self._latency * _READING_PER_WAITING)
        size = size or _FIRST_PIECE
        most = min(self._window // streams, -(-left // streams))
        size = max(_LEAST_PIECE, min(size, most))
        if self._begun < streams:
            # Lanes that began alike would all end, and all wait for their
            # next first byte, at once, and the link would be idle meanwhile.
            size = max(1, size * (self._begun + 1) // streams)
        return min(left, size, self._window)

    def _read_piece(self, piece: _Piece) -> None:
        part = span.Span(
            self._begin,
            self._size,
            piece.first,
            piece.end,
            chunk_size=self._chunk_size,
            wait=self._wait,
            failed=self._failed,
            skip=False,
        )
        began = time.monotonic()
        with contextlib.closing(iter(part)) as chunks:
            for chunk in chunks:
                with self._lock:
                    if self._closed:
                        return
                    piece.chunks.append(chunk)
                    # What comes in counts: in order, a slow connection's
                    # bytes wait for a whole piece to be given out.
                    self._arrived += len(chunk)
                    if piece is self._pieces[0]:
                        self._data.notify()
        seconds = time.monotonic() - began - part.latency
        self._learn(
            part.latency, (piece.end - piece.first) / max(seconds, 1e-6)
        )

    def _failed(self, error: exception.TransferError) -> None:
        LOG.info("%s Taking it up again.", error.message)
        if error.code.endswith(_BUSY):
            with self._lock:
                self._tuner.refused()

    def _learn(self, latency: float, rate: float) -> None:
        """Take note of how a piece went; the latest counts for a quarter."""
        with self._lock:
            weight = 0.25 if self._rate else 1.0
            self._latency += weight * (latency - self._latency)
            self._rate += weight * (rate - self._rate)
