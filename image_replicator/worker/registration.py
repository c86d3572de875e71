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

"""Showing operators which workers there are."""

import time
from typing import Final

from oslo_log import log as logging

from image_replicator import sealing
from image_replicator.db import key_holders
from image_replicator.db import workers
from image_replicator.jobs import WorkerDescription
from image_replicator.worker import availability
from image_replicator.worker import interval

LOG = logging.getLogger(__name__)

#: Seconds between two records of the sealing keys.
_KEYS_EVERY: Final = 600.0

#: Seconds after which a silent worker is removed from the list.
_FORGOTTEN_AFTER: Final = 24 * 3600.0


class Registration:
    """Keeps this worker in the database's list of workers.

    It also removes from the list workers that were silent for a day.

    :param database: the availability of the database.
    :param worker: the entry.
    :param seconds: between two signs of life.
    """

    def __init__(
        self,
        registry: workers.WorkerRegistry,
        database: availability.DatabaseAvailability,
        worker: WorkerDescription,
        seconds: float,
        clock: interval.Clock = time.monotonic,
    ) -> None:
        self._registry = registry
        self._database = database
        self._worker = worker
        self._interval = interval.Interval(seconds, clock)

    def run(self) -> None:
        """Register the worker, or give a sign of life, if it is time to.

        :raises DBError: if the database cannot be used.
        """
        if self._interval.is_over():
            self._database.call(self._registry.register, self._worker)
            self._registry.forget_silent(_FORGOTTEN_AFTER)

    def unregister(self) -> None:
        """Remove the worker from the list, as it ends normally.

        :raises DBError: if the database cannot be used.
        """
        self._registry.unregister(self._worker.id)


class KeyRegistration:
    """Tells the other nodes which sealing keys this one has.

    :param sealer: has the keys; None if there are to be none.
    :param database: the availability of the database.
    :param host: the name of the node.
    """

    def __init__(
        self,
        holders: key_holders.KeyHolders,
        sealer: sealing.Sealer | None,
        database: availability.DatabaseAvailability,
        host: str,
        clock: interval.Clock = time.monotonic,
    ) -> None:
        self._holders = holders
        self._sealer = sealer
        self._database = database
        self._host = host
        self._interval = interval.Interval(_KEYS_EVERY, clock)

    def run(self) -> None:
        """Record the fingerprints of the keys, if it is time to.

        :raises DBError: if the database cannot be used.
        """
        if self._sealer is None or not self._interval.is_over():
            return
        try:
            fingerprints = self._sealer.fingerprints()
        except sealing.KeysUnusable as error:
            LOG.error("%s", error)
            return
        if fingerprints:
            self._database.call(self._holders.record, self._host, fingerprints)
