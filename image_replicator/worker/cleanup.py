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

"""The removal of unfinished images with our own right.

It is for users whose right to remove them is gone, and done only where the
operator chose it. The image belongs to the destination project, whose users
may have changed it. So it is looked at first: it must be one that this
service made, and its deletion must destroy nothing else.
"""

import re
from typing import Final

from image_replicator import exception
from image_replicator import metadata
from image_replicator.errors import ErrorCode
from image_replicator.errors import Kind
from image_replicator.images import client
from image_replicator.jobs import Job

#: The names of properties whose key is deleted together with the image, such
#: as ``cinder_encryption_key_id`` and ``os_encrypt_key_id``.
_NAMES_A_KEY: Final = re.compile(r"encrypt.*key|key.*encrypt", re.IGNORECASE)


def remove_as_service(destination: client.ImageClient, job: Job) -> None:
    """Remove the image that a job names, with our own right.

    :param destination: with our own right.
    :param job: with a reserved image.
    :raises TransferError: if the image cannot be removed, or may not be.
    """
    image_id = job.reserved_image_id
    assert image_id  # nosec B101: see above
    exists = job.destination_image_id is not None
    try:
        image = destination.show(image_id)
    except exception.TransferError as error:
        if error.code.kind is not Kind.NOT_FOUND:
            raise
    else:
        _check_safe(image, job)
        exists = True
    destination.remove(image_id, exists=exists)


def _check_safe(image: dict[str, object], job: Job) -> None:
    """Refuse an image that is not ours to remove.

    :raises TransferError: if it is not.
    """
    tags = image.get("tags")
    if not (
        isinstance(tags, list) and metadata.mark(job.source_region_id) in tags
    ):
        raise _refused("it does not have our mark any more")
    for name, value in image.items():
        if value and _NAMES_A_KEY.search(name):
            raise _refused(f"it names an encryption key, in {name}")


def _refused(reason: str) -> exception.TransferError:
    return exception.TransferError(
        ErrorCode.DESTINATION_FORBIDDEN,
        f"The unfinished image is not removed with our own right: {reason}.",
    )
