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

"""The pieces of an image that several readers read at the same time.

The pieces follow each other without a gap. Each has one reader. Bytes that
arrive before their turn wait in memory; a window bounds how many.
"""

import collections
import dataclasses
from collections.abc import Callable
from typing import Final

from image_replicator.worker import range_reader

_MEBIBYTE: Final = 1024 * 1024

#: Bytes of the smallest piece; fewer are not worth a request.
_LEAST_PIECE: Final = _MEBIBYTE

#: Bytes of a piece while the rate of a connection is not known.
_FIRST_PIECE: Final = 2 * _MEBIBYTE

#: Bytes that a single reader may be ahead of the upload: enough for both to
#: go on at the same time.
_SINGLE_AHEAD: Final = 4 * _MEBIBYTE

#: The latency in seconds below which a source is near, and the most bytes of
#: an image from there that are in memory. They last for longer than a gigabit
#: link takes to bring the next ones; its readers are faster than the upload,
#: and would fill any window without use.
_NEAR: Final = 0.1
_NEAR_WINDOW: Final = 24 * _MEBIBYTE

#: A piece takes this many times as long to read as to wait for.
_READING_PER_WAITING: Final = 3


@dataclasses.dataclass
class Piece:
    """A part of the image that one reader reads.

    :ivar data: reads it, and what follows if the piece was cut.
    :ivar single: whether it is all the rest of the image.
    :ivar began: when its reading began, by the clock.
    :ivar first: offset of its first byte.
    :ivar end: offset behind its last byte.
    :ivar stored: offset behind the last byte that was read.
    :ivar chunks: bytes that were read and not yet passed on.
    :ivar done: whether its reader has ended with it.
    """

    data: range_reader.RangeReader
    single: bool
    began: float
    first: int
    end: int
    stored: int
    chunks: list[bytes] = dataclasses.field(default_factory=list)
    done: bool = False


