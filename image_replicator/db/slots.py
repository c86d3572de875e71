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

"""Slots, which limit the number of copies to a destination region.

The statement that claims a copy also takes its slot, and a unique key keeps
two copies from the same slot. So there are never more copies than slots,
however many workers claim at once.
"""

import itertools
import secrets
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa

from image_replicator.db import claim_order
from image_replicator.db import database
from image_replicator.db import errors
from image_replicator.db import models
from image_replicator.db import statements

_jobs: Final = models.Job.__table__.c

#: The name that stands for each region without a limit of its own.
_ANY: Final = "*"

#: The most free slots among which a worker chooses.
_CHOICE: Final = 64

#: True of a job that does not need its slot. The release before does not know
#: slots: a job that it ends, or takes from a lost worker, keeps its slot.
_IDLE: Final = sa.or_(
    _jobs.worker_id.is_(None), _jobs.status.not_in(statements.COPYING)
)


class NoSlot(Exception):
    """A region already has as many copies as its limit allows."""


class Slots:
    """The slots in all regions.

    :param limits: the number of slots by region; ``*`` for each region that is
        not named. A region without a number has no limit.
    """

    def __init__(
        self, database: database.Database, limits: Mapping[str, int]
    ) -> None:
        self._database = database
        self._limits = limits

    def open_regions(
        self, regions: tuple[str, ...] | None
    ) -> tuple[str, ...] | None:
        """Return those of some regions that have a free slot.

        :param regions: None for all regions; the result may be None for all,
            too.
        """
        if not self._limits:
            return regions
        if regions is None:
            regions = tuple(self.waited_for())
        return tuple(region for region in regions if self._left(region))

    def free_slot(self, region: str) -> int | None:
        """Return a random free slot, as workers choose at the same time.

        :returns: None if the region has no limit.
        :raises NoSlot: if there is none.
        """
        left = self._left(region)
        if not left:
            raise NoSlot(region)
        return secrets.choice(left)

    def waited_for(self) -> Iterator[str]:
        """Yield the regions for which copies wait, by name."""
        region: str | None = ""
        while region is not None:
            with self._database.reader() as connection:
                region = connection.scalar(claim_order.next_region(region))
            if region is not None:
                yield region

    def _left(self, region: str) -> list[int | None]:
        """Return free slots of a region; a single None if it has no limit."""
        limit = self._limits.get(region, self._limits.get(_ANY))
        if limit is None:
            return [None]
        taken = self._taken(region)
        free = (slot for slot in range(limit) if slot not in taken)
        # If the limit was lowered, there may be more copies than slots.
        left = max(0, limit - len(taken))
        return list(itertools.islice(free, min(left, _CHOICE)))

    def _taken(self, region: str) -> set[int]:
        with self._database.reader() as connection:
            rows = connection.execute(claim_order.slots(region, _IDLE)).all()
        idle = [row.id for row in rows if row.idle]
        if idle:
            self._free(idle)
        return {row.slot for row in rows if not row.idle}

    @errors.retry_on_deadlock
    def _free(self, job_ids: Collection[str]) -> None:
        """Free the slots of jobs that do not need them."""
        with self._database.writer() as connection:
            connection.execute(
                sa.update(models.Job)
                .where(_jobs.id.in_(job_ids), _IDLE)
                .values(slot=None)
            )
