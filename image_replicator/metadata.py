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

"""Decides which of an image's properties travel with a copy.

It is a deny-list: a property that is not named here is copied unchanged, as
are tags. The API checks before it accepts a job, and the worker checks again
when it creates the image, as an image can change in between.
"""

import dataclasses
import enum
import fnmatch
import json
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Final
from typing import Literal

from oslo_config import cfg

from image_replicator import exception

Image = Mapping[str, Any]
SignaturePolicy = Literal["keep", "drop", "refuse"]

#: Properties that Glance sets itself, or refuses.
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

#: Properties about an image's origin that are only true at the source.
DROPPED: Final = (
    "instance_uuid",
    "base_image_ref",
    "user_id",
    "image_location",
    "image_state",
    "image_type",
    "owner_id",
    "owner_project_name",
    "owner_user_name",
    "boot_roles",
    "bittorrent",
    "cache_in_nova",
)

#: IDs of objects of one region. Deleting a copy that names a key of the key
#: manager could even destroy the source's key.
REFUSED: Final = (
    "kernel_id",
    "ramdisk_id",
    "cinder_encryption_key_id",
    "cinder_encryption_key_deletion_policy",
    "os_encrypt_key_id",
    "os_encrypt_key_deletion_policy",
    "hw_ephemeral_encryption_secret_uuid",
    "block_device_mapping",
    "bdm_v2",
)

SIGNATURE: Final = "img_signature*"

#: Values with which clients unset a property.
_NOTHING: Final = frozenset({"", "None", "NULL", "null", "[]", "{}"})

#: The properties with which Nova says that volume snapshots hold the data.
_VOLUMES: Final = ("block_device_mapping", "bdm_v2")

#: The beginning of the tag that marks an unfinished image.
_MARK: Final = "image_replicator:"

#: The most characters that Glance allows in a tag.
_MAX_TAG: Final = 255


@dataclasses.dataclass(frozen=True)
class Rules:
    """The operator's options on properties.

    :ivar dropped: more names, or shell patterns of names, that are not copied.
    :ivar signature: what to do with ``img_signature*``.
    """

    dropped: tuple[str, ...] = ()
    signature: SignaturePolicy = "keep"


def rules_from(conf: cfg.ConfigOpts) -> Rules:
    """Return the rules that ``[transfer]`` of the configuration has."""
    return Rules(
        tuple(conf.transfer.dropped_properties),
        conf.transfer.signature_properties,
    )


def mark(source_region_id: str) -> str:
    """Return the tag of an image that a worker has not verified yet.

    If its job is lost, the tag shows that the image is unfinished. The tag
    names the source region, as the replicator of each region looks after its
    own images.
    """
    return f"{_MARK}{source_region_id}"[:_MAX_TAG]


def marked(tags: Sequence[str], source_region_id: str) -> list[str]:
    """Return the tags that an image has until it is verified.

    The mark replaces one tag, so that an image with as many tags as its
    project may use does not exceed that limit. The completed image gets all of
    its own tags.

    :param tags: that the completed image will have.
    """
    return [*tags[:-1], mark(source_region_id)]


class Fate(enum.StrEnum):
    """The end of a source image's property at its copy."""

    TRAVELS = "travels"
    DROPPED = "dropped"
    #: The copy has another value.
    REWRITTEN = "rewritten"
    #: The image cannot be copied because of it.
    REFUSED = "refused"


@dataclasses.dataclass(frozen=True)
class Judgement:
    """The fate of one property, and why.

    :ivar reason: a sentence for the user; empty if the property travels.
    """

    fate: Fate
    reason: str = ""


_TRAVELS: Final = Judgement(Fate.TRAVELS)

#: The properties that the replicator gives values of its own.
_REWRITTEN: Final = {
    "owner": "The copy belongs to the destination tenant.",
    "visibility": "The copy is private.",
}


def judged(image: Image, rules: Rules) -> dict[str, Judgement]:
    """Return the fate of each property of the source image that has a value.

    :param image: the image as Glance shows it.
    :param rules: the operator's choices.
    """
    # Glance shows a base property that is not set as null.
    fates = {
        name: _judge(name, value, rules)
        for name, value in image.items()
        if value is not None
    }
    volume = _volume_property(image)
    if volume is not None:
        fates[volume] = Judgement(
            Fate.REFUSED,
            "The image cannot be copied: it has no data of its own, and "
            f"its property {volume} says that a volume snapshot has it.",
        )
    return fates


def _judge(name: str, value: Any, rules: Rules) -> Judgement:
    is_signature = _matches(name, (SIGNATURE,))
    if _matches(name, REFUSED) or (
        is_signature and rules.signature == "refuse"
    ):
        if _names_nothing(value):
            return Judgement(Fate.DROPPED, "It has no value.")
        return Judgement(
            Fate.REFUSED,
            f"The image cannot be copied: its property {name} names "
            "something that exists in the source region only.",
        )
    if name in _REWRITTEN:
        return Judgement(Fate.REWRITTEN, _REWRITTEN[name])
    if _matches(name, NEVER_SENT):
        return Judgement(Fate.DROPPED, "Each image service sets it itself.")
    if _matches(name, DROPPED):
        return Judgement(Fate.DROPPED, "It is only true at the source.")
    if _matches(name, rules.dropped) or (
        is_signature and rules.signature == "drop"
    ):
        return Judgement(Fate.DROPPED, "The operator has chosen so.")
    if name == "tags" and is_marked(value):
        return Judgement(
            Fate.REWRITTEN, "The tag of an unfinished copy is left out."
        )
    return _TRAVELS


def travelling(image: Image, rules: Rules) -> dict[str, Any]:
    """Return the properties of the source image that its copy gets.

    ``protected`` is not among them. It is set last, as a protected image could
    not be removed after a failed copy.

    :param image: the image as Glance shows it.
    :param rules: the operator's choices.
    :raises MetadataRefused: if a property forbids the copy.
    """
    fates = judged(image, rules)
    for judgement in fates.values():
        if judgement.fate is Fate.REFUSED:
            raise exception.MetadataRefused(judgement.reason)
    carried = {
        name: image[name]
        for name, judgement in fates.items()
        if judgement.fate is Fate.TRAVELS and name != "protected"
    }
    if "tags" in image:
        carried["tags"] = [tag for tag in image["tags"] if not _is_mark(tag)]
    return carried


def is_marked(tags: Iterable[str]) -> bool:
    """Tell whether an image with these tags is not verified yet."""
    return any(_is_mark(tag) for tag in tags)


def _is_mark(tag: str) -> bool:
    return tag.startswith(_MARK)


def _volume_property(image: Image) -> str | None:
    """Return the property that shows that a volume snapshot has the data.

    :returns: None if Glance has the data.
    """
    if image.get("size") != 0:
        return None
    for name, value in image.items():
        if (name in _VOLUMES and not _names_nothing(value)) or _maps_volume(
            value
        ):
            return name
    return None


def _names_nothing(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip() in _NOTHING
    return value in (None, [], {})


def _maps_volume(value: Any) -> bool:
    """Tell whether a value is a block device mapping with a volume.

    :param value: the mapping, also as JSON text.
    """
    if isinstance(value, str):
        if not value.lstrip().startswith(("[", "{")):
            return False
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return False
    devices = value if isinstance(value, list) else [value]
    return any(
        isinstance(device, dict)
        and (
            device.get("snapshot_id")
            or device.get("volume_id")
            or device.get("source_type") in ("snapshot", "volume")
        )
        for device in devices
    )


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
