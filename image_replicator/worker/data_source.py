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

"""From where a copy reads the image's bytes.

There may be several places: the source image, copies of it that are nearer,
and gateways in front of either. All have the same bytes, so a copy can go on
from one to the other at any byte.
"""

import threading
import time
import weakref
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Final

from oslo_log import log as logging

from image_replicator import exception
from image_replicator.images import client
from image_replicator.images import download
from image_replicator.nearness import Replica
from image_replicator.nearness import Route
from image_replicator.worker import range_reader
from image_replicator.worker import rate as worker_rate
from image_replicator.worker import retry

LOG = logging.getLogger(__name__)

#: Failures of a place in a row, without a byte in between, with which the copy
#: leaves it. A reader fails for good with the third end at one byte.
_MOST_FAILURES: Final = 2

#: Seconds after which a place that failed, or was too slow, is tried again.
_PAUSE: Final = 30.0
_LONG_PAUSE: Final = 300.0

#: Seconds of waiting for a place after which its rate is looked at.
_PERIOD: Final = 5.0

#: Bytes per second, at least, of a place while another image can be read; and
#: the same as a share of the other one's rate, if that was measured.
_LEAST_RATE: Final = 1024 * 1024
_LEAST_SHARE: Final = 0.125


class Place:
    """One image service, or gateway, that sends the bytes of an image.

    :param replica: the image.
    :param images: the service.
    :param check: raises TransferError if the image cannot be used; None if
        that is known to be not so.
    :param is_gateway: whether the service is a gateway.
    """

    def __init__(
        self,
        replica: Replica,
        images: client.ImageClient,
        check: Callable[[], None] | None = None,
        *,
        is_gateway: bool = False,
    ) -> None:
        self.replica = replica
        self.images = images
        self.check = check or (lambda: None)
        self.is_gateway = is_gateway
        self.failures = 0
        self.failed_at = self.down_until = float("-inf")
        self.running: weakref.WeakSet[download.Download] = weakref.WeakSet()

    @property
    def is_source(self) -> bool:
        """Whether it is the source's image service itself."""
        return self.replica.is_source and not self.is_gateway

    def __str__(self) -> str:
        kind = "the gateway of region" if self.is_gateway else "region"
        return f"image {self.replica.image_id} in {kind} " + (
            self.replica.region_id
        )


