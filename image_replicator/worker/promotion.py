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

"""Letting jobs that have waited in the background for long go on."""

import time
from typing import Final

from image_replicator.db import work_queue
from image_replicator.worker import availability
from image_replicator.worker import interval

#: The most jobs that one run looks at.
_BATCH_SIZE: Final = 100

#: Seconds between two runs, unless a job waits for less than that.
_SECONDS: Final = 60.0

#: The part of the patience by which a job may wait for longer.
_PARTS: Final = 4


class Promotion:
    """Gives jobs that have waited in the background a turn among the others.

    :param database: the availability of the database.
    :param patience: seconds that a job waits in the background.
    """

    def __init__(
        self,
        queue: work_queue.WorkQueue,
        database: availability.DatabaseAvailability,
        patience: float,
        clock: interval.Clock = time.monotonic,
    ) -> None:
        self._queue = queue
        self._database = database
        self._patience = patience
        self._interval = interval.Interval(
            min(_SECONDS, patience / _PARTS), clock
        )
        self._more = False

    def run(self) -> None:
        """Look at some jobs, if it is time to, or if more were waiting.

        :raises DBError: if the database cannot be used.
        """
        if self._interval.is_over() or self._more:
            found = self._database.call(
                self._queue.promote, self._patience, _BATCH_SIZE
            )
            self._more = found == _BATCH_SIZE