class Pieces:
    """The pieces that are being read or not yet passed on, in order.

    Not thread-safe: the caller holds a lock.

    :param size: bytes of the image.
    :param offset: offset of the first byte to read.
    :param held: bytes before it that were not passed on yet.
    :param window: tells the most bytes that are in memory, which may change.
    :param clock: returns seconds; never goes back.
    :ivar taken: offset of the next piece.
    :ivar arrived: bytes that were read. They count when they arrive: those
        of a slow connection are passed on a whole piece at a time.
    :ivar latency: mean seconds from a request to its first byte.
    """

    def __init__(
        self,
        size: int,
        offset: int,
        *,
        held: int,
        window: Callable[[], int],
        clock: Callable[[], float],
    ) -> None:
        self._size = size
        self._window = window
        self._clock = clock
        self._pieces: collections.deque[Piece] = collections.deque()
        # Offset of the next byte to be passed on.
        self._given = self._first_given = offset - held
        # Pieces that were begun with others beside them.
        self._begun = 0
        # Bytes per second of one connection; 0 while it is not known.
        self._rate = 0.0
        self.taken = offset
        self.arrived = 0
        self.latency = 0.0

    @property
    def any_given(self) -> bool:
        """Whether any byte was passed on."""
        return self._given != self._first_given

    @property
    def all_taken(self) -> bool:
        """Whether no piece is left to begin."""
        return self.taken == self._size

    @property
    def at_end(self) -> bool:
        """Whether all pieces were read and passed on."""
        return not self._pieces and self.all_taken

    @property
    def has_chunks(self) -> bool:
        """Whether there are bytes whose turn has come."""
        return bool(self._pieces and self._pieces[0].chunks)

    def pop_chunks(self) -> list[bytes]:
        """Return the chunks whose turn has come, and forget them."""
        if not self._pieces:
            return []
        piece = self._pieces[0]
        chunks, piece.chunks = piece.chunks, []
        return chunks

    def give(self, size: int) -> None:
        """Make room, as the upload has taken so many bytes."""
        self._given += size

    def drop_first(self) -> bool:
        """Drop the first piece if it has nothing left to read or pass on.

        :returns: whether it was dropped.
        """
        if not self._pieces or self._pieces[0].chunks:
            return False
        if not self.is_whole(self._pieces[0]):
            return False
        self._pieces.popleft()
        return True

    def is_first(self, piece: Piece) -> bool:
        """Return whether it is this piece's turn."""
        return bool(self._pieces) and piece is self._pieces[0]

    def is_whole(self, piece: Piece) -> bool:
        """Return whether a piece needs nothing more of its reader."""
        # The reader of the last piece must also find that no byte follows it.
        cut = piece.end < self._size
        return piece.done or (cut and piece.stored == piece.end)

    def take(
        self, data: range_reader.RangeReader, end: int, single: bool
    ) -> Piece:
        """Begin the next piece.

        :param data: reads it.
        :param end: offset behind its last byte.
        :param single: whether it is all the rest of the image.
        """
        first, self.taken = self.taken, end
        piece = Piece(data, single, self._clock(), first, end, first)
        self._pieces.append(piece)
        self._begun += not single
        return piece

    def store(self, piece: Piece, chunk: bytes) -> None:
        """Keep the bytes of a chunk that belong to a piece."""
        chunk = chunk[: piece.end - piece.stored]
        if chunk:
            piece.chunks.append(chunk)
        piece.stored += len(chunk)
        self.arrived += len(chunk)

    def cut_single(self, streams: int) -> bool:
        """Let a single reader end nearby, so that others read the rest.

        :param streams: number of readers that there shall be.
        :returns: whether there was a single reader.
        """
        found = [
            piece for piece in self._pieces if piece.single and not piece.done
        ]
        for piece in found:
            self._cut(piece, streams)
        return bool(found)

    def _cut(self, piece: Piece, streams: int) -> None:
        # Its bytes last until the others have had their first ones.
        self.learn(piece)
        piece.single = False
        self.taken = piece.stored
        size = self.next_size(streams) + int(self._rate * self.latency)
        most = max(0, self._given + self._room() - piece.stored)
        self.taken = piece.end = min(
            self._size, piece.stored + min(size, most)
        )
        self._begun += 1

    def may_go_on(self, piece: Piece) -> bool:
        """Return whether a single reader may read its next chunk by now."""
        return piece.stored - self._given < self._single_ahead()

    def has_room_for_single(self) -> bool:
        """Return whether a single reader may begin with all the rest."""
        ahead = self.taken - self._given
        return not self._pieces or ahead < self._single_ahead()

    def has_room_for_next(self, streams: int) -> bool:
        """Return whether the window has room for the next piece.

        :param streams: number of readers that there shall be.
        """
        if not self._pieces:
            return True
        size = self.next_size(streams)
        if not size:
            # No piece is left: the reader that is woken ends.
            return self.has_room_for_single()
        return self.taken - self._given + size <= self._room()

    def _room(self) -> int:
        """Return the most bytes that are in memory."""
        window = self._window()
        if 0 < self.latency < _NEAR:
            return min(window, _NEAR_WINDOW)
        return window

    def _single_ahead(self) -> int:
        return min(_SINGLE_AHEAD, self._room())

    def next_size(self, streams: int) -> int:
        """Return the size of the next piece in bytes.

        A reader shall spend most of its time on reading, and little on
        waiting for the first byte; the pieces of all readers must fit into
        the window together. The next piece in order always fits.

        :param streams: number of readers that there shall be.
        """
        left = self._size - self.taken
        size = int(self._rate * self.latency * _READING_PER_WAITING)
        size = size or _FIRST_PIECE
        window = self._room()
        most = min(window // streams, -(-left // streams))
        size = max(_LEAST_PIECE, min(size, most))
        if self._begun < streams:
            # Equal first pieces would end together; then all readers would
            # wait for their next first byte, and the link would be idle.
            size = max(1, size * (self._begun + 1) // streams)
        return min(left, size, window)

    def learn(self, piece: Piece) -> None:
        """Update latency and rate; the latest piece counts a quarter."""
        latency = piece.data.latency
        seconds = max(self._clock() - piece.began - latency, 1e-6)
        rate = (piece.stored - piece.first) / seconds
        weight = 0.25 if self._rate else 1.0
        self.latency += weight * (latency - self.latency)
        self._rate += weight * (rate - self._rate)
