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

"""The check of the clocks that leases depend on."""

import time
from collections.abc import Callable
from typing import Final

from oslo_log import log as logging

from image_replicator.db import clock as db_clock
from image_replicator.worker import availability
from image_replicator.worker import interval

LOG = logging.getLogger(__name__)

#: Seconds between two checks of a clock.
_INTERVAL: Final = 60.0


class ClockCheck:
    """Warns of nodes of a Galera cluster whose clocks are wrong.

    Each check is of the node that answers.

    :param read: reads that node's clock; it returns None if the database is no
        Galera cluster.
    :param database: the availability of the database.
    :param tolerance: seconds by which a node's clock may differ from this
        machine's.
    """

    def __init__(
        self,
        read: Callable[[], db_clock.NodeClock | None],
        database: availability.DatabaseAvailability,
        tolerance: float,
        clock: interval.Clock = time.monotonic,
    ) -> None:
        self._read = read
        self._database = database
        self._tolerance = tolerance
        self._interval = interval.Interval(_INTERVAL, clock)
        self._wrong: set[str] = set()

    def run(self) -> None:
        """Check a clock, if it is time to, and log a change.

        :raises DBError: if the database cannot be used.
        """
        if not self._interval.is_over():
            return
        found = self._database.call(self._read)
        if found is None:
            return
        is_wrong = not found.is_within(self._tolerance)
        if is_wrong and found.node not in self._wrong:
            self._wrong.add(found.node)
            LOG.warning(
                "Workers may take jobs from others that live: %s, and may be "
                "%.1f s off at most",
                found,
                self._tolerance,
            )
        elif not is_wrong and found.node in self._wrong:
            self._wrong.remove(found.node)
            LOG.info("The clock of database node %s is right now", found.node)
