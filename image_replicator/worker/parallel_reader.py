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

"""Reads one image over as many connections at once as it takes.

Each reader is a thread with a connection of its own. A single reader reads
all the rest of the image. When the tuner wants more readers, that reader gets
an end nearby and the others take pieces behind it, so that bytes go on
arriving while new connections are made. Bytes that arrive before their turn
wait in memory; a window bounds how many.
"""

import collections
import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable
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

#: Bytes that a single reader may be ahead of the upload: enough for both to
#: go on at the same time.
_SINGLE_AHEAD: Final = 4 * _MEBIBYTE

#: A piece takes this many times as long to read as to wait for.
_READING_PER_WAITING: Final = 3

#: Readers that there may be for each one that has had a byte: a source that
#: is slow to answer is not asked for everything at once.
_READERS_PER_DELIVERING: Final = 4

#: The number of readers is adapted at most once in this many seconds, and
#: in this many times the latency.
_ADAPT_SECONDS: Final = 0.2
_ADAPT_LATENCIES: Final = 2

#: Seconds of a measurement while the number grows fast.
_FAST_SECONDS: Final = 0.1

#: Seconds of the first measurement of a single reader; each further one is
#: twice as long, up to the last number.
_FIRST_SECONDS: Final = 0.05
_MOST_SECONDS: Final = 0.5


class _Ended(Exception):
    """A reader has no more to read: its piece is cut, or all is closed."""


@dataclasses.dataclass
class _Piece:
    """A part of the image that one reader reads.

    :ivar data: reads it, and what follows if the piece was cut.
    :ivar single: whether it is all the rest of the image.
    :ivar began: when its reading began, by the clock.
    :ivar first: offset of its first byte.
    :ivar end: offset behind its last byte.
    :ivar stored: offset behind the last byte that was read.
    :ivar chunks: bytes that were read and not yet passed on.
    :ivar done: whether its reader has ended with it.
    """

    data: range_reader.RangeReader
    single: bool
    began: float
    first: int
    end: int
    stored: int
    chunks: list[bytes] = dataclasses.field(default_factory=list)
    done: bool = False


