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

"""Checks the jobs and the images at the end of a run.

It compares the rows, the destination's images and their bytes with the copies
that users asked for, and trusts no result of the image replicator.
"""

import collections
import dataclasses
import datetime
import hashlib
import math
import random
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Final

from devcloud.chaos import fence
from devcloud.chaos import plan
from devcloud.chaos import rights

Row = Mapping[str, Any]
Image = Mapping[str, Any]

#: The errors of these runs that end a job before its last attempt: bits are
#: flipped, and Glance may refuse to remove an image.
_EARLY_ERRORS: Final = frozenset(
    {"verification_failed", "source_damaged", "cleanup_failed"}
)


_LOST_RIGHTS: Final = frozenset({"destination_access_lost"})

#: Seconds from a proof of the right to the last write to the image, at most: a
#: worker may be halted in between, and its request may be slow.
SLACK: Final = 3 * plan.LEASE + 4


@dataclasses.dataclass(frozen=True)
class Source:
    """An image that is copied.

    :ivar seed: of its random bytes
    :ivar size: bytes
    """

    image_id: str
    name: str
    tenant_id: str
    seed: str
    size: int

    def data(self) -> bytes:
        """Return its bytes."""
        return random.Random(self.seed).randbytes(self.size)

    @property
    def sha512(self) -> str:
        """The SHA-512 of its bytes, in hexadecimal."""
        return hashlib.sha512(self.data()).hexdigest()


@dataclasses.dataclass
class Ask:
    """A copy that a user asked for.

    :ivar tenant_id: to which the copy goes
    :ivar job_id: None if no answer had it
    :ivar unclear: the number of answers that do not tell whether there is a
        job
    :ivar canceled: whether the user asked to cancel it
    """

    source: Source
    tenant_id: str
    job_id: str | None = None
    unclear: int = 0
    canceled: bool = False

    @property
    def copy(self) -> tuple[str, str]:
        """The image and the destination tenant."""
        return self.source.image_id, self.tenant_id


@dataclasses.dataclass(frozen=True)
class World:
    """The state of the cloud at the end.

    :ivar asks: the requested copies, each once
    :ivar rows: of the jobs' table
    :ivar images: of all tenants, at the destination
    :ivar read: returns an image's bytes, as the destination serves them
    :ivar stored: returns an image's bytes, as the destination has stored them
    :ivar max_attempts: of a job
    :ivar rights_taken: when users could not have made copies themselves
    """

    asks: Sequence[Ask]
    rows: Sequence[Row]
    images: Sequence[Image]
    read: Callable[[str], bytes]
    stored: Callable[[str], bytes]
    max_attempts: int
    rights_taken: Sequence[rights.Taken] = ()


def violations(world: World) -> Iterator[str]:
    """Yield a sentence for each violation."""
    yield from _wrong_with_asks(world)
    for row in world.rows:
        for wrong in _wrong_with_row(world, row):
            yield f"job {row['id']} ({row['status']}) {wrong}"
    yield from _wrong_with_images(world)


def _wrong_with_asks(world: World) -> Iterator[str]:
    """Check that each requested copy has a job, and each job a request."""
    found = {row["id"]: row for row in world.rows}
    for ask in world.asks:
        if ask.job_id is None:
            continue
        row = found.pop(ask.job_id, None)
        if row is None:
            yield f"job {ask.job_id} is lost"
        elif _copy(row) != ask.copy:
            yield f"job {ask.job_id} is {_copy(row)}, not {ask.copy}"
    # These jobs come from requests whose answer did not arrive.
    unclear = collections.Counter(
        {ask.copy: ask.unclear for ask in world.asks}
    )
    surplus = collections.Counter(_copy(row) for row in found.values())
    for copy in surplus - unclear:
        yield f"nobody asked for {copy}, and there is a job"


def _seconds(text: str) -> float:
    """Return a time of Glance's in seconds since the epoch."""
    return datetime.datetime.fromisoformat(text).timestamp()


def _copy(row: Row) -> tuple[str, str]:
    return row["source_image_id"], row["destination_tenant_id"]


def _attempts(row: Row) -> int:
    return int(row["attempts"] - row["attempts_uncounted"])


def _wrong_with_row(world: World, row: Row) -> Iterator[str]:
    if row["status"] not in fence.FINAL:
        yield "has not come to an end"
        return
    if row["active"] or row["lease_expires_at"] or not row["finished_at"]:
        yield "is over and looks as if it were not"
    if row["reserved_image_id"]:
        yield f"leaves image {row['reserved_image_id']} to be removed"
    check = {
        "replicated": _wrong_with_replicated,
        "canceled": _wrong_with_canceled,
        "error": _wrong_with_error,
    }[row["status"]]
    yield from check(world, row)


