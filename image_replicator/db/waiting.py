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

"""Lets jobs wait for another one that carries the same image the same way.

The first copy of an image to a region goes over the link. Where others are
asked for meanwhile, they wait until it is there, and read from it. A job that
waits has no worker, and waits only for one that a worker copies. So no two
jobs wait for each other, and the wait ends if that worker dies. Each wait is
short; after it, the worker that comes first decides anew.
"""

from typing import Any
from typing import Final

import sqlalchemy as sa
from oslo_config import cfg
from oslo_log import log as logging

from image_replicator.db import authorities
from image_replicator.db import database
from image_replicator.db import delegations
from image_replicator.db import errors
from image_replicator.db import models
from image_replicator.db import routes
from image_replicator.db import statements
from image_replicator.db import times
from image_replicator.jobs import JobStatus
from image_replicator.nearness import Rival
from image_replicator.nearness import Wait
from image_replicator.nearness import wait_for

LOG = logging.getLogger(__name__)

_jobs: Final = models.Job.__table__.c

#: The query of a running copy of an image to a region. The first two columns
#: have an index, and few copies run.
_RUNNING: Final[sa.Select[Any]] = (
    sa.select(_jobs.id)
    .where(
        _jobs.status == JobStatus.REPLICATING,
        _jobs.destination_region_id == sa.bindparam("destination"),
        _jobs.source_image_id == sa.bindparam("image"),
        _jobs.source_region_id == sa.bindparam("source"),
    )
    .limit(1)
)


class Waiting:
    """The jobs of one database that wait for other jobs.

    :param options: ``[transfer]`` of the configuration.
    """

    def __init__(
        self, database: database.Database, options: cfg.ConfigOpts.GroupAttr
    ) -> None:
        self._database = database
        self._authorities = authorities.Authorities(database)
        self._delegations = delegations.Delegations(database)
        self._routes = routes.Routes(database)
        self._longest: float = (
            options.nearest_source_wait if options.nearest_source else 0.0
        )

    def begin(self, row: sa.Row[Any]) -> bool:
        """Let a job wait, or wait again, if that is likely to be sooner.

        :param row: of a job that can be claimed, as the claim order has it.
        :returns: whether it waits, and must not be claimed.
        """
        if (
            not self._longest
            or row.source_region_id == row.destination_region_id
        ):
            return False
        running = self._database.read(
            _RUNNING,
            {
                "destination": row.destination_region_id,
                "image": row.source_image_id,
                "source": row.source_region_id,
            },
        )
        if not running:
            return False
        wait = self._decide(row)
        if wait is None:
            return False
        self._write(row, wait)
        # A job that another worker has claimed is not claimed again either.
        return True

    def _decide(self, row: sa.Row[Any]) -> Wait | None:
        ways = self._routes.to(row.destination_region_id)
        return wait_for(
            self._rivals(row),
            row.source_region_id,
            row.image_size,
            ways.get(row.source_region_id),
            ways.get(row.destination_region_id),
        )

    def _tenants(self, row: sa.Row[Any]) -> set[str]:
        """Return the tenants whose images the job could read."""
        right = self._authorities.get(row.id)
        if right is None:
            return set()
        reach = right.reach(row.source_tenant_id, row.destination_tenant_id)
        trusts = self._delegations.usable(reach.user_id)
        return {*reach.own_tenants, *trusts}

    def _rivals(self, row: sa.Row[Any]) -> list[Rival]:
        """Return the other jobs; none if this one has waited for too long."""
        found = self._database.read(
            sa.select(
                _jobs.id,
                _jobs.status,
                _jobs.bytes_copied,
                _jobs.bytes_per_second,
                _jobs.read_region_id,
                _jobs.started_at,
                times.utcnow().label("now"),
            ).where(
                _jobs.source_image_id == row.source_image_id,
                _jobs.source_region_id == row.source_region_id,
                _jobs.destination_region_id == row.destination_region_id,
                _jobs.destination_tenant_id.in_(self._tenants(row)),
                _jobs.id != row.id,
                _jobs.active,
                _jobs.status.in_(
                    (JobStatus.REPLICATING, JobStatus.REPLICATE_REQUESTED)
                ),
            )
        )
        waited = _seconds(found[0].now, row.waiting_since) if found else 0.0
        if waited >= self._longest:
            return []
        return [
            Rival(
                job_id=each.id,
                is_running=each.status == JobStatus.REPLICATING,
                read_region_id=each.read_region_id,
                bytes_copied=each.bytes_copied,
                bytes_per_second=each.bytes_per_second,
                age=_seconds(each.now, each.started_at),
            )
            for each in found
        ]

    @errors.retry_on_deadlock
    def _write(self, row: sa.Row[Any], wait: Wait) -> None:
        """Write that the job waits, if no worker has claimed it since."""
        with self._database.writer() as connection:
            written = statements.update(
                connection,
                _jobs.id == row.id,
                _jobs.status == JobStatus.REPLICATE_REQUESTED,
                _jobs.worker_id.is_(None),
                waiting_for=wait.job_id,
                waiting_since=sa.func.coalesce(
                    _jobs.waiting_since, times.utcnow()
                ),
                retry_at=times.from_now(wait.seconds),
            )
        if written and row.waiting_since is None:
            LOG.info(
                "Job %s waits for job %s, which copies the same image to "
                "region %s",
                row.id,
                wait.job_id,
                row.destination_region_id,
            )


def _seconds(now: Any, since: Any) -> float:
    """Return the seconds since a time; 0 if there is none."""
    if since is None:
        return 0.0
    seconds: float = (now - since).total_seconds()
    return seconds
