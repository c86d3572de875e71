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

"""One reading of an image, from its begin to its end."""

import dataclasses
import threading
import time
from collections.abc import Callable
from typing import Final

from oslo_log import log as logging

from image_replicator.gateway import source
from image_replicator.gateway import window

LOG = logging.getLogger(__name__)

#: Seconds for which a request waits for its next byte.
_PATIENCE: Final = 60.0

#: The part of the window that is kept behind what requests need, as others
#: may ask for it: requests at the same time come in any order, and a reader
#: whose connection broke asks again.
BEHIND: Final = 4


class TooSlow(Exception):
    """The next byte of a request did not come in time."""


@dataclasses.dataclass(eq=False)
class Request:
    """A request that is answered from a reading.

    :ivar kept: the offset of the first byte that it still needs.
    :ivar next: the offset of the next byte that it gets.
    """

    kept: int
    next: int


class Reading:
    """Reads an image into a window, and answers requests from it.

    The window moves on when a request needs bytes behind its end. Bytes that
    a request still needs stay, and so do the bytes behind them.

    :param data: the data of the image.
    :param first: the offset of the first byte that is kept.
    :param window_size: the most bytes in memory.
    :ivar judged_at: when the image service judged the token, by the clock.
    :ivar used_at: when the last request ended, by the clock.
    :ivar size: bytes of the image.
    """

    def __init__(
        self,
        data: source.Data,
        first: int,
        window_size: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._data = data
        self._clock = clock
        self._window = window.Window(first)
        self._window_size = window_size
        self._changed = threading.Condition()
        self._requests: set[Request] = set()
        self._error: source.Lost | None = None
        self._closed = False
        # The lowest offset that requests need, or needed last.
        self._lowest = first
        self.judged_at = self.used_at = clock()
        self.size = data.size
        self._thread = threading.Thread(
            target=self._read, name="reading", daemon=True
        )

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    # Called by the threads that answer requests.

    @property
    def is_idle(self) -> bool:
        """Whether no request is answered from it."""
        return not self._requests

    def begin(self, first: int) -> Request | None:
        """Begin to answer a request.

        :param first: the offset of its first byte.
        :returns: None if that byte is not there any more, or too far ahead,
            or the reading has failed.
        """
        with self._changed:
            ahead = first - self._window.end
            if (
                self._closed
                or self._error
                or first < self._window.start
                or (ahead > self._window_size and self._requests)
            ):
                return None
            request = Request(first, first)
            self._requests.add(request)
            return request

    def chunk(self, request: Request, end: int, *, keep: bool) -> bytes:
        """Wait for the next bytes of a request, and return them.

        :param end: the offset behind the last byte that it wants.
        :param keep: whether the bytes before are still needed.
        :raises Lost: if the reading failed.
        :raises TooSlow: if they did not come in time.
        """
        with self._changed:
            if not keep:
                request.kept = request.next
            self._changed.notify_all()
            there = self._changed.wait_for(
                lambda: (
                    self._error
                    or self._closed
                    or self._window.end > request.next
                ),
                _PATIENCE,
            )
            if self._window.end > request.next:
                chunk = self._window.chunk(request.next, end)
                request.next += len(chunk)
                return chunk
            if not there:
                raise TooSlow
            raise self._error or source.Lost("the reading was ended")

    def end(self, request: Request) -> None:
        """End a request."""
        with self._changed:
            self._requests.discard(request)
            self.used_at = self._clock()
            self._changed.notify_all()

    def close(self) -> None:
        """End the reading."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    # Called by the thread that reads.

    def _read(self) -> None:
        try:
            offset = 0
            for chunk in self._data.chunks():
                skipped = max(0, self._window.start - offset)
                offset += len(chunk)
                if skipped < len(chunk):
                    self._add(chunk[skipped:])
                if self._closed:
                    break
        except source.Lost as error:
            LOG.warning("A reading is lost: %s", error)
            self._fail(error)
        except Exception:
            LOG.exception("A reading failed for an unforeseen reason")
            self._fail(source.Lost("it failed for an unforeseen reason"))
        finally:
            self._data.close()

    def _fail(self, error: source.Lost) -> None:
        with self._changed:
            self._error = error
            self._changed.notify_all()

    def _add(self, chunk: bytes) -> None:
        """Wait for room, and add a chunk."""
        with self._changed:
            while not self._closed and not self._has_room(len(chunk)):
                self._changed.wait()
            self._window.append(chunk)
            self._changed.notify_all()

    def _has_room(self, size: int) -> bool:
        """Make room by dropping what is not needed; return whether there is.

        Some of what was delivered stays, as a reader whose connection broke
        asks for it again, unless a request waits for bytes behind the end.
        """
        if self._requests:
            self._lowest = min(request.kept for request in self._requests)
        waits = any(
            request.next >= self._window.end for request in self._requests
        )
        behind = 0 if waits else self._window_size // BEHIND
        while len(self._window) + size > self._window_size:
            if not self._window.drop(self._lowest - behind):
                return False
        return True
