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

"""Pieces of images that come compressed from a gateway."""

import io
from typing import Any
from typing import Final

import zstandard

#: The header with which a reader asks for compressed pieces, and with which
#: they come. Content-Encoding would make Content-Range count the compressed
#: bytes.
HEADER: Final = "X-Image-Data-Encoding"
ZSTD: Final = "zstd"

#: The most bytes that the decompression of a piece keeps in memory.
_MOST_MEMORY: Final = 16 * 1024 * 1024

#: Compressed bytes of one read.
_READ_SIZE: Final = 64 * 1024

#: The error of data that is not what was compressed.
BadData: Final = zstandard.ZstdError


class Decompressed:
    """Reads a compressed piece as its bytes arrive.

    :param raw: urllib3's response.
    """

    def __init__(self, raw: Any) -> None:
        decompressor = zstandard.ZstdDecompressor(max_window_size=_MOST_MEMORY)
        arrived: Any = _Arrived(raw)
        self._reader = decompressor.stream_reader(
            arrived, read_size=_READ_SIZE, read_across_frames=True
        )

    def read1(self, size: int) -> bytes:
        """Return bytes that have arrived, at most so many.

        :returns: an empty value at the end, which may come in the middle of
            a frame.
        :raises BadData: if they are not what was compressed.
        """
        chunk: bytes = self._reader.read1(size)
        return chunk


class _Arrived(io.RawIOBase):
    """The compressed bytes, each read of which returns what has arrived."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def read(self, size: int = -1) -> bytes:
        chunk: bytes = self._raw.read1(size, decode_content=False)
        return chunk
