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

"""The part of an image that is in memory."""

import bisect


class Window:
    """The bytes of an image between two offsets, in the chunks that came.

    Not thread-safe: the caller holds a lock.

    :param start: the offset of the first byte that will be added.
    :ivar start: the offset of the first byte that is there.
    :ivar end: the offset behind the last byte that is there.
    """

    def __init__(self, start: int) -> None:
        self.start = self.end = start
        self._offsets: list[int] = []
        self._chunks: list[bytes] = []

    def __len__(self) -> int:
        return self.end - self.start

    def append(self, chunk: bytes) -> None:
        """Add the next bytes."""
        self._offsets.append(self.end)
        self._chunks.append(chunk)
        self.end += len(chunk)

    def chunk(self, offset: int, end: int) -> bytes:
        """Return bytes that are there, at least one.

        :param offset: of the first byte to return.
        :param end: offset behind the last byte to return at most.
        :raises LookupError: if the first byte is not there.
        """
        if not self.start <= offset < min(end, self.end):
            raise LookupError(offset)
        place = bisect.bisect_right(self._offsets, offset) - 1
        chunk, first = self._chunks[place], self._offsets[place]
        if offset == first and end >= first + len(chunk):
            return chunk
        return chunk[offset - first : end - first]

    def drop(self, below: int) -> bool:
        """Drop the first chunk, if all of it is below an offset.

        :returns: whether it was dropped.
        """
        if not self._chunks or self.start + len(self._chunks[0]) > below:
            return False
        del self._offsets[0]
        self.start += len(self._chunks.pop(0))
        return True