class ParallelReader:
    """Reads an image from an offset to its end.

    Its methods are called by one thread, the one that uploads.

    :param begin: opens a download; called by several threads.
    :param size: bytes of the image.
    :param offset: offset of the first byte to read.
    :param held: bytes before it that were not passed on yet.
    :param tuner: decides on the number of readers.
    :param window: most bytes that are in memory.
    :param chunk_size: most bytes of one read.
    :param clock: returns seconds; never goes back.
    """

    def __init__(
        self,
        begin: range_reader.Begin,
        size: int,
        offset: int,
        *,
        held: int = 0,
        tuner: worker_tuner.Tuner,
        window: int,
        chunk_size: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._begin = begin
        self._size = size
        self._tuner = tuner
        self._window = window
        self._chunk_size = chunk_size
        self._clock = clock
        self._lock = threading.Lock()
        # The upload waits for the first, readers wait for the second.
        self._data = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._closed = threading.Event()
        self._error: Exception | None = None
        self._pieces: collections.deque[_Piece] = collections.deque()
        # Offsets: of the next piece, and of the next byte to be passed on.
        self._taken = offset
        self._given = self._first_given = offset - held
        self._threads: list[threading.Thread] = []
        # Readers that are alive, those of them that have had a byte, and
        # pieces that were begun.
        self._live = self._delivering = self._begun = 0
        self._meter = meter.Meter(clock)
        self._arrived = 0
        self._pause = _FIRST_SECONDS
        self._settled_by: float | None = None
        self._latency = self._rate = 0.0

    # Called by the thread that uploads.

    def start(self) -> None:
        """Begin to read, with one reader."""
        with self._lock:
            self._start_readers()

    def read(self, timeout: float) -> list[bytes] | None:
        """Wait for the next bytes.

        :param timeout: seconds to wait for them.
        :returns: the next chunks in order; empty if none came in time; None
            if no more will come: all were read, or the source sends no
            ranges any more. Then the tuner allows one stream, and another
            ParallelReader has to read the rest.
        :raises TransferError: if a reader failed for good.
        """
        with self._lock:
            self._start_readers()
            with self._meter.waiting():
                self._data.wait_for(self._has_news, timeout)
            if self._pieces and self._pieces[0].chunks:
                piece = self._pieces[0]
                chunks, piece.chunks = piece.chunks, []
                return chunks
            if isinstance(self._error, range_reader.NotRanged):
                self._tuner.use_one_stream()
                return None
            if self._error:
                raise self._error
            return None if self._is_at_end() else []

    def passed_on(self, size: int) -> None:
        """Make room for more, as the upload has taken so many bytes."""
        with self._lock:
            if self._given == self._first_given:
                # The rate counts from here: what came before has waited.
                self._meter.restart(self._arrived)
            self._given += size
            self._adapt()
            self._start_readers()
            if self._live == 1 or self._has_room(self._next_size()):
                self._room.notify()

    def close(self, abort: Callable[[], None] | None = None) -> None:
        """End all readers, and wait for them.

        :param abort: breaks off their requests, if there are any; None lets
            each reader end its read.
        """
        with self._lock:
            self._closed.set()
            self._room.notify_all()
        if abort and any(thread.is_alive() for thread in self._threads):
            abort()
        for thread in self._threads:
            thread.join()

    def _has_news(self) -> bool:
        """Return whether there are bytes, an error, or the end."""
        while (
            self._pieces
            and self._is_whole(self._pieces[0])
            and not self._pieces[0].chunks
            and not self._error
        ):
            self._pieces.popleft()
            self._room.notify()
        return bool(
            (self._pieces and self._pieces[0].chunks)
            or self._error
            or self._is_at_end()
        )

    def _is_whole(self, piece: _Piece) -> bool:
        """Return whether a piece needs nothing more of its reader."""
        # The reader of the last piece must also find that no byte follows it.
        cut = piece.end < self._size
        return piece.done or (cut and piece.stored == piece.end)

    def _is_at_end(self) -> bool:
        return not self._pieces and self._taken == self._size

    def _adapt(self) -> None:
        """Let the tuner change the number of readers."""
        if self._settled_by is not None:
            # New readers take a while until they show in the rate.
            settled = self._delivering >= self._tuner.streams
            if not settled and self._clock() < self._settled_by:
                return
            self._settled_by = None
            self._meter.restart(self._arrived)
        seen = self._meter.measure(self._arrived, self._measuring_seconds())
        if seen is None:
            return
        before = self._tuner.streams
        rate, waiting, busy = seen
        self._tuner.observe(rate, waiting, busy, self._latency)
        if before == 1:
            self._pause = min(_MOST_SECONDS, 2 * self._pause)
        if self._tuner.streams != before:
            LOG.debug(
                "%d streams instead of %d, after %.1f MB/s, waiting for "
                "%.0f %% of the time, %.1f of them busy",
                self._tuner.streams,
                before,
                rate / 1e6,
                waiting * 100,
                busy,
            )
            self._settled_by = self._clock() + self._adapting_seconds()

    def _adapting_seconds(self) -> float:
        return max(_ADAPT_SECONDS, _ADAPT_LATENCIES * self._latency)

    def _measuring_seconds(self) -> float:
        if self._tuner.streams == 1:
            return self._pause
        return _FAST_SECONDS if self._tuner.fast else self._adapting_seconds()

    def _start_readers(self) -> None:
        """Start the readers that are missing.

        A single reader that gets company has to end nearby.
        """
        missing = self._allowed() - self._live
        if missing <= 0 or self._is_over():
            return
        for piece in self._pieces:
            if piece.single and not piece.done:
                self._cut(piece)
        if self._taken == self._size:
            return
        for _number in range(missing):
            thread = threading.Thread(
                target=self._run, name="reader", daemon=True
            )
            self._threads.append(thread)
            self._live += 1
            thread.start()

    def _allowed(self) -> int:
        """Return how many readers there may be by now.

        The first bytes come first: others begin when the upload has them.
        """
        if self._given == self._first_given:
            return 1
        return min(
            self._tuner.streams,
            _READERS_PER_DELIVERING * max(1, self._delivering),
        )

    def _is_over(self) -> bool:
        """Return whether no reader shall take another piece."""
        return self._closed.is_set() or self._error is not None

    # Called by the readers.

    def _run(self) -> None:
        delivered = False
        while piece := self._take_piece(delivered):
            error: Exception | None = None
            try:
                delivered = self._read_piece(piece, delivered)
            except _Ended:
                delivered = delivered or piece.stored > piece.first
            except Exception as raised:
                error = raised
            with self._lock:
                if not self._closed.is_set():
                    self._error = self._error or error
                piece.done = True
                self._meter.change_busy(-1)
                self._data.notify()

    def _take_piece(self, delivered: bool) -> _Piece | None:
        """Wait for room and take the next piece; None ends the reader.

        :param delivered: whether the reader has had a byte.
        """
        with self._lock:
            while True:
                if (
                    self._is_over()
                    or self._taken == self._size
                    or self._live > self._tuner.streams
                ):
                    self._live -= 1
                    self._delivering -= delivered
                    # Another reader that waits may have to end as well.
                    self._room.notify()
                    return None
                single = self._allowed() == 1 and self._live == 1
                size = self._size - self._taken
                if not single:
                    size = self._next_size()
                if self._has_room(0 if single else size):
                    break
                self._room.wait()
            piece = self._new_piece(size, single)
            if not single:
                self._begun += 1
                if self._has_room(self._next_size()):
                    self._room.notify()
            return piece

    def _new_piece(self, size: int, single: bool) -> _Piece:
        data = range_reader.RangeReader(
            self._begin,
            self._size,
            self._taken,
            self._taken + size,
            chunk_size=self._chunk_size,
            wait=self._wait,
            on_failure=self._failed,
            skip=single,
        )
        first = self._taken
        self._taken += size
        piece = _Piece(data, single, self._clock(), first, self._taken, first)
        self._pieces.append(piece)
        self._meter.change_busy(1)
        return piece

    def _has_room(self, size: int) -> bool:
        """Return whether so many more bytes may be read by now.

        :param size: 0 for the piece of a single reader.
        """
        if not self._pieces:
            return True
        ahead = self._taken - self._given
        if size:
            return ahead + size <= self._window
        return ahead < min(_SINGLE_AHEAD, self._window)

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
            # Equal first pieces would end together; then all readers would
            # wait for their next first byte, and the link would be idle.
            size = max(1, size * (self._begun + 1) // streams)
        return min(left, size, self._window)

    def _read_piece(self, piece: _Piece, delivered: bool) -> bool:
        """Read a piece; return whether the reader has had a byte by now."""
        with contextlib.closing(iter(piece.data)) as chunks:
            for chunk in chunks:
                with self._lock:
                    self._delivering += not delivered
                    delivered = True
                    self._store(piece, chunk)
        with self._lock:
            self._learn(piece)
        return delivered

    def _store(self, piece: _Piece, chunk: bytes) -> None:
        """Keep a chunk until its turn, and wait for room for the next one.

        :raises _Ended: if the piece needs no more.
        """
        chunk = chunk[: piece.end - piece.stored]
        if chunk:
            piece.chunks.append(chunk)
        piece.stored += len(chunk)
        # Bytes count when they arrive: those of a slow connection are passed
        # on a whole piece at a time.
        self._arrived += len(chunk)
        if self._pieces and piece is self._pieces[0]:
            self._data.notify()
        if not piece.data.ranged:
            self._tuner.use_one_stream()
        while piece.single and not self._is_over():
            if piece.stored - self._given < min(_SINGLE_AHEAD, self._window):
                return
            self._room.wait()
        if self._is_over() or self._is_whole(piece):
            raise _Ended

    def _cut(self, piece: _Piece) -> None:
        """Let a single reader end nearby, so that others read the rest.

        Its bytes last until the others have had their first ones.
        """
        self._learn(piece)
        piece.single = False
        self._taken = piece.stored
        size = self._next_size() + int(self._rate * self._latency)
        most = max(0, self._given + self._window - piece.stored)
        self._taken = piece.end = min(
            self._size, piece.stored + min(size, most)
        )
        self._begun += 1
        self._room.notify_all()

    def _wait(self, seconds: float) -> None:
        if self._closed.wait(seconds):
            raise _Ended

    def _failed(self, error: exception.TransferError) -> None:
        if self._closed.is_set():
            # We broke it off ourselves.
            raise _Ended
        LOG.info("%s Taking it up again.", error.message)
        if error.code.busy:
            with self._lock:
                self._tuner.back_off()

    def _learn(self, piece: _Piece) -> None:
        """Update latency and rate; the latest piece counts a quarter."""
        latency = piece.data.latency
        seconds = max(self._clock() - piece.began - latency, 1e-6)
        rate = (piece.stored - piece.first) / seconds
        weight = 0.25 if self._rate else 1.0
        self._latency += weight * (latency - self._latency)
        self._rate += weight * (rate - self._rate)
