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

"""Which of an image's properties travel with a copy.

A deny-list: what is not named here is copied as it is, user properties,
tags and ``trait:*`` included. The API asks before it accepts a job and the
worker asks again when it makes the image, as an image can change in between.
"""

import dataclasses
import fnmatch
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any
from typing import Final
from typing import Literal

from oslo_config import cfg

from image_replicator import exception

Image = Mapping[str, Any]
SignaturePolicy = Literal["keep", "drop", "refuse"]

#: Glance sets these itself, or refuses them.
NEVER_SENT: Final = (
    "id",
    "self",
    "file",
    "schema",
    "direct_url",
    "locations",
    "stores",
    "status",
    "checksum",
    "size",
    "virtual_size",
    "os_hash_algo",
    "os_hash_value",
    "created_at",
    "updated_at",
    "owner",
    "visibility",
    "os_glance_*",
)

#: Provenance that is only true at the source.
DROPPED: Final = (
    "instance_uuid",
    "base_image_ref",
    "user_id",
    "image_location",
    "image_state",
    "image_type",
    "owner_*",
    "boot_roles",
    "bittorrent",
    "cache_in_nova",
)

#: IDs of things that live in one region. Deleting a copy that names a key of
#: the key manager could even destroy the source's key.
REFUSED: Final = (
    "kernel_id",
    "ramdisk_id",
    "cinder_encryption_key_id",
    "cinder_encryption_key_deletion_policy",
    "block_device_mapping",
    "bdm_v2",
)

SIGNATURE: Final = "img_signature*"

#: Begins the tag of an image that is being filled.
_MARK: Final = "image_replicator:"

#: Characters that Glance lets a tag have.
_MAX_TAG: Final = 255


@dataclasses.dataclass(frozen=True)
class Rules:
    """The operator's choices.

    :ivar dropped: more names, or shell patterns of names, to leave behind.
    :ivar signature: what to do with ``img_signature*``.
    """

    dropped: tuple[str, ...] = ()
    signature: SignaturePolicy = "keep"


def rules_from(conf: cfg.ConfigOpts) -> Rules:
    """Return the operator's choices of ``[transfer]``."""
    return Rules(
        tuple(conf.transfer.dropped_properties),
        conf.transfer.signature_properties,
    )


def mark(source_region_id: str) -> str:
    """Return the tag of an image that a worker has not verified yet.

    By it such an image is known to be nobody's, should its job be lost. It
    names the source's region, as the replicator of each region marks its own.
    """
    return f"{_MARK}{source_region_id}"[:_MAX_TAG]


def travelling(image: Image, rules: Rules) -> dict[str, Any]:
    """Return what of the source image its copy is created with.

    ``protected`` is not among it: it is set last, as it would keep a failed
    copy from being cleaned up.

    :param image: the image as Glance shows it.
    :param rules: the operator's choices.
    :raises MetadataRefused: if a property forbids the copy.
    """
    refused = REFUSED + ((SIGNATURE,) if rules.signature == "refuse" else ())
    left_out = (*NEVER_SENT, *DROPPED, *rules.dropped, "protected")
    if rules.signature == "drop":
        left_out += (SIGNATURE,)
    carried = {}
    for name, value in image.items():
        # Glance shows an unset base property as null; it names nothing.
        if value is None:
            continue
        if _matches(name, refused):
            raise exception.MetadataRefused(
                f"The image cannot be copied: its property {name} names "
                "something that exists in the source region only."
            )
        if not _matches(name, left_out):
            carried[name] = value
    if "tags" in carried:
        carried["tags"] = [
            tag for tag in carried["tags"] if not tag.startswith(_MARK)
        ]
    return carried


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