class DataSource:
    """Opens the downloads of one copy; several threads use it.

    A place that fails, or slows down to a crawl, costs the copy some seconds:
    its reader takes the bytes up where they ended, from the next place.

    :param places: in the order in which they are to be used; the source's
        image service is one of them.
    :param size: bytes of the image.
    :param routes: the ways to the destination region, by region.
    :param least_rate: bytes per second of a gateway whose image service can be
        read instead, at least.
    :param clock: seconds, never going back.
    """

    def __init__(
        self,
        places: Sequence[Place],
        size: int,
        routes: Mapping[str, Route] | None = None,
        least_rate: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._places = places
        (self._source,) = (place for place in places if place.is_source)
        self._size = size
        self._routes = routes or {}
        self._least_rate = least_rate
        self._clock = clock
        self._lock = threading.Lock()
        self._current = places[0]
        self._used: set[str] = set()
        self._waiting = worker_rate.WhileWaiting(_PERIOD)

    @property
    def read_from(self) -> Replica:
        """The image that is read, or was read last."""
        return self._current.replica

    @property
    def url(self) -> str:
        """The URL of the service that is used; empty if it was not yet."""
        return self._current.images.url

    @property
    def known_streams(self) -> int | None:
        """The number of streams of an earlier copy from the region, if any."""
        route = self._routes.get(self.read_from.region_id)
        return route.streams if route else None

    @property
    def only_region(self) -> str | None:
        """The region from which all bytes came; None if there are several."""
        return next(iter(self._used)) if len(self._used) == 1 else None

    def choose(self) -> None:
        """Choose the first place whose image can be used.

        A region that does not answer is not asked for another image.
        """
        silent = set()
        for place in self._usable():
            region = place.replica.region_id
            if region in silent and not place.replica.is_source:
                continue
            began = self._clock()
            try:
                place.check()
            except exception.TransferError as error:
                self._failed(place, error, began)
                if retry.may_pass(error.code):
                    silent.add(region)
            else:
                self._current = place
                return

    def begin(self, first: int, last: int) -> download.Download:
        """Begin to read a range of the image.

        :param first: the offset of the first byte.
        :param last: the offset of the last byte.
        :raises TransferError: if no place sends it; the error is that of the
            source image.
        """
        failure: exception.TransferError | None = None
        for place in self._usable():
            began = self._clock()
            try:
                return self._open(place, first, last)
            except exception.TransferError as error:
                if place.is_source:
                    failure = error
                    if not retry.may_pass(error.code):
                        # The right to the copy may be gone.
                        raise
                self._failed(place, error, began)
        if failure is None:
            return self._open(self._source, first, last)
        raise failure

    def _usable(self) -> Iterator[Place]:
        for place in self._places:
            if self._is_up(place):
                yield place

    def _is_up(self, place: Place) -> bool:
        with self._lock:
            return self._clock() >= place.down_until

    def _open(self, place: Place, first: int, last: int) -> download.Download:
        began = self._clock()

        def tell(error: exception.TransferError | None) -> None:
            if error:
                self._failed(place, error, began)
            elif place.failures:
                with self._lock:
                    place.failures = 0

        place.check()
        image_id = place.replica.image_id
        if place.is_gateway:
            data = place.images.download_piece(
                image_id, first, last, self._size, tell
            )
        else:
            data = place.images.download(image_id, first, last, tell)
            if not place.is_source and data.total not in (None, self._size):
                # Of the source, it is an error of the whole copy.
                data.close()
                raise range_reader.size_differs(self._size)
        with self._lock:
            place.running.add(data)
            self._used.add(place.replica.region_id)
            if self._current is not place:
                LOG.info("Reading %s, no longer %s", place, self._current)
                self._current = place
        return data

    def _failed(
        self, place: Place, error: exception.TransferError, began: float
    ) -> None:
        """Count a failure of a place; the last one makes the copy leave it.

        The connections that break at one moment count once.

        :param began: when its request began, by the clock.
        """
        if place.is_source and len(self._places) == 1:
            return
        with self._lock:
            lasting = not retry.may_pass(error.code)
            if began < place.failed_at and not lasting:
                return
            place.failed_at = self._clock()
            place.failures += 1
            if place.failures < _MOST_FAILURES and not lasting:
                LOG.info("Reading %s failed: %s", place, error.message)
                return
            place.failures = 0
            pause = _LONG_PAUSE if lasting else _PAUSE
            place.down_until = self._clock() + pause
        LOG.warning(
            "Not reading %s for %.0f s: %s", place, pause, error.message
        )

    def waited(self, size: int, seconds: float) -> None:
        """Learn how long the upload waited for bytes; leave a slow place.

        :param size: bytes that came.
        :param seconds: for which they were waited for.
        """
        rate = self._waiting.measure(size, seconds)
        if rate is None:
            return
        place = self._current
        others = [each for each in self._usable() if each is not place]
        if not others or rate >= self._least(place, others[0]):
            return
        LOG.warning(
            "Not reading %s for %.0f s: it sends only %.0f bytes per second",
            place,
            _LONG_PAUSE,
            rate,
        )
        with self._lock:
            place.down_until = self._clock() + _LONG_PAUSE
            running = list(place.running)
        for data in running:
            data.abort()

    def _least(self, place: Place, other: Place) -> float:
        """Return the rate below which another place is likely to be faster."""
        if place.replica == other.replica:
            # Both are at the end of the same way.
            return self._least_rate
        route = self._routes.get(other.replica.region_id)
        known = route.rate if route else 0.0
        return max(_LEAST_RATE, _LEAST_SHARE * known)
