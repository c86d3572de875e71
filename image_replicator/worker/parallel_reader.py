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

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Final

from oslo_log import log as logging

from image_replicator import exception
from image_replicator.worker import meter
from image_replicator.worker import pieces
from image_replicator.worker import range_reader
from image_replicator.worker import tuner as worker_tuner

LOG = logging.getLogger(__name__)

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


class ParallelReader:
    """Reads an image from an offset to its end.

    Its methods are called by one thread, the one that uploads.

    :param begin: opens a download; called by several threads.
    :param size: bytes of the image.
    :param offset: offset of the first byte to read.
    :param held: bytes before it that were not passed on yet.
    :param tuner: decides on the number of readers.
    :param window: tells the most bytes that are in memory, which may change.
    :param chunk_size: most bytes of one read.
    :param clock: returns seconds; never goes back.
    :ivar streams: the number of streams, as long as there was enough to read.
    """

    def __init__(
        self,
        begin: range_reader.Begin,
        size: int,
        offset: int,
        *,
        held: int = 0,
        tuner: worker_tuner.Tuner,
        window: Callable[[], int],
        chunk_size: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._begin = begin
        self._size = size
        self._tuner = tuner
        self._chunk_size = chunk_size
        self._clock = clock
        self._lock = threading.Lock()
        # The upload waits for the first, readers wait for the second.
        self._data = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._closed = threading.Event()
        self._error: Exception | None = None
        self._pieces = pieces.Pieces(
            size, offset, held=held, window=window, clock=clock
        )
        self._threads: list[threading.Thread] = []
        # Readers that are alive, and those of them that have had a byte.
        self._live = self._delivering = 0
        self._meter = meter.Meter(clock)
        self._pause = _FIRST_SECONDS
        self._settled_by: float | None = None
        self.streams = tuner.streams

    # Called by the thread that uploads.

    @property
    def latency(self) -> float:
        """Mean seconds from a request to its first byte; 0 if not known."""
        return self._pieces.latency

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
            if chunks := self._pieces.pop_chunks():
                return chunks
            if isinstance(self._error, range_reader.NotRanged):
                self._tuner.use_one_stream()
                return None
            if self._error:
                raise self._error
            return None if self._pieces.at_end else []

    def passed_on(self, size: int) -> None:
        """Make room for more, as the upload has taken so many bytes."""
        with self._lock:
            if not self._pieces.any_given:
                # The rate counts from here: what came before has waited.
                self._meter.restart(self._pieces.arrived)
            self._pieces.give(size)
            self._adapt()
            self._start_readers()
            if self._live == 1 or self._has_room_for_next():
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
        while not self._error and self._pieces.drop_first():
            self._room.notify()
        return (
            self._pieces.has_chunks
            or self._error is not None
            or self._pieces.at_end
        )

    def _adapt(self) -> None:
        """Let the tuner change the number of readers."""
        if self._settled_by is not None:
            # New readers take a while until they show in the rate.
            settled = self._delivering >= self._tuner.streams
            if not settled and self._clock() < self._settled_by:
                return
            self._settled_by = None
            self._meter.restart(self._pieces.arrived)
        if not self._pieces.all_taken:
            # Near the end streams have nothing left to read.
            self.streams = self._tuner.streams
        seen = self._meter.measure(
            self._pieces.arrived, self._measuring_seconds()
        )
        if seen is None:
            return
        before = self._tuner.streams
        rate, waiting, busy = seen
        self._tuner.observe(rate, waiting, busy, self._pieces.latency)
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
        return max(_ADAPT_SECONDS, _ADAPT_LATENCIES * self._pieces.latency)

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
        if self._pieces.cut_single(self._tuner.streams):
            self._room.notify_all()
        if self._pieces.all_taken:
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
        if not self._pieces.any_given:
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

    def _take_piece(self, delivered: bool) -> pieces.Piece | None:
        """Wait for room and take the next piece; None ends the reader.

        :param delivered: whether the reader has had a byte.
        """
        with self._lock:
            while True:
                if (
                    self._is_over()
                    or self._pieces.all_taken
                    or self._live > self._tuner.streams
                ):
                    self._live -= 1
                    self._delivering -= delivered
                    # Another reader that waits may have to end as well.
                    self._room.notify()
                    return None
                single = self._allowed() == 1 and self._live == 1
                if single and self._pieces.has_room_for_single():
                    break
                if not single and self._has_room_for_next():
                    break
                self._room.wait()
            piece = self._new_piece(single)
            if not single and self._has_room_for_next():
                self._room.notify()
            return piece

    def _has_room_for_next(self) -> bool:
        return self._pieces.has_room_for_next(self._tuner.streams)

    def _new_piece(self, single: bool) -> pieces.Piece:
        first = self._pieces.taken
        end = self._size
        if not single:
            end = first + self._pieces.next_size(self._tuner.streams)
        data = range_reader.RangeReader(
            self._begin,
            self._size,
            first,
            end,
            chunk_size=self._chunk_size,
            wait=self._wait,
            on_failure=self._failed,
            skip=single,
        )
        self._meter.change_busy(1)
        return self._pieces.take(data, end, single)

    def _read_piece(self, piece: pieces.Piece, delivered: bool) -> bool:
        """Read a piece; return whether the reader has had a byte by now."""
        with contextlib.closing(iter(piece.data)) as chunks:
            for chunk in chunks:
                with self._lock:
                    self._delivering += not delivered
                    delivered = True
                    self._store(piece, chunk)
        with self._lock:
            self._pieces.learn(piece)
        return delivered

    def _store(self, piece: pieces.Piece, chunk: bytes) -> None:
        """Keep a chunk until its turn, and wait for room for the next one.

        :raises _Ended: if the piece needs no more.
        """
        self._pieces.store(piece, chunk)
        if self._pieces.is_first(piece):
            self._data.notify()
        self._tuner.use_one_stream(not piece.data.ranged)
        while piece.single and not self._is_over():
            if self._pieces.may_go_on(piece):
                return
            self._room.wait()
        if self._is_over() or self._pieces.is_whole(piece):
            raise _Ended

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
