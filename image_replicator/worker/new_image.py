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

"""The image that a copy makes at the destination, and an earlier one.

After each step, the job's row tells another worker, or an operator, which
image is at the destination.
"""

from collections.abc import Callable
from typing import Any

from oslo_utils import uuidutils

from image_replicator import exception
from image_replicator import images
from image_replicator import metadata
from image_replicator import nearness
from image_replicator.db import owned_jobs
from image_replicator.images import answers
from image_replicator.images import client
from image_replicator.jobs import Claim
from image_replicator.jobs import Job


class NewImage:
    """The destination's image of one attempt.

    :param owned: writes the job's row.
    :param call: calls a method of it; waits while the database is away.
    :param destination: the images of the destination region.
    """

    def __init__(
        self,
        job: Job,
        claim: Claim,
        owned: owned_jobs.OwnedJobs,
        call: Callable[..., Any],
        destination: client.ImageClient,
    ) -> None:
        self._job = job
        self._claim = claim
        self._owned = owned
        self._call = call
        self._destination = destination
        self._earlier_id = job.reserved_image_id

    def create(
        self, carried: images.Image, read_from: nearness.Replica
    ) -> str:
        """Commit the image's id, then create the image without data.

        :param carried: the properties that it gets.
        :param read_from: the image that its bytes are read from.
        :returns: its id.
        """
        image_id = uuidutils.generate_uuid()
        self._call(self._owned.reserve_image, self._claim, image_id, read_from)
        try:
            self._destination.create(self._unfinished(carried, image_id))
        except answers.Refused:
            # Only a refusal makes it certain that no image exists.
            self._call(self._owned.image_removed, self._claim)
            raise
        self._call(self._owned.image_created, self._claim, image_id)
        return image_id

    def _unfinished(
        self, carried: images.Image, image_id: str
    ) -> images.Image:
        """Return the image as it is created, private and marked."""
        job = self._job
        image = {
            **carried,
            "id": image_id,
            "owner": job.destination_tenant_id,
            "visibility": "private",
            "tags": metadata.marked(
                carried.get("tags", ()), job.source_region_id
            ),
        }
        if job.destination_image_name is not None:
            image["name"] = job.destination_image_name
        return image

    def remove_earlier(self) -> None:
        """Remove the image that an earlier attempt could not remove.

        It is not completed instead, even if it has all its data: the worker
        that lost the job may be about to delete it, and may have been halted
        since. Only an id that no other attempt knows is safe from that.
        """
        image_id = self._earlier_id
        if image_id is None:
            return
        try:
            self._destination.remove(
                image_id, exists=self._job.destination_image_id is not None
            )
        except exception.TransferError as error:
            raise exception.TransferError(
                error.code,
                "The image of an earlier attempt could not be removed. "
                f"{error.message}",
            ) from error
        self._call(self._owned.image_removed, self._claim)
        self._earlier_id = None

    def complete(
        self, image: images.Image, carried: images.Image, image_id: str
    ) -> None:
        """Remove the mark, so that the user can use the image.

        :param image: the source image.
        :param carried: the properties that the new one has.
        """
        final: dict[str, Any] = {"tags": carried.get("tags", [])}
        if image.get("protected"):
            final["protected"] = True
        self._destination.change(image_id, **final)
