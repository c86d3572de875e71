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

"""Removing images that ended jobs could not remove themselves."""

import time
from collections.abc import Callable
from typing import Final

from oslo_log import log as logging

from image_replicator import exception
from image_replicator.db import authorities
from image_replicator.db import leftovers
from image_replicator.jobs import Job
from image_replicator.worker import availability
from image_replicator.worker import interval

LOG = logging.getLogger(__name__)

#: The most jobs whose images one run removes.
_BATCH_SIZE: Final = 100

#: The most rights that one run looks at.
_RIGHTS: Final = 1000


class LeftoverSweeper:
    """Removes destination images that jobs in a final status left behind.

    :param database: the availability of the database.
    :param remove: removes a job's image, and records that it is gone.
    :param seconds: between two runs.
    """

    def __init__(
        self,
        leftovers: leftovers.Leftovers,
        database: availability.DatabaseAvailability,
        remove: Callable[[Job], None],
        seconds: float,
        clock: interval.Clock = time.monotonic,
    ) -> None:
        self._leftovers = leftovers
        self._database = database
        self._remove = remove
        self._interval = interval.Interval(seconds, clock)

    def run(self) -> None:
        """Remove the images that are left, if it is time to.

        An image that cannot be removed is tried again in a later run.

        :raises DBError: if the database cannot be used.
        """
        if not self._interval.is_over():
            return
        for job in self._database.call(self._leftovers.find, _BATCH_SIZE):
            try:
                self._database.call(self._remove, job)
            except exception.TransferError as error:
                LOG.warning(
                    "Job %s: image %s still cannot be removed from %s: %s",
                    job.id,
                    job.reserved_image_id,
                    job.destination_region_id,
                    error,
                )


class AuthoritySweeper:
    """Deletes the rights that are left of jobs that are over.

    :param database: the availability of the database.
    :param seconds: between two runs.
    """

    def __init__(
        self,
        authorities: authorities.Authorities,
        database: availability.DatabaseAvailability,
        seconds: float,
        clock: interval.Clock = time.monotonic,
    ) -> None:
        self._authorities = authorities
        self._database = database
        self._interval = interval.Interval(seconds, clock)
        self._after = ""

    def run(self) -> None:
        """Look at some rights, if it is time to, and delete what is left.

        :raises DBError: if the database cannot be used.
        """
        if self._interval.is_over():
            swept = self._database.call(
                self._authorities.sweep, _RIGHTS, self._after
            )
            self._after = swept.last or ""
