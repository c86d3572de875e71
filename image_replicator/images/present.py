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

"""Images at a destination that have the source's data already."""

from collections.abc import Callable
from collections.abc import Iterable
from typing import Any
from typing import Final
from urllib import parse

from image_replicator import images
from image_replicator import jobs

#: The most images that are looked at. Few images have the same data.
_MOST: Final = 100


def path(image: images.Image, tenant_id: str) -> str | None:
    """Return the request for a tenant's active images with the same hash.

    :param image: the source image.
    :returns: None if the source has no hash, so that nothing can be said.
    """
    value = image.get("os_hash_value")
    if not value or not image.get("os_hash_algo"):
        return None
    query = {
        "owner": tenant_id,
        "status": "active",
        "os_hash_value": value,
        "limit": _MOST,
    }
    return "/v2/images?" + parse.urlencode(query)


def has_data_of(image: images.Image, found: images.Image) -> bool:
    """Tell whether an image is active and has the data of another one.

    :param image: the other one, which has a hash.
    """
    return found.get("status") == "active" and all(
        found.get(key) == image[key]
        for key in ("size", "os_hash_algo", "os_hash_value")
    )


def find(
    listed: Iterable[Any],
    image: images.Image,
    tenant_id: str,
    name: str | None,
    is_unfinished: Callable[[Iterable[str]], bool],
) -> jobs.Present | None:
    """Return the image with the source's data, if the tenant has one.

    The image service may not know a filter, so each image is checked.

    :param listed: the answer to :func:`path`.
    :param image: the source image.
    :param name: that it must have; None for any.
    :param is_unfinished: tells from an image's tags whether it is a copy that
        is not verified yet.
    """
    for found in listed:
        if (
            isinstance(found, dict)
            and found.get("owner") == tenant_id
            and has_data_of(image, found)
            and (name is None or found.get("name") == name)
            and not is_unfinished(found.get("tags", ()))
        ):
            return jobs.Present(
                image_id=str(found["id"]),
                verification=jobs.Verification(
                    algorithm=image["os_hash_algo"],
                    source=image["os_hash_value"],
                    destination=found["os_hash_value"],
                ),
            )
    return None
