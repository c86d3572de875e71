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

"""A download of an image's data, or of a part of it."""

import contextlib
import http.client
import re
import time
from collections.abc import Callable
from typing import Any
from typing import Final

import requests
import urllib3

from image_replicator import exception
from image_replicator.images import compression
from image_replicator.images import connections

#: Seconds: if the first bytes come sooner than this, the whole chunk is read.
_BRISK: Final = 0.05

_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(\d+|\*)\Z")


class Download:
    """Data that an image service has begun to send.

    :param response: 200 or 206, its body unread.
    :param error: makes the error of a body that breaks off.
    :param length: bytes that it has at most; None for any number.
    :param tell: called with None when the first bytes are there, and with the
        error if it breaks off.
    :ivar first: the offset of its first byte in the image.
    :ivar total: the size of the image in bytes; None if it is not known.
    :ivar ended: whether the service ended the data before its announced end,
        and the connection did not break.
    :ivar ranged: whether the service sends the range that was asked for; if
        not, it sends the whole image.
    """

    def __init__(
        self,
        response: requests.Response,
        error: exception.TransferError,
        length: int | None = None,
        tell: Callable[[exception.TransferError | None], None] | None = None,
    ) -> None:
        self._response = response
        self._left = length
        self._tell = tell
        self._raw: Any = response.raw
        self._decompressed: compression.Decompressed | None = None
        if response.headers.get(compression.HEADER) == compression.ZSTD:
            self._decompressed = compression.Decompressed(response.raw)
        self._error = error
        self._encrypted = response.url.startswith("https:")
        self._brisk = False
        self._aborted = False
        self.ended = False
        self.ranged = response.status_code == requests.codes.partial
        self.first, self.total = self._extent()

    def _extent(self) -> tuple[int, int | None]:
        headers = self._response.headers
        if not self.ranged:
            length = headers.get("Content-Length", "")
            return 0, int(length) if length.isdecimal() else None
        found = _CONTENT_RANGE.match(headers.get("Content-Range", ""))
        if found is None:
            raise self._error
        first, total = found.groups()
        return int(first), None if total == "*" else int(total)

    def read(self, size: int) -> bytes:
        """Return the next bytes.

        It returns the bytes that have arrived, so that they count even if the
        connection breaks. But TLS returns at most 16 KiB at a time, which is
        inefficient, so encrypted data that comes fast is read until ``size``
        bytes are there.

        :param size: bytes at most.
        :returns: an empty value at the end.
        :raises TransferError: if the connection breaks, or no byte comes
            within the read timeout.
        """
        began = time.monotonic()
        try:
            chunk = self._read(size)
        except (
            urllib3.exceptions.HTTPError,
            OSError,
            compression.BadData,
            # Of a TLS connection that was just shut down.
            ValueError,
        ) as error:
            connections.check_not_broken_off(self._response)
            self.ended = not self._aborted and isinstance(
                error.__cause__, http.client.IncompleteRead
            )
            raise self.broken_off() from error
        self._brisk = time.monotonic() - began < _BRISK
        self.ended = not chunk
        if chunk:
            self._count(chunk)
        return chunk

    def _count(self, chunk: bytes) -> None:
        """Count bytes that have come.

        :raises TransferError: if there are more than there can be.
        """
        if self._left is not None:
            self._left -= len(chunk)
            if self._left < 0:
                raise self.broken_off()
        if self._tell:
            self._tell(None)

    def _read(self, size: int) -> bytes:
        if self._decompressed:
            return self._decompressed.read1(size)
        whole = self._encrypted and self._brisk
        read = self._raw.read if whole else self._raw.read1
        chunk: bytes = read(size, decode_content=False)
        return chunk

    def broken_off(self) -> exception.TransferError:
        """Return the error of data that ended too early, or is too long."""
        if self._tell:
            self._tell(self._error)
        return self._error

    def abort(self) -> None:
        """Make reading fail, also if another thread is reading just now."""
        self._aborted = True
        # It may have come to its end, or be closed, meanwhile.
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            self._raw.shutdown()

    def close(self) -> None:
        """End the download; its connection is kept if all has been read."""
        self._response.close()
