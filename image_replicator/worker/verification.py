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
from image_replicator.errors import Kind
from image_replicator.images import client
from image_replicator.jobs import Verification

#: Glance's default of [DEFAULT] hashing_algorithm.
USUAL_ALGORITHM: Final = "sha512"

#: The algorithm of an image's ``checksum``, which all Glances record.
CHECKSUM_ALGORITHM: Final = "md5"

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
    return _known(algorithm, value)


def _known(algorithm: str | None, value: str | None) -> Digest | None:
    if not algorithm or not value:
        return None
    try:
        _new_hash(algorithm)
    except ValueError:
        return None
    return Digest(algorithm, value.lower())


def _new_hash(algorithm: str) -> Any:
    # In FIPS mode, md5 is available only for uses other than security.
    return hashlib.new(algorithm, usedforsecurity=False)


class SourceData:
    """The source's data as it is read, and the hash that Glance recorded.

    The data is hashed on the way if nothing else can verify it: if the source
    recorded no hash, or only a checksum, with which Glance does not compare
    the data. It is also hashed after a failed copy, to find out which side is
    wrong.

    :param image: the source image.
    :param again: whether an earlier attempt to copy it has failed.
    :ivar hashers: are to be fed every byte.
    """

    def __init__(self, image: dict[str, Any], again: bool) -> None:
        multihash = recorded_digest(image)
        checksum = _known(CHECKSUM_ALGORITHM, image.get("checksum"))
        self._recorded = multihash or checksum
        # An empty image is always hashed, as that takes no time.
        again = again or not image["size"]
        algorithms = set()
        if not multihash:
            algorithms.add(USUAL_ALGORITHM)
        if self._recorded and (again or not multihash):
            algorithms.add(self._recorded.algorithm)
        self._hashers = {name: _new_hash(name) for name in algorithms}
        self._multihash = multihash
        self.hashers = tuple(self._hashers.values())

    @property
    def checked(self) -> bool:
        """Whether the data that was read has the source's recorded hash."""
        return bool(self._hashers)

    def digest(self) -> Digest:
        """Return the hash that the destination's data must have.

        :raises TransferError: if the data that was read does not have the
            hash that the source recorded.
        """
        found = {
            name: Digest(name, hasher.hexdigest())
            for name, hasher in self._hashers.items()
        }
        recorded = self._recorded
        if recorded:
            read = found.get(recorded.algorithm, recorded)
            if read != recorded:
                raise exception.TransferError(
                    ErrorCode.SOURCE_DAMAGED,
                    "The source image's data is damaged: its "
                    f"{recorded.algorithm} is {read.value}, and "
                    f"{recorded.value} was recorded when it was made.",
                )
        return self._multihash or found[USUAL_ALGORITHM]


def verify(
    destination: client.ImageClient,
    image_id: str,
    size: int,
    source: SourceData,
    read_back: ReadBack,
) -> Verification:
    """Compare the destination's image with the source's.

    If the destination uses another hash algorithm, its data is read back, as
    the worker is near the destination.

    :param size: bytes that the image must have.
    :param source: the data that was uploaded.
    :param read_back: reads the bytes that the destination has stored.
    :returns: both hashes.
    :raises TransferError: if the image differs, or the source is damaged.
    """
    expected = source.digest()
    image = destination.show(image_id)
    if image["status"] != "active" or image["size"] != size:
        _mismatch(
            "The destination's image is not the source's: it is "
            f"{image['status']} with {image['size']} of {size} bytes."
        )
    found = recorded_digest(image)
    if found is None or found.algorithm != expected.algorithm:
        found = _digest(read_back(image_id, size), expected.algorithm)
    if found != expected:
        _mismatch(_difference(expected, found, source.checked))
    return Verification(
        algorithm=expected.algorithm,
        source=expected.value,
        destination=found.value,
    )


def _difference(expected: Digest, found: Digest, checked: bool) -> str:
    """Return a sentence on two different hashes, and on the side at fault."""
    if checked:
        return (
            "The destination's image is not what was sent to it: its "
            f"{expected.algorithm} is {found.value}, and that of the data "
            f"sent is {expected.value}."
        )
    return (
        f"The copy's {expected.algorithm} is {found.value}, and the source's "
        f"record says {expected.value}. Whether the data changed at the "
        "source, on the way or at the destination is found out by another "
        "attempt."
    )


def _digest(chunks: Iterable[bytes], algorithm: str) -> Digest:
    hasher = _new_hash(algorithm)
    try:
        for chunk in chunks:
            hasher.update(chunk)
    except exception.TransferError as error:
        if error.code.kind is Kind.SIZE_DIFFERS:
            _mismatch(
                "The destination's image is not what was sent to it: what is "
                "stored there is not of its size."
            )
        raise
    return Digest(algorithm, hasher.hexdigest())


def _mismatch(message: str) -> NoReturn:
    raise exception.TransferError(ErrorCode.VERIFICATION_FAILED, message)
