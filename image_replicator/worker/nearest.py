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

"""Finds the places that a copy's bytes can be read from, and orders them."""

import threading
from collections.abc import Iterator
from typing import Final

from oslo_config import cfg
from oslo_db import exception as db_exc
from oslo_log import log as logging
from oslo_utils import units

from image_replicator import exception
from image_replicator import images
from image_replicator import nearness
from image_replicator.db import replicas as db_replicas
from image_replicator.db import routes as db_routes
from image_replicator.errors import ErrorCode
from image_replicator.images import client
from image_replicator.images import present
from image_replicator.jobs import Job
from image_replicator.worker import access
from image_replicator.worker import data_source

LOG = logging.getLogger(__name__)

#: The most copies beside the source image that are used.
_MOST_REPLICAS: Final = 4

#: The least bytes of an image whose copy tells the rate of a way.
_TELLING: Final = 16 * units.Mi


class NearestSource:
    """The knowledge of where the data of images is, and how far away.

    :param options: ``[transfer]`` of the configuration.
    """

    def __init__(
        self,
        replicas: db_replicas.Replicas,
        routes: db_routes.Routes,
        options: cfg.ConfigOpts.GroupAttr,
    ) -> None:
        self._replicas = replicas
        self._routes = routes
        self._options = options

    def open(
        self, job: Job, image: images.Image, right: access.Access
    ) -> data_source.DataSource:
        """Return where the bytes of a copy come from.

        Every second attempt reads the source image alone, and without a
        gateway: one that damages the data must not spoil each attempt.

        :param image: the source image.
        :param right: has the services of both regions.
        :raises DBError: if the database cannot be used.
        """
        alone = job.attempts % 2 == 0
        found = self._replicas.choose(
            images.content(job.source_region_id, image),
            None if alone or not image["size"] else right.reach(job),
            job.destination_region_id,
        )
        places = [
            place
            for replica in _with_few_copies(found.replicas)
            for place in _places(job, replica, image, right)
            if not (alone and place.is_gateway)
        ]
        opened = data_source.DataSource(
            places, image["size"], found.routes, self._options.min_rate
        )
        opened.choose()
        if len(found.replicas) > 1:
            LOG.info(
                "Job %s: reading image %s in region %s, the nearest of %d "
                "with its data",
                job.id,
                opened.read_from.image_id,
                opened.read_from.region_id,
                len(found.replicas),
            )
        return opened

    def record(
        self, job: Job, opened: data_source.DataSource, way: nearness.Route
    ) -> None:
        """Record how fast a copy was, for the choices of later ones.

        A failure is only logged.

        :param opened: where its bytes came from.
        :param way: as it was measured.
        """
        region = opened.only_region
        if region is None or job.image_size < _TELLING:
            return
        try:
            self._routes.record(job.destination_region_id, region, way)
        except db_exc.DBError as error:
            LOG.info("The way from %s is not recorded: %s", region, error)


def _with_few_copies(
    found: list[nearness.Replica],
) -> Iterator[nearness.Replica]:
    """Yield the source image and the first copies, in order."""
    copies = 0
    for replica in found:
        copies += not replica.is_source
        if replica.is_source or copies <= _MOST_REPLICAS:
            yield replica


def _places(
    job: Job,
    replica: nearness.Replica,
    image: images.Image,
    right: access.Access,
) -> Iterator[data_source.Place]:
    """Yield the services that send an image, the gateway first.

    Within the destination region a gateway has no link to spare.
    """
    readers = right.readers(job, replica)
    check = None
    if not replica.is_source:
        check = _Check(replica, readers.images, image)
    if readers.gateway and replica.region_id != job.destination_region_id:
        yield data_source.Place(
            replica, readers.gateway, check, is_gateway=True
        )
    yield data_source.Place(replica, readers.images, check)


class _Check:
    """Checks once that an image has the data of the source image.

    :param image: the source image.
    """

    def __init__(
        self,
        replica: nearness.Replica,
        service: client.ImageClient,
        image: images.Image,
    ) -> None:
        self._replica = replica
        self._service = service
        self._image = image
        self._lock = threading.Lock()
        self._passed = False

    def __call__(self) -> None:
        """Check it, unless it has passed already.

        :raises TransferError: if it cannot be read, or has other data.
        """
        with self._lock:
            if self._passed:
                return
            shown = self._service.show(self._replica.image_id, access.PATIENCE)
            if not present.has_data_of(self._image, shown):
                raise exception.TransferError(
                    ErrorCode.SOURCE_NOT_ACTIVE,
                    f"Image {self._replica.image_id} in region "
                    f"{self._replica.region_id} is {shown['status']}, or has "
                    "other data.",
                )
            self._passed = True
