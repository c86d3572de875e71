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

"""image-replicator-manage image: finds unfinished images without a job.

A worker writes the id of an image to the job's row before it creates the
image, and marks the image with a tag until it is verified. An image that has
the mark and stands in no job's row is an orphan: its job was purged, or was
lost with a database that was restored from a backup. So is the image of a job
that is over, when nobody has had the right to remove it.

The images of other projects are seen and removed by administrators alone. The
credentials are those of ``[service_auth]``, which another configuration file
may override.
"""

import datetime
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any
from typing import Final

from keystoneauth1 import exceptions as ksa_exc
from oslo_config import cfg
from oslo_utils import timeutils

from image_replicator import exception
from image_replicator import identity
from image_replicator import metadata
from image_replicator.cmd import arguments
from image_replicator.cmd import output
from image_replicator.db import stores
from image_replicator.errors import Side
from image_replicator.images import client
from image_replicator.images import clients
from image_replicator.jobs import Job
from image_replicator.worker import cleanup

_COLUMNS: Final = {
    "region_id": "Region",
    "id": "Image",
    "owner": "Project",
    "status": "Status",
    "size": "Bytes",
    "created_at": "Created",
    "removed": "Removed",
}

#: A worker whose job was lost stops filling its image within this time.
_DEFAULT_HOURS: Final = 24.0

#: The most images of jobs that are over which one call shows.
_MOST_LEFT: Final = 10000

#: The most hours that can be asked for; dates reach back further.
_HOURS: Final = 1000000


class _Cleaner:
    """Finds the orphans of all regions, and removes them if asked to.

    :ivar failed: whether an image or a region could not be read, or an image
        could not be removed.
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        source = conf.command.source_region or conf.region_id
        if not source:
            raise exception.ConfigurationError(
                "[DEFAULT] region_id: not set; name the region that the "
                "images were copied from with --source-region"
            )
        self._conf = conf
        self._mark = metadata.mark(source)
        self._before = timeutils.utcnow(
            with_timezone=True
        ) - datetime.timedelta(hours=conf.command.older_than)
        self._identity = identity.Identity(conf)
        self._clients = clients.ImageClients(conf, self._identity.session)
        opened = stores.open_stores(conf)
        self._jobs = opened.jobs
        self._leftovers = opened.leftovers
        self.failed = False

    def run(self) -> Iterator[dict[str, Any]]:
        """Yield each orphan, after its removal if that was asked for."""
        regions = self._conf.command.regions or sorted(
            self._identity.image_regions()
        )
        self._check_role()
        yield from self._left_by_jobs(regions)
        for region_id in regions:
            try:
                yield from self._in_region(region_id)
            except exception.TransferError as error:
                self._complain(f"region {region_id}: {error}")

    def _check_role(self) -> None:
        """Say what credentials without the role ``admin`` do not see."""
        try:
            roles = self._identity.access().role_names or []
        except ksa_exc.ClientException as error:
            self._complain(f"Keystone gives no token: {error}")
            return
        if "admin" not in roles:
            output.complain(
                "the credentials of [service_auth] do not have the role "
                "admin, so images that no job's row names are not seen; give "
                "those of an administrator with another --config-file"
            )

    def _left_by_jobs(
        self, regions: Sequence[str]
    ) -> Iterator[dict[str, Any]]:
        """Yield the images of jobs that are over, which the rows name."""
        for job in self._leftovers.find(_MOST_LEFT):
            if job.destination_region_id in regions:
                yield {
                    **dict.fromkeys(_COLUMNS),
                    "region_id": job.destination_region_id,
                    "id": job.reserved_image_id,
                    "owner": job.destination_tenant_id,
                    "status": f"left by job {job.id}",
                    "size": job.image_size,
                    "removed": self._remove_left(job),
                }

    def _remove_left(self, job: Job) -> bool:
        if not self._conf.command.remove:
            return False
        try:
            cleanup.remove_as_service(
                self._clients.client(
                    job.destination_region_id, Side.DESTINATION
                ),
                job,
            )
        except exception.TransferError as error:
            self._complain(f"image {job.reserved_image_id}: {error}")
            return False
        self._leftovers.record_removed(job)
        return True

    def _in_region(self, region_id: str) -> Iterator[dict[str, Any]]:
        images = self._clients.client(region_id, Side.DESTINATION)
        old = [
            image
            for image in images.list_tagged(self._mark)
            if timeutils.parse_isotime(image["created_at"]) < self._before
        ]
        # Asked last, as a worker writes the id before it creates the image.
        known = self._jobs.known_images([image["id"] for image in old])
        for image in old:
            if image["id"] not in known:
                yield {
                    **{key: image.get(key) for key in _COLUMNS},
                    "region_id": region_id,
                    "removed": self._remove(images, image["id"]),
                }

    def _remove(self, images: client.ImageClient, image_id: str) -> bool:
        if not self._conf.command.remove:
            return False
        try:
            images.remove(image_id, exists=True)
        except exception.TransferError as error:
            self._complain(f"image {image_id}: {error}")
            return False
        return True

    def _complain(self, problem: str) -> None:
        output.complain(problem)
        self.failed = True


def _orphans(conf: cfg.ConfigOpts) -> int:
    cleaner = _Cleaner(conf)
    output.show(conf.command.format, _COLUMNS, list(cleaner.run()))
    return int(cleaner.failed)


def add_commands(subparsers: Any) -> None:
    image = subparsers.add_parser(
        "image", help="look after images at the destinations"
    )
    actions = image.add_subparsers(dest="action", required=True)
    orphans = actions.add_parser(
        "orphans", help="show unfinished images that no job answers for"
    )
    orphans.add_argument(
        "--region",
        dest="regions",
        action="append",
        metavar="REGION",
        help="to look in; may be given more than once (default: all)",
    )
    orphans.add_argument(
        "--source-region",
        metavar="REGION",
        help="that they were copied from (default: [DEFAULT] region_id)",
    )
    orphans.add_argument(
        "--older-than",
        type=arguments.age(_HOURS),
        default=_DEFAULT_HOURS,
        metavar="HOURS",
        help="hours since they were created (default: 24)",
    )
    orphans.add_argument(
        "--remove", action="store_true", help="remove what is found"
    )
    output.add_format(orphans)
    orphans.set_defaults(func=_orphans)
