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

"""Reads a range of an image's bytes, over as many connections as it takes."""

import time
from collections.abc import Callable
from collections.abc import Generator
from typing import Final

from image_replicator import exception
from image_replicator.errors import ErrorCode
from image_replicator.images import download
from image_replicator.worker import retry

#: Opens a download of the bytes from a first to a last offset.
Begin = Callable[[int, int], download.Download]

#: Failures in a row, without a byte in between, that end the reading.
_MOST_FAILURES: Final = 6

#: Seconds to wait after a failure before which no byte arrived; each further
#: wait is twice as long.
_FIRST_WAIT: Final = 0.25

#: Downloads in a row that the source itself ends at the same byte, before the
#: end: then its data is shorter than the image's size.
_SHORT_ENDS: Final = 3


def longest_silence(connect: float, read: float) -> float:
    """Return how long a RangeReader goes on without a byte, in seconds.

    :param connect: seconds that connecting may take.
    :param read: seconds that a byte may take.
    """
    waits = _FIRST_WAIT * ((1 << (_MOST_FAILURES - 1)) - 1)
    return (_MOST_FAILURES + 1) * (connect + read) + waits


class NotRanged(Exception):
    """The service sends the whole image in place of a part."""


class RangeReader:
    """Reads the bytes from one offset to another.

    When a connection breaks or falls silent, a new one continues at the
    first missing byte. Only failures without a byte in between are counted.

    :param begin: opens a download; first called when iteration begins.
    :param size: bytes of the whole image.
    :param first: offset of the first byte.
    :param end: offset behind the last byte.
    :param chunk_size: most bytes of one read.
    :param wait: waits for a number of seconds; raises to stop the copy.
    :param on_failure: called with each failure after which reading goes on.
    :param skip: whether to read and drop the bytes before ``first`` where
        the service has no ranges; otherwise that raises NotRanged.
    :ivar offset: offset of the next byte.
    :ivar ranged: False once the service has sent the whole image instead
        of a range.
    :ivar latency: seconds from the request to the first byte.
    """

    def __init__(
        self,
        begin: Begin,
        size: int,
        first: int,
        end: int,
        *,
        chunk_size: int,
        wait: Callable[[float], None],
        on_failure: Callable[[exception.TransferError], None],
        skip: bool,
    ) -> None:
        self._begin = begin
        self._size = size
        self._chunk_size = chunk_size
        self._wait = wait
        self._on_failure = on_failure
        self._skip = skip
        self._short_ends = 0
        self._end = end
        self.offset = first
        self.ranged = True
        self.latency = 0.0

    def __iter__(self) -> Generator[bytes, None, None]:
        """Yield the bytes as they arrive.

        :raises TransferError: if reading failed for good.
        :raises NotRanged: see ``skip``.
        """
        failures = 0
        while self.offset < self._end:
            before = self.offset
            try:
                yield from self._read_on()
            except exception.TransferError as error:
                if self._short_ends == _SHORT_ENDS:
                    raise size_differs(self._size, self.offset) from error
                failures = 0 if self.offset > before else failures + 1
                if failures == _MOST_FAILURES or not retry.may_pass(
                    error.code
                ):
                    raise
                self._on_failure(error)
                if failures:
                    self._wait(_FIRST_WAIT * 2 ** (failures - 1))

    def _read_on(self) -> Generator[bytes, None, None]:
        """Read over one connection until the end or until it breaks."""
        began = time.monotonic()
        before = self.offset
        data = self._begin(before, self._end - 1)
        try:
            self._check(data)
            position = data.first
            while chunk := data.read(self._chunk_size):
                self.latency = self.latency or time.monotonic() - began
                new = chunk[max(0, self.offset - position) :]
                position += len(chunk)
                if position > self._end:
                    raise size_differs(self._size)
                if new:
                    # Count first: a caller that stops here has the bytes.
                    self.offset += len(new)
                    yield new
            if self.offset < self._end:
                raise data.broken_off()
        finally:
            if self.offset < self._end:
                self._count_short_end(data.ended, self.offset > before)
            data.close()

    def _count_short_end(self, ended: bool, advanced: bool) -> None:
        """Count downloads in a row that the source ends at the same byte.

        :param ended: whether the source ended the last one without an error.
        :param advanced: whether it had a byte.
        """
        if not ended:
            self._short_ends = 0
        else:
            self._short_ends = 1 if advanced else self._short_ends + 1

    def _check(self, data: download.Download) -> None:
        """Check that a download has the bytes that were asked for."""
        self.ranged = data.ranged
        if data.total not in (None, self._size):
            raise size_differs(self._size)
        whole = self.offset == 0 and self._end == self._size
        if not data.ranged and not whole and not self._skip:
            raise NotRanged
        if data.first > self.offset:
            raise data.broken_off()


def size_differs(
    size: int, found: int | None = None
) -> exception.TransferError:
    """Return the error for data that is longer or shorter than the image.

    :param size: bytes of the image, as its service shows it.
    :param found: bytes that its data has, if it is shorter.
    """
    if found is None:
        message = (
            "The data is not of the size that the image is said to have, "
            f"{size} bytes."
        )
    else:
        message = (
            f"The data ends after {found} bytes, and the image is said to "
            f"have {size} bytes."
        )
    return exception.TransferError(ErrorCode.SOURCE_SIZE_DIFFERS, message)
