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

"""Glance: the only package that knows an image's URLs.

The API uses ``caller`` to look at the source image as the caller may see it.
The worker uses ``clients`` to read, create, fill and remove images with its
own credentials. ``answers`` has the meaning of each answer of Glance.
"""

from collections.abc import Iterable
from typing import Any
from typing import Final

from oslo_utils import uuidutils

#: An image as Glance shows it.
Image = dict[str, Any]

#: How a request that carries an image's data is sent. keystoneauth would
#: otherwise send a consumed body again after a 401, follow a redirect with
#: the token, and read the whole body to log it.
STREAM: Final[dict[str, Any]] = {
    "raise_exc": False,
    "allow_reauth": False,
    "connect_retries": 0,
    "redirect": False,
    "log": False,
    "stream": True,
}


def image_path(image_id: str) -> str:
    """Return an image's path, made of nothing but a checked UUID.

    :raises ValueError: for anything else.
    """
    if not uuidutils.is_uuid_like(image_id):
        raise ValueError("not the id of an image")
    return f"/v2/images/{image_id}"


def beginning(chunks: Iterable[bytes], size: int) -> bytes:
    """Read no more chunks than it takes to return ``size`` bytes."""
    read = b""
    for chunk in chunks if size else ():
        read += chunk
        if len(read) >= size:
            break
    return read[:size]
