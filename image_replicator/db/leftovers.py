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

"""Images at a destination that jobs could not remove when they ended."""

from typing import Final

import sqlalchemy as sa
from oslo_utils import uuidutils

from image_replicator.db import authorities
from image_replicator.db import database
from image_replicator.db import errors
from image_replicator.db import listing
from image_replicator.db import models
from image_replicator.db import statements
from image_replicator.jobs import Job

_jobs: Final = models.Job.__table__.c

_OVER: Final = _jobs.active.is_(None)


class Leftovers:
    """The jobs that are over but whose image is still to be removed.

    :param regions: the destinations to look at; None for all.
    """

    def __init__(
        self, database: database.Database, regions: tuple[str, ...] | None
    ) -> None:
        self._database = database
        self._regions = regions

    def find(self, limit: int) -> list[Job]:
        """Return jobs whose ``reserved_image_id`` names such an image.

        Each call begins at a random job. So workers do not all try the same
        ones, and an image that cannot be removed now does not delay the rest.

        :param limit: the most jobs to return.
        """
        start = uuidutils.generate_uuid()
        reserved = _jobs.reserved_image_id
        found = self._part(reserved >= start, limit)
        if len(found) < limit:
            found += self._part(reserved < start, limit - len(found))
        return found

    def _part(self, where: sa.ColumnElement[bool], limit: int) -> list[Job]:
        statement = (
            sa.select(*listing.COLUMNS)
            .where(where, _OVER)
            .order_by(_jobs.reserved_image_id)
            .limit(limit)
        )
        if self._regions is not None:
            statement = statement.where(
                _jobs.destination_region_id.in_(self._regions)
            )
        with self._database.reader() as connection:
            return [
                statements.job(row) for row in connection.execute(statement)
            ]

    @errors.retry_on_deadlock
    def record_removed(self, job: Job) -> None:
        """Record that the image that a job left is removed.

        :param job: as :meth:`find` returned it.
        """
        with self._database.writer() as connection:
            if statements.update(
                connection,
                _jobs.id == job.id,
                _jobs.reserved_image_id == job.reserved_image_id,
                _OVER,
                reserved_image_id=None,
                destination_image_id=None,
            ):
                authorities.delete(connection, job.id)
