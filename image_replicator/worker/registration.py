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

from image_replicator.db import queue
from image_replicator.jobs import NewWorker
from image_replicator.worker import availability
from image_replicator.worker import interval

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
        queue: queue.JobQueue,
        database: availability.DatabaseAvailability,
        worker: NewWorker,
        seconds: float,
        clock: interval.Clock = time.monotonic,
    ) -> None:
        self._queue = queue
        self._database = database
        self._worker = worker
        self._interval = interval.Interval(seconds, clock)

    def run(self) -> None:
        """Register the worker, or give a sign of life, if it is time to.

        :raises DBError: if the database cannot be used.
        """
        if self._interval.is_over():
            self._database.call(self._queue.show_sign_of_life, self._worker)
            self._queue.forget_silent_workers(_FORGOTTEN_AFTER)

    def unregister(self) -> None:
        """Remove the worker from the list, as it ends in good order.

        :raises DBError: if the database cannot be used.
        """
        self._queue.say_goodbye(self._worker.id)
