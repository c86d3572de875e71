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

"""Compression of the pieces that cross the link."""

import threading
import time
from collections.abc import Callable
from collections.abc import Sequence
from typing import Final

import zstandard

#: The sample of a piece: so many parts of so many bytes.
_PARTS: Final = 32
_PART: Final = 4096

#: A piece is sent compressed if it shrinks to this part of its size.
_PAYS: Final = 0.9

#: The levels of compression that are tried.
_LEAST_LEVEL: Final = 1
_MOST_LEVEL: Final = 6

#: The level for what does not shrink, which is not worth any work.
_FAST: Final = -7

#: A higher level is tried if the link takes so many times as long as the
#: compression, and a lower one if the compression takes longer.
_LINK_PER_WORK: Final = 8


class Encoder:
    """Compresses pieces, at a level that the link pays for.

    :param clock: seconds, never going back.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._level = _LEAST_LEVEL
        self._seconds = 0.0

    @property
    def level(self) -> int:
        """The level of the next piece."""
        return self._level

    def encode(self, chunks: Sequence[bytes]) -> list[bytes] | None:
        """Compress a piece.

        :returns: a frame of zstandard; None if the piece does not shrink.
        """
        size = sum(map(len, chunks))
        began = self._clock()
        if not _shrinks(chunks, size):
            return None
        compressor = zstandard.ZstdCompressor(
            level=self._level, write_checksum=True
        ).compressobj(size=size)
        encoded = [compressor.compress(chunk) for chunk in chunks]
        encoded.append(compressor.flush())
        with self._lock:
            self._seconds = self._clock() - began
        if sum(map(len, encoded)) > size * _PAYS:
            return None
        return [part for part in encoded if part]

    def frame(self, chunks: Sequence[bytes]) -> list[bytes]:
        """Return a frame of zstandard, whether the block shrinks or not."""
        encoded = self.encode(chunks)
        if encoded is not None:
            return encoded
        compressor = zstandard.ZstdCompressor(level=_FAST).compressobj()
        parts = [compressor.compress(chunk) for chunk in chunks]
        return [part for part in (*parts, compressor.flush()) if part]

    def sent(self, seconds: float) -> None:
        """Adapt the level to the seconds that a compressed piece took."""
        with self._lock:
            if seconds > self._seconds * _LINK_PER_WORK:
                self._level = min(_MOST_LEVEL, self._level + 1)
            elif seconds < self._seconds:
                self._level = max(_LEAST_LEVEL, self._level - 1)


def _shrinks(chunks: Sequence[bytes], size: int) -> bool:
    """Tell from a sample whether a piece is worth its compression."""
    sample = b"".join(_sample(chunks, max(1, size // _PARTS)))
    if not sample:
        return False
    compressed = zstandard.ZstdCompressor(level=_LEAST_LEVEL).compress(sample)
    return len(compressed) < len(sample) * _PAYS


def _sample(chunks: Sequence[bytes], stride: int) -> list[bytes]:
    """Return parts of a piece that are evenly spread."""
    parts = []
    wanted = offset = 0
    for chunk in chunks:
        while wanted < offset + len(chunk):
            first = wanted - offset
            parts.append(chunk[first : first + min(_PART, stride)])
            wanted += stride
        offset += len(chunk)
    return parts
