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

"""What keeps a fleet going beside the copies: one duty, one class.

Every worker does all of it. Each duty is right whoever does it, and however
many do it at once.
"""

import time
from collections.abc import Callable
from collections.abc import Collection
from typing import Final

from oslo_log import log as logging

from image_replicator import exception
from image_replicator.db import queue
from image_replicator.jobs import Job
from image_replicator.jobs import NewWorker
from image_replicator.worker import outage

LOG = logging.getLogger(__name__)

Clock = Callable[[], float]

#: Seconds after which operators are shown a silent worker no more.
_FORGOTTEN_AFTER: Final = 24 * 3600.0

#: Jobs to sweep up after at a time.
_SWEPT_AT_ONCE: Final = 100


class Interval:
    """Says when it is time for something that is done now and then.

    The first time is at once.

    :param seconds: between two times.
    :param clock: seconds, never going back.
    """

    def __init__(self, seconds: float, clock: Clock = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._due = clock()

    def is_over(self) -> bool:
        """Tell whether it is time, and begin anew if so."""
        now = self._clock()
        if now < self._due:
            return False
        self._due = now + self._seconds
        return True


class Rescue:
    """Takes jobs from workers that give no sign of life.

    A lease that ran out is noticed within half of its time, so a dead
    worker's job can be claimed again within two.

    :param outages: of the database.
    :param worker_id: of the worker that does it.
    :param lease_time: seconds that a lease lasts.
    """

    def __init__(
        self,
        queue: queue.JobQueue,
        outages: outage.Outages,
        worker_id: str,
        lease_time: float,
        clock: Clock = time.monotonic,
    ) -> None:
        self._queue = queue
        self._outages = outages
        self._worker_id = worker_id
        self._interval = Interval(lease_time / 2, clock)

    def run(self, holding: Collection[str]) -> None:
        """Do it, if it is time to.

        :param holding: the jobs that this worker works on.
        """
        if not self._interval.is_over():
            return
        for lost in self._outages.note(
            self._queue.release_expired, self._worker_id, holding
        ):
            LOG.warning(
                "Job %s: taken from worker %s, which gave no sign of life",
                lost.job_id,
                lost.worker_id,
            )


class Presence:
    """Shows operators that this worker is there.

    :param outages: of the database.
    :param worker: as operators shall see it.
    :param interval: seconds between two signs of life.
    """

    def __init__(
        self,
        queue: queue.JobQueue,
        outages: outage.Outages,
        worker: NewWorker,
        interval: float,
        clock: Clock = time.monotonic,
    ) -> None:
        self._queue = queue
        self._outages = outages
        self._worker = worker
        self._interval = Interval(interval, clock)

    def run(self) -> None:
        """Do it, if it is time to."""
        if self._interval.is_over():
            self._outages.note(self._queue.show_sign_of_life, self._worker)
            self._queue.forget_silent_workers(_FORGOTTEN_AFTER)

    def end(self) -> None:
        """Show that the worker has ended in good order."""
        self._queue.say_goodbye(self._worker.id)


class Sweep:
    """Removes what jobs that are over could not remove themselves.

    :param outages: of the database.
    :param remove: what a job left, and note that it is gone.
    :param interval: seconds between two times.
    """

    def __init__(
        self,
        queue: queue.JobQueue,
        outages: outage.Outages,
        remove: Callable[[Job], None],
        interval: float,
        clock: Clock = time.monotonic,
    ) -> None:
        self._queue = queue
        self._outages = outages
        self._remove = remove
        self._interval = Interval(interval, clock)

    def run(self) -> None:
        """Do it, if it is time to."""
        if not self._interval.is_over():
            return
        left = self._outages.note(self._queue.left_behind, _SWEPT_AT_ONCE)
        for job in left:
            try:
                self._outages.note(self._remove, job)
            except exception.TransferError as error:
                LOG.warning(
                    "Job %s: image %s still cannot be removed from %s: %s",
                    job.id,
                    job.reserved_image_id,
                    job.destination_region_id,
                    error,
                )
