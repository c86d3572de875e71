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

"""The body of an upload, read from the source while it is sent.

The uploading request iterates over an :class:`ImageStream`. Readers with
threads of their own read ahead of it; memory is bounded for images of any
size. A part of the bytes is held back, and sent in small pieces while the
source is silent, as the destination would end an upload that is silent.
"""

import time
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent import futures
from typing import Final
from typing import Protocol

from image_replicator.worker import parallel_reader
from image_replicator.worker import range_reader
from image_replicator.worker import rate
from image_replicator.worker import reserve
from image_replicator.worker import tuner as worker_tuner

#: Seconds without a byte from the source after which some of the reserve is
#: sent: less than any server waits.
_INTERVAL: Final = 1.0

#: Seconds before the end at which the confirmation is asked for, so that it is
#: there when the last bytes are: a few round trips over a long way.
_LEAD: Final = 0.5

#: Bytes that are sent between two reports to the readers: chunks may be small,
#: and each report costs a lock.
_REPORTED: Final = 128 * 1024

#: Bytes that may be held back, and the part of the window.
_MOST_HELD: Final = 1024 * 1024
_WINDOW_PER_HELD: Final = 4


class Hasher(Protocol):
    """A hash object of hashlib."""

    def update(self, data: bytes, /) -> None: ...


