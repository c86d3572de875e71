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

"""Clients of Glance; no other package knows the URLs of images.

The API uses ``caller`` to look at the source image as the caller may see it.
The worker uses ``clients`` to read, create, fill and remove images with its
own credentials. ``answers`` has the meaning of each answer of Glance.
"""

import re
from collections.abc import Iterable
from typing import Any
from typing import Final

from oslo_utils import uuidutils

from image_replicator import nearness

#: An image, as Glance shows it in JSON.
Image = dict[str, Any]

#: The options of requests for an image's data. Without them, keystoneauth
#: would send a consumed body again after a 401, follow a redirect with the
#: token, and read the whole body to log it.
STREAM: Final[dict[str, Any]] = {
    "raise_exc": False,
    "allow_reauth": False,
    "connect_retries": 0,
    "redirect": False,
    "log": False,
    "stream": True,
}

_DATA_PATH: Final = re.compile(r"/v2/images/([^/]+)/file")


def image_path(image_id: str) -> str:
    """Return the path of an image, whose id must be a UUID.

    :raises ValueError: for anything else.
    """
    if not uuidutils.is_uuid_like(image_id):
        raise ValueError("not the id of an image")
    return f"/v2/images/{image_id}"


def image_of_data(path: str) -> str | None:
    """Return the id of the image whose data a path names; None for others."""
    found = _DATA_PATH.fullmatch(path)
    if found is None or not uuidutils.is_uuid_like(found[1]):
        return None
    return found[1].lower()


def content(region_id: str, image: Image) -> nearness.Content:
    """Return the data of an image, as its image service shows it."""
    return nearness.Content(
        region_id=region_id,
        image_id=image["id"],
        algorithm=image.get("os_hash_algo"),
        value=image.get("os_hash_value"),
    )


def beginning(chunks: Iterable[bytes], size: int) -> bytes:
    """Return the first ``size`` bytes of some chunks, and read no further."""
    read = b""
    for chunk in chunks if size else ():
        read += chunk
        if len(read) >= size:
            break
    return read[:size]
