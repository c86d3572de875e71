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

"""The proof that the user may make a copy, at the moments that count.

A token lives on for a while after its right was taken away, and so does what
Glance remembers of it. So the right is proved with new tokens right before the
image at the destination becomes active, and right before the job is
replicated.
"""

import time
from collections.abc import Callable
from typing import Final

from image_replicator import exception
from image_replicator import images
from image_replicator.errors import ErrorCode
from image_replicator.jobs import Job
from image_replicator.worker import access

#: Seconds for which new tokens prove a right.
_FRESH: Final = 1.0

#: The keys of an image that say what its data is.
_HASHES: Final = ("os_hash_algo", "os_hash_value", "checksum")


class Proof:
    """Proves the right to one copy.

    :param access: both image services, with the job's right.
    :param clock: seconds, never going back.
    """

    def __init__(
        self,
        job: Job,
        access: access.Access,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._job = job
        self._access = access
        self._clock = clock
        self._proved_at = clock()

    def begin(self) -> images.Image:
        """Return the source image, if it can be copied.

        :raises TransferError: if not.
        """
        self._proved_at = self._clock()
        return self._examine_source()

    def confirm(self, image: images.Image) -> None:
        """Prove the right, unless that was done in the last second.

        :param image: the source image, as :meth:`begin` returned it.
        :raises TransferError: if the right, or the image, is gone.
        """
        if self._clock() - self._proved_at > _FRESH:
            self.renew(image)

    def renew(self, image: images.Image) -> None:
        """Prove the right; the parameter and the errors are as above.

        Nothing is to be proved of our own right.
        """
        if not self._access.is_user_s:
            return
        now = self._clock()
        self._access.renew()
        shown = self._examine_source()
        if any(shown.get(key) != image.get(key) for key in _HASHES):
            raise exception.TransferError(
                ErrorCode.SOURCE_CONFLICT,
                "The source image's data is not what it was when the copy "
                "began.",
            )
        self._proved_at = now

    def explained(
        self, error: exception.TransferError
    ) -> exception.TransferError:
        """Return an error, or its cause if a right or the image is gone."""
        if error.code is ErrorCode.SOURCE_FORBIDDEN:
            try:
                # Glance also forbids to read an image that is deactivated.
                self._examine_source()
            except exception.TransferError as cause:
                error = cause
        return self._access.explained(error, self._job)

    def _examine_source(self) -> images.Image:
        image = self._access.source.show(self._job.source_image_id)
        if image["status"] != "active":
            raise exception.TransferError(
                ErrorCode.SOURCE_NOT_ACTIVE,
                f"The source image is {image['status']} by now.",
            )
        if not isinstance(image.get("size"), int):
            raise exception.TransferError(
                ErrorCode.SOURCE_SIZE_UNKNOWN,
                "The source region's image service does not say how many "
                "bytes the image has.",
            )
        if image["size"] != self._job.image_size:
            raise exception.TransferError(
                ErrorCode.SOURCE_SIZE_DIFFERS,
                "The source image's size is not what it was when the copy "
                "was asked for.",
            )
        return image
