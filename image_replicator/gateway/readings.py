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

"""All readings of the gateway."""

import contextlib
import dataclasses
import hashlib
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator

from oslo_config import cfg
from oslo_log import log as logging

from image_replicator.gateway import reading
from image_replicator.gateway import source

LOG = logging.getLogger(__name__)

#: A reading is a caller's: the image, and a digest of the token.
_Key = tuple[str, str]


@dataclasses.dataclass
class _Opening:
    """The threads that look for a reading of one caller's.

    :ivar lock: held by the one that looks
    :ivar threads: the number of those that hold it or wait
    """

    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)
    threads: int = 0


class Busy(Exception):
    """There are as many readings as the memory allows."""


class Readings:
    """Opens, finds and ends the readings; several threads use it.

    :param conf: has ``[gateway]``.
    :param images: the image service.
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        images: source.ImageSource,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        options = conf.gateway
        self._window_size: int = options.window_size
        self._most: int = max(1, options.buffer_size // options.window_size)
        self._idle_timeout: float = options.idle_timeout
        self._token_check_interval: float = options.token_check_interval
        self._images = images
        self._clock = clock
        self._lock = threading.Lock()
        self._opening: dict[_Key, _Opening] = {}
        self._open: dict[_Key, list[reading.Reading]] = {}
        # Readings that are not open yet.
        self._begun = 0

    @contextlib.contextmanager
    def request(
        self, image_id: str, token: str, first: int
    ) -> Iterator[tuple[reading.Reading, reading.Request]]:
        """Begin a request; it ends with the context.

        :param first: the offset of its first byte.
        :raises Refused: if the image service refuses the token.
        :raises Lost: if the image service does not answer.
        :raises Busy: if there are as many readings as there may be.
        """
        digest = hashlib.sha256(token.encode()).hexdigest()
        key = (image_id, digest)
        # Requests that come at the same time share one new reading.
        with self._opening_of(key):
            found, request = self._find(key, token, first) or self._new(
                key, token, first
            )
        try:
            yield found, request
        finally:
            found.end(request)

    @contextlib.contextmanager
    def _opening_of(self, key: _Key) -> Iterator[None]:
        """Let one thread at a time find or open a reading of a caller's."""
        with self._lock:
            opening = self._opening.setdefault(key, _Opening())
            opening.threads += 1
        try:
            with opening.lock:
                yield
        finally:
            with self._lock:
                opening.threads -= 1
                if not opening.threads:
                    del self._opening[key]

    def _find(
        self, key: _Key, token: str, first: int
    ) -> tuple[reading.Reading, reading.Request] | None:
        for found in list(self._open.get(key, ())):
            request = found.begin(first)
            if request is None:
                continue
            try:
                self._judge(found, key, token)
            except BaseException:
                found.end(request)
                raise
            return found, request
        return None

    def _judge(self, found: reading.Reading, key: _Key, token: str) -> None:
        """Let the image service judge the token again, if it is time to."""
        if self._clock() - found.judged_at < self._token_check_interval:
            return
        try:
            self._images.judge(key[0], token)
        except source.Refused:
            self._forget(key, found)
            raise
        found.judged_at = self._clock()

    def _new(
        self, key: _Key, token: str, first: int
    ) -> tuple[reading.Reading, reading.Request]:
        with self._room():
            return self._open_new(key, token, first)

    def _open_new(
        self, key: _Key, token: str, first: int
    ) -> tuple[reading.Reading, reading.Request]:
        data = self._images.open(key[0], token)
        first = min(first, data.size)
        begin = max(0, first - self._window_size // reading.BEHIND)
        new = reading.Reading(data, begin, self._window_size, self._clock)
        request = new.begin(first)
        assert request is not None  # nosec B101: it is new
        with self._lock:
            self._open.setdefault(key, []).append(new)
        LOG.info("Reading image %s, keeping it from %d", key[0], begin)
        new.start()
        return new, request

    @contextlib.contextmanager
    def _room(self) -> Iterator[None]:
        """Have room for one more reading while it is opened.

        If there are too many, the one that is idle for longest is ended.

        :raises Busy: if none is idle.
        """
        self.end_idle()
        idle = None
        with self._lock:
            known = self._known()
            if len(known) + self._begun >= self._most:
                unused = [each for each in known if each[1].is_idle]
                if not unused:
                    raise Busy
                idle = min(unused, key=lambda each: each[1].used_at)
            self._begun += 1
        if idle:
            self._forget(*idle)
        try:
            yield
        finally:
            with self._lock:
                self._begun -= 1

    def _known(self) -> list[tuple[_Key, reading.Reading]]:
        """Return all readings; the caller holds the lock."""
        return [
            (key, found)
            for key, listed in self._open.items()
            for found in listed
        ]

    def end_idle(self) -> None:
        """End the readings that nobody has used for long."""
        with self._lock:
            known = self._known()
        for key, found in known:
            unused = self._clock() - found.used_at
            if found.is_idle and unused > self._idle_timeout:
                self._forget(key, found)

    def _forget(self, key: _Key, found: reading.Reading) -> None:
        found.close()
        with self._lock:
            listed = self._open.get(key, [])
            if found in listed:
                listed.remove(found)
            if not listed:
                self._open.pop(key, None)

    def close(self) -> None:
        """End all readings."""
        with self._lock:
            listed = [each for many in self._open.values() for each in many]
            self._open.clear()
        for found in listed:
            found.close()