def _wrong_with_replicated(world: World, row: Row) -> Iterator[str]:
    source = _source_of(world, row)
    if source is None:
        return
    if row["bytes_copied"] != source.size:
        yield f"says {row['bytes_copied']} of {source.size} bytes"
    if not 1 <= _attempts(row) <= world.max_attempts:
        yield f"has {_attempts(row)} attempts"
    algorithm = row["verification_algorithm"]
    digest = algorithm and hashlib.new(algorithm, source.data()).hexdigest()
    for side in ("source", "destination"):
        if not digest or row[f"verification_{side}"] != digest:
            yield f"says that the {side}'s hash was another"
    if row["error_code"]:
        yield f"shows the error {row['error_code']}"
    if row["read_image_id"] not in _readable(world, row):
        yield f"was read from image {row['read_image_id']}"
    if row["waiting_for"]:
        yield f"waits for job {row['waiting_for']}"


def _data(row: Row) -> tuple[str, str]:
    """Return the tenant and the data of a copy."""
    return row["destination_tenant_id"], row["verification_source"]


def _readable(world: World, row: Row) -> set[str]:
    """Return the images from which a copy may have been read.

    These are the source image and its copies, all of which the user of these
    runs may read, and copies with the same data in the same tenant.
    """
    copies = {
        other["destination_image_id"]
        for other in world.rows
        if other["status"] == "replicated"
        and other["id"] != row["id"]
        and (
            other["source_image_id"] == row["source_image_id"]
            or _data(other) == _data(row)
        )
    }
    return {row["source_image_id"], *copies}


def _wrong_with_canceled(world: World, row: Row) -> Iterator[str]:
    if not any(ask.canceled and ask.copy == _copy(row) for ask in world.asks):
        yield "was not to be canceled"
    if row["destination_image_id"]:
        yield "shows an image"


def _wrong_with_error(world: World, row: Row) -> Iterator[str]:
    attempts = _attempts(row)
    if not row["error_code"] or not row["error_message"]:
        yield "does not say why"
    elif row["error_code"] in _LOST_RIGHTS:
        if not any(_lacking(world, row)):
            yield f"says {row['error_code']}, and no right was taken"
    elif (
        attempts < world.max_attempts
        and row["error_code"] not in _EARLY_ERRORS
    ):
        yield f"was given up at attempt {attempts}: {row['error_code']}"
    if row["destination_image_id"]:
        yield "shows an image"


def _lacking(world: World, row: Row) -> Iterator[rights.Taken]:
    return rights.lacking(
        world.rights_taken,
        row["source_tenant_id"],
        row["destination_tenant_id"],
    )


def _source_of(world: World, row: Row) -> Source | None:
    for ask in world.asks:
        if ask.copy == _copy(row):
            return ask.source
    return None


def _wrong_with_images(world: World) -> Iterator[str]:
    """Check that each image at the destination belongs to a job."""
    images = {image["id"]: image for image in world.images}
    for row in world.rows:
        if row["status"] != "replicated":
            continue
        image = images.pop(row["destination_image_id"], None)
        source = _source_of(world, row)
        if image is None:
            yield f"job {row['id']}: its image is not there"
        elif source is not None:
            for wrong in _wrong_with_image(world, row, image, source):
                yield f"job {row['id']}: image {image['id']} {wrong}"
    for image in images.values():
        yield (
            f"image {image['id']} ({image['status']}) belongs to no job "
            "that is replicated"
        )


def _wrong_with_image(
    world: World, row: Row, image: Image, source: Source
) -> Iterator[str]:
    expected = {
        "status": "active",
        "size": source.size,
        "name": source.name,
        "owner": row["destination_tenant_id"],
        "visibility": "private",
        "tags": [],
        "os_hash_value": source.sha512,
    }
    for name, value in expected.items():
        if image[name] != value:
            yield f"has {name} {image[name]!r}, not {value!r}"
    if image["status"] != "active":
        return
    # The last write to the image, which makes the user's of it. Glance shows
    # whole seconds, rounded down: it was within the second that follows.
    made = _seconds(image["updated_at"])
    for taken in _lacking(world, row):
        end = taken.end or math.inf
        if taken.begin + SLACK < made and made + 1 <= end:
            yield (
                f"was made {made - taken.begin:.0f} s after its user lost "
                "the right"
            )
    for how, data in (("served", world.read), ("stored", world.stored)):
        if data(image["id"]) != source.data():
            yield f"has other bytes, as it is {how}"
