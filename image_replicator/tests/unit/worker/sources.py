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

"""Fake sources of an image's data, without a network."""

import threading
from collections.abc import Callable
from typing import cast

from image_replicator import exception
from image_replicator.errors import ErrorCode
from image_replicator.images import download


class Source:
    """The data of an image in a fake service.

    :ivar data: of the image
    :ivar ranged: whether it can send a range
    :ivar total: the size that it announces, in bytes
    :ivar stored: the bytes that its store has, if they are fewer
    :ivar breaks: the numbers of bytes after which the next downloads break;
        further downloads do not break
    :ivar refusals: the errors that the next downloads raise
    :ivar asked: first and last byte of each download
    :ivar before_read: called before each read
    :ivar sent: the bytes that all downloads read
    :ivar unclosed: the number of open downloads
    """

    def __init__(self, data: bytes, ranged: bool = True) -> None:
        self.data = data
        self.ranged = ranged
        self.total: int | None = len(data)
        self.stored: int | None = None
        self.breaks: list[int] = []
        self.refusals: list[ErrorCode] = []
        self.asked: list[tuple[int, int]] = []
        self.before_read: Callable[[], object] = lambda: None
        self.sent = 0
        self.unclosed = 0
        self._lock = threading.Lock()

    def begin(self, first: int, last: int) -> download.Download:
        """Begin a download.

        :raises TransferError: if it is refused.
        """
        with self._lock:
            self.asked.append((first, last))
            if self.refusals:
                raise exception.TransferError(self.refusals.pop(0), "No.")
            breaks_after = self.breaks.pop(0) if self.breaks else None
            self.unclosed += 1
        part = self.data[first : last + 1] if self.ranged else self.data
        begun = _Download(self, first if self.ranged else 0, part)
        if self.stored is not None and last >= self.stored:
            begun.left = begun.left[: max(0, self.stored - begun.first)]
            begun.short = True
        if breaks_after is not None:
            begun.left = begun.left[:breaks_after]
            begun.breaks = True
        return cast(download.Download, begun)

    def count(self, sent: int = 0, closed: int = 0) -> None:
        """Count an event of a download; any thread may call this."""
        with self._lock:
            self.sent += sent
            self.unclosed -= closed


class _Download:
    def __init__(self, source: Source, first: int, left: bytes) -> None:
        self.first = first
        self.total = source.total
        self.ranged = source.ranged
        self.left = left
        self.breaks = False
        self.short = False
        self.ended = False
        self._source = source

    def read(self, size: int) -> bytes:
        self._source.before_read()
        chunk, self.left = self.left[:size], self.left[size:]
        if not chunk and self.breaks:
            raise self.broken_off()
        self.ended = not chunk
        if self.ended and self.short:
            raise self.broken_off()
        self._source.count(sent=len(chunk))
        return chunk

    def broken_off(self) -> exception.TransferError:
        return exception.TransferError(
            ErrorCode.SOURCE_READ_FAILED, "Broke off."
        )

    def close(self) -> None:
        self._source.count(closed=1)
