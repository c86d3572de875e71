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

"""The store of the ways between regions, as workers measured them."""

from typing import Final

import sqlalchemy as sa

from image_replicator.db import database
from image_replicator.db import models
from image_replicator.db import times
from image_replicator.nearness import Route

_routes: Final = models.Route.__table__.c

#: Seconds after which a measurement is not used any more, so that a region
#: that was slow is tried again.
_KEPT: Final = 24 * 3600.0

#: The weight of a measurement that is worse than the one before. Measurements
#: are bad while many copies run, and the best one tells what the way can do.
_WEIGHT_OF_WORSE: Final = 0.25


class Routes:
    """The ways of one database."""

    def __init__(self, database: database.Database) -> None:
        self._database = database

    def to(self, destination: str) -> dict[str, Route]:
        """Return the ways to a region that were measured recently.

        :returns: by the region that they come from.
        """
        rows = self._database.read(
            sa.select(
                _routes.source_region_id,
                _routes.latency,
                _routes.rate,
                _routes.streams,
            ).where(
                _routes.destination_region_id == destination,
                _routes.measured_at >= times.from_now(-_KEPT),
            )
        )
        return {
            row.source_region_id: Route(
                latency=row.latency, rate=row.rate, streams=row.streams
            )
            for row in rows
        }

    def record(self, destination: str, source: str, measured: Route) -> None:
        """Record a measurement; an earlier one counts as well.

        :param destination: the region that the copy went to.
        :param source: the region that was read from.
        """
        known = self.to(destination).get(source, measured)
        self._database.put(
            models.Route,
            {
                "destination_region_id": destination,
                "source_region_id": source,
            },
            {
                "latency": min(
                    measured.latency, _slowly(known.latency, measured.latency)
                ),
                "rate": max(measured.rate, _slowly(known.rate, measured.rate)),
                "streams": measured.streams,
                "measured_at": times.utcnow(),
            },
        )


def _slowly(known: float, measured: float) -> float:
    """Return a value that comes nearer to a measurement."""
    return known + _WEIGHT_OF_WORSE * (measured - known)
