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

"""The bytes of one image, on their way from downloads into an upload.

The uploading request iterates over an :class:`ImageStream` and so pulls the
bytes through. One stream is read by the very thread that uploads. Where that
is not enough, lanes read ahead of it. Memory is bounded whatever the image.
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
from image_replicator.worker import lanes
from image_replicator.worker import rate
from image_replicator.worker import span
from image_replicator.worker import tuner as worker_tuner

LOG = logging.getLogger(__name__)

#: Seconds between two looks at whether one stream is enough, the first soon.
_FIRST_LOOK: Final = 0.1
_LOOK_SECONDS: Final = 0.5


class Hasher(Protocol):
    """What hashlib makes."""

    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


class ImageStream:
    """An image's data as a body of known size.

    An error of the source, met inside the upload's body, would look like a
    fault of the destination. So the source's are told apart: iterating
    raises :class:`~image_replicator.exception.TransferError` with a code
    that begins with ``source``.

    :param begin: a download from the source.
    :param size: how many bytes the image has.
    :param tuner: says how many streams there shall be.
    :param window: bytes that may be read ahead of the upload.
    :param chunk_size: how many to read at a time.
    :param limits: that it keeps to.
    :param wait: for so many seconds; raises to stop.
    :param abort: ends all requests to the source.
    :param hasher: fed every byte, where the source left no hash.
    :ivar bytes_copied: bytes that the upload has taken.
    """

    def __init__(
        self,
        begin: span.Begin,
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
        """End what still reads, after an upload that took not all of it."""
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
        """Keep to the limits, and stop if told to."""
        self._wait(max(limit.reserve(size) for limit in self._limits))

    def _read_alone(self) -> Generator[bytes, None, None]:
        """Read one stream, in this thread, until more are worth a try."""
        data = span.Span(
            self._begin,
            self._size,
            self._offset,
            self._size,
            chunk_size=self._chunk_size,
            wait=self._wait,
            failed=taken_up_again,
            skip=True,
        )
        with contextlib.closing(iter(data)) as chunks:
            watch: _Watch | None = None
            while self._tuner.streams == 1:
                if watch is None:
                    chunk = next(chunks, None)
                    watch = _Watch()
                else:
                    with watch.reading():
                        chunk = next(chunks, None)
                if chunk is None:
                    return
                if not data.ranged:
                    self._tuner.stay_single()
                yield chunk
                seen = watch.look(len(chunk))
                if seen:
                    self._latency, self._rate = data.latency, seen[0]
                    self._tuner.observe(*seen)

    def _read_together(self) -> Generator[bytes, None, None]:
        """Read several streams at once, until one is enough."""
        reading = lanes.Lanes(
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
            # The copy fails, or nobody wants the rest.
            reading.close(self._abort)
            raise
        reading.close()


def taken_up_again(error: exception.TransferError) -> None:
    """Log a failure to read that is not the last word."""
    LOG.info("%s Taking it up again.", error.message)


class _Watch:
    """Measures for how much of its time a thread reads, and not sends."""

    def __init__(self) -> None:
        self._pause = _FIRST_LOOK
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

    def look(self, size: int) -> tuple[float, float] | None:
        """Return rate and part of the time, if it is time to look.

        :param size: bytes that were read since the last time.
        """
        self._bytes += size
        seconds = time.monotonic() - self._began
        if seconds < self._pause:
            return None
        self._pause = _LOOK_SECONDS
        seen = (self._bytes / seconds, self._reading / seconds)
        self._restart()
        return seen
