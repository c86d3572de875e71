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

"""The table of all error codes of jobs.

A job that failed has a code and a message. The code is one of
:class:`ErrorCode`. This table alone says what each code means, whether the
copy is tried again, and what the user can do. The worker uses it to
decide, the documentation is generated from it, and :func:`rows` returns it
for others.
"""

import enum
from collections.abc import Iterator
from typing import Any
from typing import Final

from image_replicator.kinds import Kind as Kind
from image_replicator.kinds import Recovery as Recovery
from image_replicator.kinds import Side as Side

#: The words for the image and the service of each side, in sentences.
_NAMES: Final = {
    None: {},
    Side.SOURCE: {
        "image": "source image",
        "service": "source region's image service",
    },
    Side.DESTINATION: {
        "image": "unfinished copy",
        "service": "destination region's image service",
    },
}


class ErrorCode(enum.Enum):
    """The reason for which a job, or an attempt of it, failed.

    ``str()`` of a member is its word, which the API shows and the database
    keeps.

    :ivar side: the image service that failed; None if it was neither.
    :ivar kind: the way in which it failed.
    """

    SOURCE_REFUSED = (Side.SOURCE, Kind.REFUSED)
    SOURCE_UNAUTHORIZED = (Side.SOURCE, Kind.UNAUTHORIZED)
    SOURCE_FORBIDDEN = (Side.SOURCE, Kind.FORBIDDEN)
    SOURCE_NOT_FOUND = (Side.SOURCE, Kind.NOT_FOUND)
    SOURCE_CONFLICT = (Side.SOURCE, Kind.CONFLICT)
    SOURCE_GONE = (Side.SOURCE, Kind.GONE)
    SOURCE_QUOTA_EXCEEDED = (Side.SOURCE, Kind.QUOTA_EXCEEDED)
    SOURCE_BUSY = (Side.SOURCE, Kind.BUSY)
    SOURCE_UNAVAILABLE = (Side.SOURCE, Kind.UNAVAILABLE)
    SOURCE_FAILED = (Side.SOURCE, Kind.FAILED)
    SOURCE_UNREACHABLE = (Side.SOURCE, Kind.UNREACHABLE)
    SOURCE_TLS_FAILED = (Side.SOURCE, Kind.TLS_FAILED)
    SOURCE_NOT_IMAGE_SERVICE = (Side.SOURCE, Kind.NOT_IMAGE_SERVICE)
    SOURCE_NOT_IN_CATALOGUE = (Side.SOURCE, Kind.NOT_IN_CATALOGUE)
    SOURCE_READ_FAILED = (Side.SOURCE, Kind.READ_FAILED)
    SOURCE_NOT_ACTIVE = (Side.SOURCE, Kind.NOT_ACTIVE)
    SOURCE_DATA_MISSING = (Side.SOURCE, Kind.DATA_MISSING)
    SOURCE_SIZE_DIFFERS = (Side.SOURCE, Kind.SIZE_DIFFERS)
    SOURCE_SIZE_UNKNOWN = (Side.SOURCE, Kind.SIZE_UNKNOWN)
    SOURCE_ENCODED = (Side.SOURCE, Kind.ENCODED)
    SOURCE_DAMAGED = (Side.SOURCE, Kind.DAMAGED)
    SOURCE_TOO_SLOW = (Side.SOURCE, Kind.TOO_SLOW)
    SOURCE_ACCESS_LOST = (Side.SOURCE, Kind.ACCESS_LOST)

    DESTINATION_REFUSED = (Side.DESTINATION, Kind.REFUSED)
    DESTINATION_UNAUTHORIZED = (Side.DESTINATION, Kind.UNAUTHORIZED)
    DESTINATION_FORBIDDEN = (Side.DESTINATION, Kind.FORBIDDEN)
    DESTINATION_NOT_FOUND = (Side.DESTINATION, Kind.NOT_FOUND)
    DESTINATION_CONFLICT = (Side.DESTINATION, Kind.CONFLICT)
    DESTINATION_GONE = (Side.DESTINATION, Kind.GONE)
    DESTINATION_QUOTA_EXCEEDED = (Side.DESTINATION, Kind.QUOTA_EXCEEDED)
    DESTINATION_BUSY = (Side.DESTINATION, Kind.BUSY)
    DESTINATION_UNAVAILABLE = (Side.DESTINATION, Kind.UNAVAILABLE)
    DESTINATION_FAILED = (Side.DESTINATION, Kind.FAILED)
    DESTINATION_UNREACHABLE = (Side.DESTINATION, Kind.UNREACHABLE)
    DESTINATION_TLS_FAILED = (Side.DESTINATION, Kind.TLS_FAILED)
    DESTINATION_NOT_IMAGE_SERVICE = (Side.DESTINATION, Kind.NOT_IMAGE_SERVICE)
    DESTINATION_NOT_IN_CATALOGUE = (Side.DESTINATION, Kind.NOT_IN_CATALOGUE)
    DESTINATION_UPLOAD_LIMITED = (Side.DESTINATION, Kind.UPLOAD_LIMITED)
    DESTINATION_READ_FAILED = (Side.DESTINATION, Kind.READ_FAILED)
    DESTINATION_DATA_MISSING = (Side.DESTINATION, Kind.DATA_MISSING)
    DESTINATION_ENCODED = (Side.DESTINATION, Kind.ENCODED)
    DESTINATION_ACCESS_LOST = (Side.DESTINATION, Kind.ACCESS_LOST)

    AUTHORITY_EXPIRED = (None, Kind.AUTHORITY_EXPIRED)
    AUTHORITY_UNREADABLE = (None, Kind.AUTHORITY_UNREADABLE)
    AUTHORITY_MISSING = (None, Kind.AUTHORITY_MISSING)
    METADATA_REFUSED = (None, Kind.METADATA_REFUSED)
    VERIFICATION_FAILED = (None, Kind.VERIFICATION_FAILED)
    IDENTITY_UNAVAILABLE = (None, Kind.IDENTITY_UNAVAILABLE)
    ATTEMPTS_EXHAUSTED = (None, Kind.ATTEMPTS_EXHAUSTED)
    CLEANUP_FAILED = (None, Kind.CLEANUP_FAILED)
    INTERNAL_ERROR = (None, Kind.INTERNAL_ERROR)

    def __init__(self, side: Side | None, kind: Kind) -> None:
        self.side = side
        self.kind = kind

    @classmethod
    def of(cls, side: Side, kind: Kind) -> "ErrorCode":
        """Return the code of a kind of failure on one side.

        :raises ValueError: if that side cannot fail in this way.
        """
        for code in cls:
            if (code.side, code.kind) == (side, kind):
                return code
        raise ValueError(f"no code for {kind.word} on the {side}")

    @property
    def word(self) -> str:
        """The code as the API shows it and the database keeps it."""
        return f"{self.side}_{self.kind.word}" if self.side else self.kind.word

    @property
    def recovery(self) -> Recovery:
        """Whether the copy is tried again."""
        return self.kind.recovery

    @property
    def sentence(self) -> str:
        """A sentence that says what happened, without details."""
        return self.kind.sentence.format(**_NAMES[self.side])

    @property
    def remedy(self) -> str:
        """A sentence that says what the user can do."""
        return self.kind.remedy.format(**_NAMES[self.side])

    @property
    def busy(self) -> bool:
        """Whether the service is overloaded, so that fewer requests help."""
        return self.kind in {Kind.BUSY, Kind.UNAVAILABLE}

    def __str__(self) -> str:
        return self.word


def rows() -> Iterator[dict[str, Any]]:
    """Yield the table, a code a row, as values that JSON can hold.

    :returns: the keys ``code``, ``side`` (None, "source" or "destination"),
        ``recovery`` ("transient", "once_more" or "final"), ``sentence`` and
        ``remedy``, all of them text.
    """
    for code in ErrorCode:
        yield {
            "code": code.word,
            "side": code.side.value if code.side else None,
            "recovery": code.recovery.value,
            "sentence": code.sentence,
            "remedy": code.remedy,
        }
