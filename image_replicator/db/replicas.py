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

"""The store of finished copies that another copy can read from."""

from typing import Any
from typing import Final

import sqlalchemy as sa
from oslo_config import cfg

from image_replicator.db import database
from image_replicator.db import delegations
from image_replicator.db import models
from image_replicator.db import routes
from image_replicator.jobs import JobStatus
from image_replicator.nearness import Choice
from image_replicator.nearness import Content
from image_replicator.nearness import in_order
from image_replicator.nearness import Reach
from image_replicator.nearness import Replica

_jobs: Final = models.Job.__table__.c

#: The most copies that are looked at.
_MOST_COPIES: Final = 64


class Replicas:
    """The finished copies of one database.

    :param options: ``[transfer]`` of the configuration.
    """

    def __init__(
        self,
        database: database.Database,
        delegations: delegations.Delegations,
        routes: routes.Routes,
        options: cfg.ConfigOpts.GroupAttr,
    ) -> None:
        self._database = database
        self._delegations = delegations
        self._routes = routes
        self._enabled: bool = options.nearest_source

    def choose(
        self, content: Content, reach: Reach | None, destination: str
    ) -> Choice:
        """Return the images that a copy can be read from.

        The source image is one of them. No copy of it was looked at in its
        image service.

        :param content: the source image's data.
        :param reach: of the job; None if it reaches the source image alone.
        :param destination: the region that the copy goes to.
        """
        ways = self._routes.to(destination)
        found = [
            Replica(region_id=content.region_id, image_id=content.image_id)
        ]
        if (
            self._enabled
            and reach is not None
            and content.value is not None
            and content.region_id != destination
        ):
            found += self._find(content, reach)
        return Choice(replicas=in_order(found, ways, destination), routes=ways)

    def _find(self, content: Content, reach: Reach) -> list[Replica]:
        """Return the copies of an image's data that may be read.

        These are the copies of the image itself in the tenants within reach,
        and the copies of any image with the same data in the destination
        tenant.
        """
        trusts = self._delegations.usable(reach.user_id)
        verified = (
            _jobs.status == JobStatus.REPLICATED,
            _jobs.verification_source == content.value,
            _jobs.verification_algorithm == content.algorithm,
        )
        of_image = (
            _jobs.source_image_id == content.image_id,
            _jobs.source_region_id == content.region_id,
            _jobs.destination_tenant_id.in_({*reach.own_tenants, *trusts}),
        )
        of_data = (_jobs.destination_tenant_id == reach.destination_tenant_id,)
        found: dict[tuple[str, str], Replica] = {}
        for where in (of_image, of_data):
            for row in self._database.read(_copies(*where, *verified)):
                tenant = row.destination_tenant_id
                found.setdefault(
                    (row.destination_region_id, row.destination_image_id),
                    Replica(
                        region_id=row.destination_region_id,
                        image_id=row.destination_image_id,
                        tenant_id=tenant,
                        trust_id=(
                            None
                            if tenant in reach.own_tenants
                            else trusts[tenant]
                        ),
                    ),
                )
        found.pop((content.region_id, content.image_id), None)
        return list(found.values())


def _copies(*where: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return (
        sa.select(
            _jobs.destination_region_id,
            _jobs.destination_tenant_id,
            _jobs.destination_image_id,
        )
        .where(*where, _jobs.destination_image_id.is_not(None))
        .order_by(_jobs.finished_at.desc())
        .limit(_MOST_COPIES)
    )
