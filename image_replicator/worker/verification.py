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

"""Checks that the destination's image has the bytes of the source's."""

import dataclasses
import hashlib
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any
from typing import Final
from typing import NoReturn

from image_replicator import exception
from image_replicator.errors import ErrorCode
from image_replicator.images import client
from image_replicator.jobs import Verification

#: Glance's default of [DEFAULT] hashing_algorithm.
USUAL_ALGORITHM: Final = "sha512"

#: Reads all of a destination image's bytes, given its id and size.
ReadBack = Callable[[str, int], Iterable[bytes]]


@dataclasses.dataclass(frozen=True)
class Digest:
    """A hash of an image's bytes.

    :ivar algorithm: as hashlib and Glance's ``os_hash_algo`` name it.
    :ivar value: hexadecimal.
    """

    algorithm: str
    value: str


def recorded_digest(image: dict[str, Any]) -> Digest | None:
    """Return Glance's hash of an image; None if hashlib cannot compute it."""
    algorithm, value = image.get("os_hash_algo"), image.get("os_hash_value")
    if not algorithm or not value:
        return None
    try:
        hashlib.new(algorithm)
    except ValueError:
        return None
    return Digest(algorithm, value)


def verify(
    destination: client.ImageClient,
    image_id: str,
    size: int,
    expected: Digest,
    read_back: ReadBack,
) -> Verification:
    """Compare the destination's image with the source's.

    Where the destination hashes with another algorithm, its data is read
    back: the worker is near the destination.

    :param size: bytes that the image must have.
    :param expected: hash that the image must have.
    :param read_back: reads the bytes that the destination has stored.
    :returns: both hashes.
    :raises TransferError: if the image differs.
    """
    image = destination.show(image_id)
    if image["status"] != "active" or image["size"] != size:
        _mismatch(
            f"it is {image['status']} with {image['size']} of {size} bytes"
        )
    found = recorded_digest(image)
    if found is None or found.algorithm != expected.algorithm:
        found = _digest(read_back(image_id, size), expected.algorithm)
    if found != expected:
        _mismatch(
            f"its {expected.algorithm} is {found.value}, the source's is "
            f"{expected.value}"
        )
    return Verification(
        algorithm=expected.algorithm,
        source=expected.value,
        destination=found.value,
    )


def _digest(chunks: Iterable[bytes], algorithm: str) -> Digest:
    hasher = hashlib.new(algorithm)
    try:
        for chunk in chunks:
            hasher.update(chunk)
    except exception.TransferError as error:
        if error.code is ErrorCode.SOURCE_SIZE_DIFFERS:
            _mismatch("what is stored there is not of its size")
        raise
    return Digest(algorithm, hasher.hexdigest())


def _mismatch(how: str) -> NoReturn:
    raise exception.TransferError(
        ErrorCode.VERIFICATION_FAILED,
        f"The destination's image is not the source's: {how}.",
    )
