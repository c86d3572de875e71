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

The uploading request iterates over an :class:`ImageStream`. A single stream
is read by the thread that uploads; several are read by threads of their own,
ahead of the upload. Memory is bounded for images of any size.
"""

import contextlib
import time
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Final
from typing import Protocol

from oslo_log import log as logging

from image_replicator import exception
from image_replicator.worker import parallel_reader
from image_replicator.worker import range_reader
from image_replicator.worker import rate
from image_replicator.worker import tuner as worker_tuner

LOG = logging.getLogger(__name__)

#: Seconds of the first and of each further measurement of a single stream.
_FIRST_MEASUREMENT: Final = 0.1
_MEASUREMENT: Final = 0.5


class Hasher(Protocol):
    """A hash object of hashlib."""

    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


class ImageStream:
    """An image's data as a request body of known size.

    Iterating raises :class:`~image_replicator.exception.TransferError` with
    a code that begins with ``source`` when the source fails: otherwise an
    error inside the body would look like a failure of the destination.

    :param begin: opens a download from the source.
    :param size: bytes of the image.
    :param tuner: decides on the number of streams.
    :param window: most bytes that are read ahead of the upload.
    :param chunk_size: most bytes of one read.
    :param limits: limits of the rate; all are kept.
    :param wait: waits for a number of seconds; raises to stop the copy.
    :param abort: breaks off all requests to the source.
    :param hasher: updated with every byte; None if the source has a hash.
    :ivar bytes_copied: bytes that the upload has taken.
    """

    def __init__(
        self,
        begin: range_reader.Begin,
        size: int,
        *,
        tuner: worker_tuner.Tuner,
        window: int,
        chunk_size: int,
        limits: Sequence[rate.Limiter],
        wait: Callable[[float], None],
        abort: Callable[[], None],
        hasher: Hasher | None = None,
    ) -> None:
        self._begin = begin
        self._size = size
        self._tuner = tuner
        self._window = window
        self._chunk_size = chunk_size
        self._limits = limits
        self._wait = wait
        self._abort = abort
        self._hasher = hasher
        self._offset = 0
        self._latency = 0.0
        self._rate = 0.0
        self._reading: Generator[bytes, None, None] | None = None
        self.bytes_copied = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        self._reading = self._read()
        return self._reading

    def close(self) -> None:
        """End the reading, also after an upload that took only a part."""
        if self._reading:
            self._reading.close()

    def _read(self) -> Generator[bytes, None, None]:
        while self._offset < self._size:
            alone = self._tuner.streams == 1
            reading = self._read_alone() if alone else self._read_together()
            with contextlib.closing(reading):
                for chunk in reading:
                    self._offset += len(chunk)
                    if self._hasher:
                        self._hasher.update(chunk)
                    self._pause(len(chunk))
                    yield chunk
                    self.bytes_copied += len(chunk)

    def _pause(self, size: int) -> None:
        """Wait as the limits demand; raise if the copy is stopped."""
        self._wait(max(limit.reserve(size) for limit in self._limits))

    def _read_alone(self) -> Generator[bytes, None, None]:
        """Read one stream in this thread until the tuner wants more."""
        data = range_reader.RangeReader(
            self._begin,
            self._size,
            self._offset,
            self._size,
            chunk_size=self._chunk_size,
            wait=self._wait,
            on_failure=log_resumption,
            skip=True,
        )
        with contextlib.closing(iter(data)) as chunks:
            timer: _ReadingTimer | None = None
            while self._tuner.streams == 1:
                if timer is None:
                    chunk = next(chunks, None)
                    timer = _ReadingTimer()
                else:
                    with timer.reading():
                        chunk = next(chunks, None)
                if chunk is None:
                    return
                if not data.ranged:
                    self._tuner.use_one_stream()
                yield chunk
                seen = timer.measure(len(chunk))
                if seen:
                    self._latency, self._rate = data.latency, seen[0]
                    self._tuner.observe(*seen)

    def _read_together(self) -> Generator[bytes, None, None]:
        """Read several streams at once until one is enough."""
        reading = parallel_reader.ParallelReader(
            self._begin,
            self._size,
            self._offset,
            tuner=self._tuner,
            window=self._window,
            chunk_size=self._chunk_size,
            wait=self._wait,
            latency=self._latency,
            rate=self._rate,
        )
        try:
            yield from reading
        except BaseException:
            # The copy failed, or the upload has ended early.
            reading.close(self._abort)
            raise
        reading.close()


def log_resumption(error: exception.TransferError) -> None:
    """Log a failure after which reading goes on."""
    LOG.info("%s Taking it up again.", error.message)


class _ReadingTimer:
    """Measures the share of its time for which a thread reads."""

    def __init__(self) -> None:
        self._pause = _FIRST_MEASUREMENT
        self._restart()

    def _restart(self) -> None:
        self._began = time.monotonic()
        self._reading = 0.0
        self._bytes = 0

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._reading += time.monotonic() - began

    def measure(self, size: int) -> tuple[float, float] | None:
        """Return bytes per second and the share of the time spent reading.

        :param size: bytes that were read since the last call.
        :returns: None before the measurement has taken long enough.
        """
        self._bytes += size
        seconds = time.monotonic() - self._began
        if seconds < self._pause:
            return None
        self._pause = _MEASUREMENT
        seen = (self._bytes / seconds, self._reading / seconds)
        self._restart()
        return seen
