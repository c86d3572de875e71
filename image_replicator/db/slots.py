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

"""The places for copies in each destination region, where they are counted.

A copy takes its place in the very statement that claims it, and a unique key
lets no two have the same. So there are never more copies than places, however
many workers claim at once.
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

#: Stands for each region that is not named.
_ANY: Final = "*"

#: Among so many free places workers choose, however many there are.
_CHOICE: Final = 64

#: The release before knows no places: it leaves them to jobs that it ends or
#: takes from a lost worker.
_IDLE: Final = sa.or_(
    _jobs.worker_id.is_(None), _jobs.status.not_in(statements.COPYING)
)


class NoSlot(Exception):
    """As many copies go to a region as may."""


class Slots:
    """The places in all regions.

    :param limits: how many, by region; ``*`` for each that is not named.
        Where nothing says, they are not counted.
    """

    def __init__(
        self, database: database.Database, limits: Mapping[str, int]
    ) -> None:
        self._database = database
        self._limits = limits

    def open_regions(
        self, regions: tuple[str, ...] | None
    ) -> tuple[str, ...] | None:
        """Return those of some regions that more copies may go to.

        :param regions: None for all; then, None is returned for all.
        """
        if not self._limits:
            return regions
        if regions is None:
            regions = tuple(self.waited_for())
        return tuple(region for region in regions if self._left(region))

    def free_slot(self, region: str) -> int | None:
        """Return one of the free places, so that not all want the same.

        :returns: None where places are not counted.
        :raises NoSlot: if there is none.
        """
        left = self._left(region)
        if not left:
            raise NoSlot(region)
        return secrets.choice(left)

    def waited_for(self) -> Iterator[str]:
        """Yield the regions that copies wait for, in order."""
        region: str | None = ""
        while region is not None:
            with self._database.reader() as connection:
                region = connection.scalar(claim_order.next_region(region))
            if region is not None:
                yield region

    def _left(self, region: str) -> list[int | None]:
        """Return free places of a region; one None if none is counted."""
        limit = self._limits.get(region, self._limits.get(_ANY))
        if limit is None:
            return [None]
        taken = self._taken(region)
        free = (slot for slot in range(limit) if slot not in taken)
        # Where the limit was lowered, copies may be beyond it.
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
        """Free the places of jobs that do not need them."""
        with self._database.writer() as connection:
            connection.execute(
                sa.update(models.Job)
                .where(_jobs.id.in_(job_ids), _IDLE)
                .values(slot=None)
            )
