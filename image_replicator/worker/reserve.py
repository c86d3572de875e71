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

"""Bytes that an upload holds back, to send them while the source is silent.

A web server or a proxy ends an upload that sends nothing for a while: uWSGI
after 4 seconds by default, nginx and HAProxy after 60. So an upload keeps the
latest bytes back, and sends a few of them each second in which the source
sends none. The pieces become smaller with the reserve, down to one byte, so
that the reserve lasts for the longest silence.
"""

import collections
from collections.abc import Iterator
from typing import Final

#: Bytes that are held back at least.
_LEAST: Final = 128 * 1024

#: A piece is this part of the reserve, for each second of the longest silence:
#: a silence of s seconds begins with pieces of 6 / s of the reserve.
_PARTS_PER_SECOND: Final = 1 / 6

#: Bytes of the reserve for each of these parts. With fewer than 148 of them
#: the last byte would go before the silence is over.
_BYTES_PER_PART: Final = 150


class Reserve:
    """Holds back the latest bytes of a stream.

    :param silence: seconds for which one small piece a second must last.
    :param most: bytes that are held back at most, beside one chunk.
    :ivar held: bytes that are held back now.
    """

    def __init__(self, silence: float, most: int) -> None:
        self._parts = max(1, round(silence * _PARTS_PER_SECOND))
        self._size = min(most, max(_LEAST, self._parts * _BYTES_PER_PART))
        self._chunks: collections.deque[bytes] = collections.deque()
        self.held = 0

    @property
    def full(self) -> bool:
        """Whether the reserve has all the bytes that it may hold back."""
        return self.held >= self._size

    def put(self, chunk: bytes) -> None:
        """Add bytes."""
        self._chunks.append(chunk)
        self.held += len(chunk)

    def surplus(self) -> Iterator[bytes]:
        """Yield the bytes that need not be held back."""
        while self._chunks and self.held - len(self._chunks[0]) >= self._size:
            yield self._take()

    def trickle(self) -> bytes:
        """Return a small piece of the reserve; nothing if it is empty."""
        if not self._chunks:
            return b""
        size = max(1, self.held // self._parts)
        chunk = self._take()
        if len(chunk) < size and self._chunks:
            chunk += self._take()
        piece, rest = chunk[:size], chunk[size:]
        if rest:
            self._chunks.appendleft(rest)
            self.held += len(rest)
        return piece

    def drain(self) -> Iterator[bytes]:
        """Yield all that is held back."""
        while self._chunks:
            yield self._take()

    def _take(self) -> bytes:
        chunk = self._chunks.popleft()
        self.held -= len(chunk)
        return chunk
