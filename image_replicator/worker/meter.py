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

"""What the number of streams is decided by."""

import contextlib
import time
from collections.abc import Iterator


class Meter:
    """Measures how streams and upload wait for each other.

    Its user holds a lock.

    :param arrived: bytes that have been read already.
    :ivar busy: streams that are reading.
    """

    def __init__(self, arrived: int) -> None:
        self.busy = 0
        self._changed_at = 0.0
        self.restart(arrived)

    def restart(self, arrived: int, delay: float = 0.0) -> None:
        """Forget what was, and begin to look when some time has passed."""
        self._began = self._changed_at = time.monotonic()
        self._begin_at = self._began + delay
        self._arrived = arrived
        self._waited = 0.0
        self._stream_seconds = 0.0

    def change_busy(self, by: int) -> None:
        """Take note of a stream that begins to read, or ends."""
        now = time.monotonic()
        self._stream_seconds += self.busy * (now - self._changed_at)
        self._changed_at = now
        self.busy += by

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Take note of how long the upload waits for data."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._waited += time.monotonic() - began

    def look(
        self, arrived: int, pause: float
    ) -> tuple[float, float, float] | None:
        """Return what :meth:`..tuner.Tuner.observe` is to be told.

        :param arrived: bytes that have been read by now.
        :param pause: seconds that are worth a look; None if fewer passed.
        """
        now = time.monotonic()
        if self._began < self._begin_at <= now:
            self.restart(arrived)
        if now < self._begin_at + pause:
            return None
        self.change_busy(0)
        seconds = now - self._began
        seen = (
            (arrived - self._arrived) / seconds,
            self._waited / seconds,
            self._stream_seconds / seconds,
        )
        self.restart(arrived)
        return seen