class ImageStream:
    """An image's data as a request body of known size.

    Iterating raises :class:`~image_replicator.exception.TransferError` with
    a code of the source's side when the source fails: otherwise an error
    inside the body would look like a failure of the destination.

    :param begin: opens a download from the source.
    :param size: bytes of the image.
    :param tuner: decides on the number of streams.
    :param window: tells the most bytes that are read ahead of the upload,
        which may change.
    :param chunk_size: most bytes of one read.
    :param limits: limits of the rate; all are kept.
    :param minimum: tells when the source is too slow.
    :param waited: told how many bytes came, and the seconds for which they
        were waited for.
    :param silence: seconds for which the source may send nothing.
    :param wait: waits for a number of seconds; raises to stop the copy.
    :param abort: breaks off all requests to the source.
    :param confirm: called before the last bytes are sent, and also a little
        earlier; raises to send none of them. The upload goes on meanwhile. It
        does nothing if it has just been called.
    :param hashers: updated with every byte.
    :param clock: returns seconds; never goes back.
    :ivar bytes_copied: bytes that the upload has taken.
    """

    def __init__(
        self,
        begin: range_reader.Begin,
        size: int,
        *,
        tuner: worker_tuner.Tuner,
        window: Callable[[], int],
        chunk_size: int,
        limits: Sequence[rate.Limiter],
        minimum: rate.Minimum,
        silence: float,
        wait: Callable[[float], None],
        abort: Callable[[], None],
        confirm: Callable[[], None] = lambda: None,
        waited: Callable[[int, float], None] = lambda _size, _seconds: None,
        hashers: Sequence[Hasher] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._begin = begin
        self._size = size
        self._tuner = tuner
        self._window = window
        self._chunk_size = chunk_size
        self._limits = limits
        self._minimum = minimum
        self._reserve = reserve.Reserve(
            silence, min(_MOST_HELD, window() // _WINDOW_PER_HELD)
        )
        self._wait = wait
        self._abort = abort
        self.confirm = confirm
        self._waited = waited
        self._hashers = hashers
        self._clock = clock
        self._offset = 0
        self._reader = self._new_reader()
        self._sending: Generator[bytes, None, None] | None = None
        self._unreported = 0
        self.bytes_copied = 0

    def _new_reader(self) -> parallel_reader.ParallelReader:
        return parallel_reader.ParallelReader(
            self._begin,
            self._size,
            self._offset,
            held=self._reserve.held,
            tuner=self._tuner,
            window=self._window,
            chunk_size=self._chunk_size,
            clock=self._clock,
        )

    def __len__(self) -> int:
        return self._size

    @property
    def exhausted(self) -> bool:
        """Whether the upload has taken all bytes."""
        return self.bytes_copied == self._size

    @property
    def streams(self) -> int:
        """The number of streams, as long as there was enough to read."""
        return self._reader.streams

    @property
    def latency(self) -> float:
        """Mean seconds from a request to its first byte; 0 if not known."""
        return self._reader.latency

    def start(self) -> None:
        """Begin to read, before the upload does."""
        self._reader.start()

    def fill(self) -> None:
        """Read the bytes that are held back, before the upload begins.

        So a source that is slow to begin keeps no destination waiting.

        :raises TransferError: if the source fails.
        """
        while not self._reserve.full and self._offset < self._size:
            self._read()

    def __iter__(self) -> Iterator[bytes]:
        self._sending = self._send()
        return self._sending

    def close(self) -> None:
        """End the reading, also if the upload took only a part of the data."""
        if self._sending:
            self._sending.close()
        ended_early = self._offset < self._size
        self._reader.close(self._abort if ended_early else None)

    def _send(self) -> Generator[bytes, None, None]:
        began = self._clock()
        with futures.ThreadPoolExecutor(1, "confirm") as pool:
            early: futures.Future[None] | None = None
            while self._offset < self._size:
                if early is None and self._seconds_left(began) < _LEAD:
                    early = pool.submit(self.confirm)
                yield from self._paced(self._reserve.surplus())
                if not self._read():
                    yield from self._paced([self._reserve.trickle()])
            if early:
                yield from self._until_done(early)
            # An early one may be too old by now.
            yield from self._until_done(pool.submit(self.confirm))
        yield from self._paced(self._reserve.drain())

    def _seconds_left(self, began: float) -> float:
        """Return how long the rest takes at the mean rate.

        :param began: when the upload began, by the clock.
        """
        rate = self.bytes_copied / max(self._clock() - began, _LEAD)
        left = self._size - self._offset
        return left / rate if rate else float("inf")

    def _until_done(
        self, confirmation: futures.Future[None]
    ) -> Iterator[bytes]:
        """Wait for a confirmation; send a little while it is not there.

        :raises Exception: as the confirmation raises.
        """
        while not futures.wait([confirmation], _INTERVAL).done:
            self._wait(0.0)
            # The last byte is never sent before.
            if self._reserve.held > 1:
                yield from self._paced([self._reserve.trickle()])
        confirmation.result()

    def _read(self) -> bool:
        """Move bytes from the readers to the reserve.

        :returns: whether any came.
        :raises TransferError: if the source failed, or is too slow.
        """
        self._wait(0.0)
        self._report()
        began = self._clock()
        chunks = self._reader.read(_INTERVAL)
        if chunks is None:
            self._read_alone()
            return True
        for chunk in chunks:
            self._reserve.put(chunk)
            self._offset += len(chunk)
            for hasher in self._hashers:
                hasher.update(chunk)
        size, seconds = sum(map(len, chunks)), self._clock() - began
        self._waited(size, seconds)
        self._minimum.check(size, seconds)
        return bool(chunks)

    def _read_alone(self) -> None:
        """Read the rest over one connection, as the source has no ranges."""
        self._reader.close()
        self._reader = self._new_reader()
        self._reader.start()

    def _paced(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield chunks as the limits allow, and count what was taken.

        They are cut so that no pause is long enough to end the upload.
        """
        for chunk in chunks:
            size = min(limit.piece(len(chunk)) for limit in self._limits)
            for first in range(0, len(chunk), max(size, 1)):
                piece = chunk[first : first + size]
                self._wait(
                    max(limit.reserve(len(piece)) for limit in self._limits)
                )
                yield piece
                self.bytes_copied += len(piece)
                self._unreported += len(piece)
                if self._unreported >= _REPORTED:
                    self._report()

    def _report(self) -> None:
        """Let the readers have the room of what was sent."""
        if self._unreported:
            self._reader.passed_on(self._unreported)
            self._unreported = 0
