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


class Side(enum.StrEnum):
    """The image service that an error is about."""

    SOURCE = "source"
    DESTINATION = "destination"


class Recovery(enum.Enum):
    """The ways to go on after a failed copy."""

    #: The copy may work later, so it is tried again up to the operator's
    #: limit.
    TRANSIENT = "transient"
    #: The failure may have been an accident, so the copy is tried once more.
    ONCE_MORE = "once_more"
    #: The copy cannot work until somebody acts, so the job ends at once.
    FINAL = "final"


_TRANSIENT: Final = Recovery.TRANSIENT
_ONCE_MORE: Final = Recovery.ONCE_MORE
_FINAL: Final = Recovery.FINAL

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

_TELL: Final = "Tell your operator."
_WAIT: Final = "Retry the job later; if it fails again, tell your operator."


class Kind(enum.Enum):
    """A way to fail, on either side of the copy.

    :ivar word: ends the code, or is the code where there is no side.
    :ivar recovery: whether the copy is tried again.
    :ivar sentence: says what happened. ``{image}`` and ``{service}`` stand
        for the image and the image service of the side.
    :ivar remedy: says what the user can do.
    """

    #: Answers of an image service.
    REFUSED = (
        "refused",
        _FINAL,
        "The {service} does not accept the request, such as a property or a "
        "disk format that it does not know. The message has its words.",
        "Change what the message names.",
    )
    UNAUTHORIZED = (
        "unauthorized",
        _TRANSIENT,
        "The {service} does not accept the image replicator's token.",
        _TELL,
    )
    FORBIDDEN = (
        "forbidden",
        _FINAL,
        "The {service}'s policy does not let the image replicator do it.",
        _TELL,
    )
    NOT_FOUND = (
        "not_found",
        _FINAL,
        "The {image} does not exist any more; somebody deleted it.",
        "Ask for a new copy of an image that exists.",
    )
    CONFLICT = (
        "conflict",
        _TRANSIENT,
        "The {image} is in a state in which it cannot be worked on.",
        _WAIT,
    )
    GONE = (
        "gone",
        _TRANSIENT,
        "The {image} was deleted while its data was sent.",
        "Retry the job.",
    )
    QUOTA_EXCEEDED = (
        "quota_exceeded",
        _FINAL,
        "The {service} does not accept that much: the project's quota is "
        "used up, the image is too large, or it has too many properties or "
        "tags.",
        "Make room, or ask for a higher quota.",
    )
    BUSY = (
        "busy",
        _TRANSIENT,
        "The {service} has too much to do (429).",
        _WAIT,
    )
    UNAVAILABLE = (
        "unavailable",
        _TRANSIENT,
        "The {service}, or its store, is out of service (503).",
        _WAIT,
    )
    FAILED = (
        "failed",
        _TRANSIENT,
        "The {service} failed in a way that has no code of its own. The "
        "message has its words.",
        _TELL,
    )

    #: Failures on the way to an image service.
    UNREACHABLE = (
        "unreachable",
        _TRANSIENT,
        "The {service} does not answer, or the connection broke.",
        _WAIT,
    )
    TLS_FAILED = (
        "tls_failed",
        _FINAL,
        "No safe connection to the {service} can be made: its certificate is "
        "self-signed, has expired or is another host's, for example. The "
        "message says which.",
        _TELL,
    )
    NOT_IMAGE_SERVICE = (
        "not_image_service",
        _FINAL,
        "Another service answers where the {service} should be: it "
        "redirects, or sends a web page.",
        _TELL,
    )
    NOT_IN_CATALOGUE = (
        "not_in_catalogue",
        _TRANSIENT,
        "The identity service's catalogue does not list the {service}.",
        _TELL,
    )
    UPLOAD_LIMITED = (
        "upload_limited",
        _FINAL,
        "A proxy before the {service} does not let a request this large pass.",
        _TELL,
    )

    #: Faults of an image's data, and of its description.
    READ_FAILED = (
        "read_failed",
        _TRANSIENT,
        "Reading the image from the {service} broke off, and could not be "
        "taken up again.",
        _WAIT,
    )
    NOT_ACTIVE = (
        "not_active",
        _FINAL,
        "The {image} is not active any more, such as deactivated.",
        "Retry the job when the image is active again.",
    )
    DATA_MISSING = (
        "data_missing",
        _FINAL,
        "The {service} has no data of the image in its store any more.",
        "Tell your operator: the store has lost the image's data.",
    )
    SIZE_DIFFERS = (
        "size_differs",
        _FINAL,
        "The {image} does not have as many bytes as it is said to have.",
        "Tell your operator: its data may be damaged.",
    )
    SIZE_UNKNOWN = (
        "size_unknown",
        _FINAL,
        "The {service} does not say how many bytes the image has.",
        _TELL,
    )
    ENCODED = (
        "encoded",
        _FINAL,
        "The {service}, or a proxy before it, sends the image's data in a "
        "compressed form.",
        _TELL,
    )
    DAMAGED = (
        "damaged",
        _ONCE_MORE,
        "The data of the {image} does not have the hash that was recorded "
        "when the image was made.",
        "Tell your operator: the store of the source region damaged it.",
    )
    TOO_SLOW = (
        "too_slow",
        _TRANSIENT,
        "The {service} sends less than the operator requires of a copy.",
        _WAIT,
    )

    #: Failures that belong to no side.
    METADATA_REFUSED = (
        "metadata_refused",
        _FINAL,
        "The source image has a property that names something of its "
        "region, such as kernel_id.",
        "Remove the property.",
    )
    VERIFICATION_FAILED = (
        "verification_failed",
        _ONCE_MORE,
        "The copy differed from its source, twice. It was deleted.",
        "Tell your operator: a store or a network damages data.",
    )
    IDENTITY_UNAVAILABLE = (
        "identity_unavailable",
        _TRANSIENT,
        "The identity service does not give the image replicator a token.",
        _TELL,
    )
    ATTEMPTS_EXHAUSTED = (
        "attempts_exhausted",
        _FINAL,
        "Each worker that began the copy was lost before its end.",
        _TELL,
    )
    CLEANUP_FAILED = (
        "cleanup_failed",
        _FINAL,
        "The job was canceled, but the unfinished copy could not be deleted.",
        "Tell your operator, who finds its ID in the message.",
    )
    INTERNAL_ERROR = (
        "internal_error",
        _TRANSIENT,
        "The image replicator failed.",
        "Tell your operator the request that the message names.",
    )

    def __init__(
        self, word: str, recovery: Recovery, sentence: str, remedy: str
    ) -> None:
        self.word = word
        self.recovery = recovery
        self.sentence = sentence
        self.remedy = remedy


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
