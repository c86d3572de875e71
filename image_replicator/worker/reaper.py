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

"""Taking jobs away from workers that have stopped renewing their leases."""

import time
from collections.abc import Collection

from oslo_log import log as logging

from image_replicator.db import work_queue
from image_replicator.worker import availability
from image_replicator.worker import interval

LOG = logging.getLogger(__name__)


class StalledJobReaper:
    """Releases jobs whose lease has expired, so that any worker claims them.

    Every worker runs one. Several at once do no harm: each release is fenced
    by the claim that it ends.

    :param database: the availability of the database.
    :param worker_id: of the worker that runs this.
    :param seconds: between two looks.
    """

    def __init__(
        self,
        queue: work_queue.WorkQueue,
        database: availability.DatabaseAvailability,
        worker_id: str,
        seconds: float,
        clock: interval.Clock = time.monotonic,
    ) -> None:
        self._queue = queue
        self._database = database
        self._worker_id = worker_id
        self._interval = interval.Interval(seconds, clock)

    def run(self, running: Collection[str]) -> None:
        """Release expired jobs, if it is time to.

        :param running: the ids of the jobs that this worker works on. They are
            not released, even if their leases have expired.
        :raises DBError: if the database cannot be used.
        """
        if not self._interval.is_over():
            return
        for claim in self._database.call(
            self._queue.release_expired, self._worker_id, running
        ):
            LOG.warning(
                "Job %s: taken from worker %s, which gave no sign of life",
                claim.job_id,
                claim.worker_id,
            )
