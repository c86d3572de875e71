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

"""Reads one image over several connections at once.

The image is cut into pieces. Each reader is a thread with a connection of its
own: it takes the next piece, reads it, and takes another. Pieces that arrive
before their turn wait in memory; a window bounds how many bytes wait.
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
from image_replicator.worker import range_reader
from image_replicator.worker import tuner as worker_tuner

LOG = logging.getLogger(__name__)

_MEBIBYTE: Final = 1024 * 1024

#: Bytes of the smallest piece; fewer are not worth a request.
_LEAST_PIECE: Final = _MEBIBYTE

#: Bytes of a piece while the rate of a connection is not known.
_FIRST_PIECE: Final = 2 * _MEBIBYTE

#: A piece takes this many times as long to read as to wait for.
_READING_PER_WAITING: Final = 3

#: The number of readers is adapted at most once in this many seconds, and
#: in this many times the latency.
_ADAPT_SECONDS: Final = 0.2
_ADAPT_LATENCIES: Final = 2


@dataclasses.dataclass
class _Piece:
    """A part of the image that one reader reads.

    :ivar first: offset of the first byte.
    :ivar end: offset behind the last byte.
    :ivar chunks: bytes that were read and not yet passed on.
    :ivar done: whether its reader has ended with it.
    """

    first: int
    end: int
    chunks: list[bytes] = dataclasses.field(default_factory=list)
    done: bool = False


class ParallelReader:
    """Reads an image from an offset to its end with several readers.

    :param begin: opens a download; called by several threads.
    :param size: bytes of the image.
    :param offset: offset of the first byte to read.
    :param tuner: decides on the number of readers.
    :param window: most bytes that are in memory.
    :param chunk_size: most bytes of one read.
    :param wait: waits for a number of seconds; raises to stop the copy.
    :param latency: seconds to the first byte of a piece; 0 if not known.
    :param rate: bytes per second of one reader; 0 if not known.
    """

    def __init__(
        self,
        begin: range_reader.Begin,
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
        # The upload waits for the first, readers wait for the second.
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
        self._delivering = False
        self._latency = latency
        self._rate = rate

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes in order, to the end or until one reader is enough.

        :raises TransferError: if a reader failed for good.
        """
        while True:
            self._start_readers()
            chunks = self._next_chunks()
            if not chunks:
                return
            for chunk in chunks:
                yield chunk
                self._given += len(chunk)
            self._make_room()
            self._adapt()

    def close(self, abort: Callable[[], None] | None = None) -> None:
        """End all readers, and wait for them.

        :param abort: breaks off their requests; None lets each reader end
            its piece.
        """
        with self._lock:
            self._closed = True
            self._room.notify_all()
        if abort:
            abort()
        for thread in self._threads:
            thread.join()

    # Called by the thread that uploads.

    def _start_readers(self) -> None:
        with self._lock:
            missing = 0
            if not self._is_ending() and self._taken < self._size:
                missing = self._tuner.streams - self._live
            self._live += max(0, missing)
        for _number in range(missing):
            thread = threading.Thread(
                target=self._read, name="reader", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def _next_chunks(self) -> Sequence[bytes]:
        """Wait for the next bytes; return none if no reader will read them."""
        with self._lock:
            while True:
                if self._pieces and self._pieces[0].chunks:
                    return self._take_chunks(self._pieces[0])
                if isinstance(self._error, range_reader.NotRanged):
                    self._tuner.use_one_stream()
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
        if not self._delivering:
            # The rate counts from the time when all readers have begun.
            self._delivering = True
            self._meter.restart(self._arrived, time.monotonic() - self._began)
        return chunks

    def _make_room(self) -> None:
        """Wake a reader if the upload has made room for a piece."""
        with self._lock:
            if self._has_room():
                self._room.notify()

    def _is_ending(self) -> bool:
        """Return whether no reader shall take another piece."""
        return (
            self._closed or self._error is not None or self._tuner.streams == 1
        )

    def _adapt(self) -> None:
        """Let the tuner change the number of readers."""
        pause = max(_ADAPT_SECONDS, _ADAPT_LATENCIES * self._latency)
        with self._lock:
            seen = self._meter.measure(self._arrived, pause)
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
                # A change takes a while to show.
                self._meter.restart(self._arrived, delay=pause)

    # Called by the readers.

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
        """Wait for room and take the next piece; None ends the reader."""
        with self._lock:
            while True:
                if (
                    self._is_ending()
                    or self._taken == self._size
                    or self._live > self._tuner.streams
                ):
                    self._live -= 1
                    # Another reader that waits may have to end as well.
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
        """Return whether the window has room for another piece."""
        return self._taken + self._next_size() <= self._given + self._window

    def _next_size(self) -> int:
        """Return the size of the next piece in bytes.

        A reader shall spend most of its time on reading, and little on
        waiting for the first byte; the pieces of all readers must fit into
        the window together. The next piece in order always fits.
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
        part = range_reader.RangeReader(
            self._begin,
            self._size,
            piece.first,
            piece.end,
            chunk_size=self._chunk_size,
            wait=self._wait,
            on_failure=self._failed,
            skip=False,
        )
        began = time.monotonic()
        with contextlib.closing(iter(part)) as chunks:
            for chunk in chunks:
                with self._lock:
                    if self._closed:
                        return
                    piece.chunks.append(chunk)
                    # Bytes count when they arrive: those of a slow
                    # connection are passed on a whole piece at a time.
                    self._arrived += len(chunk)
                    if piece is self._pieces[0]:
                        self._data.notify()
        seconds = time.monotonic() - began - part.latency
        self._learn(
            part.latency, (piece.end - piece.first) / max(seconds, 1e-6)
        )

    def _failed(self, error: exception.TransferError) -> None:
        LOG.info("%s Taking it up again.", error.message)
        if error.code.busy:
            with self._lock:
                self._tuner.back_off()

    def _learn(self, latency: float, rate: float) -> None:
        """Update latency and rate; the latest piece counts a quarter."""
        with self._lock:
            weight = 0.25 if self._rate else 1.0
            self._latency += weight * (latency - self._latency)
            self._rate += weight * (rate - self._rate)
