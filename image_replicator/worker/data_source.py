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

"""From where a copy reads the image's bytes: a gateway, or Glance itself."""

import threading
import time
from collections.abc import Callable
from typing import Final

from oslo_log import log as logging

from image_replicator import exception
from image_replicator.images import client
from image_replicator.images import download

LOG = logging.getLogger(__name__)

#: Failures of the gateway in a row with which the copy goes to Glance.
_MOST_FAILURES: Final = 3

#: Seconds after which the gateway is tried again.
_PAUSE: Final = 30.0


class DataSource:
    """Opens the downloads of one copy; several threads use it.

    A gateway that fails costs the copy some seconds: its reader takes the
    bytes up where they ended, from the gateway a few times, then from Glance.

    :param source: the source's image service.
    :param gateway: the gateway in front of it; None to do without.
    :param size: bytes of the image.
    :param clock: seconds, never going back.
    """

    def __init__(
        self,
        source: client.ImageClient,
        gateway: client.ImageClient | None,
        size: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._gateway = gateway
        self._size = size
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._down_until = clock()

    def download(
        self, image_id: str, first: int, last: int
    ) -> download.Download:
        """Begin to read a range of an image.

        :param first: the offset of the first byte.
        :param last: the offset of the last byte.
        :raises TransferError: if neither sends it.
        """
        if self._gateway and self._is_up():
            try:
                return self._gateway.download_piece(
                    image_id, first, last, self._size, self._told
                )
            except exception.TransferError as error:
                self._failed(error)
        return self._source.download(image_id, first, last)

    def _is_up(self) -> bool:
        with self._lock:
            return self._clock() >= self._down_until

    def _failed(self, error: exception.TransferError) -> None:
        """Count a failure; the last one makes the copy go to Glance."""
        with self._lock:
            self._failures += 1
            if self._failures < _MOST_FAILURES:
                LOG.info("The gateway failed: %s", error.message)
                return
            self._failures = 0
            self._down_until = self._clock() + _PAUSE
        LOG.warning(
            "The gateway is not used for %.0f s: %s", _PAUSE, error.message
        )

    def _told(self, error: exception.TransferError | None) -> None:
        """Learn how a download of the gateway goes on."""
        if error:
            self._failed(error)
        else:
            with self._lock:
                self._failures = 0
