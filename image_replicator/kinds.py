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

"""The ways in which a copy fails, on either side of it.

:mod:`image_replicator.errors` makes the error codes of them.
"""

import enum
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
        "The {service} does not accept the token of the copy.",
        _TELL,
    )
    FORBIDDEN = (
        "forbidden",
        _FINAL,
        "The {service}'s policy does not let the user who asked for the copy "
        "do it.",
        "Ask your operator for the right.",
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

    #: Rights of the user who asked for the copy.
    ACCESS_LOST = (
        "access_lost",
        _FINAL,
        "The user who asked for the copy may not use the {image} any more: a "
        "role, the project, the user, the trust or the share is gone. The "
        "message says which, where that is known.",
        "Get the right back, then retry the job; whoever retries it brings "
        "their own right.",
    )
    AUTHORITY_EXPIRED = (
        "authority_expired",
        _FINAL,
        "The token that the copy was asked for with has expired. It cannot be "
        "renewed, as it is one of an application credential or of a trust.",
        "Retry the job with a new token.",
    )
    AUTHORITY_UNREADABLE = (
        "authority_unreadable",
        _TRANSIENT,
        "The worker does not have the key that the token of the copy was "
        "sealed with.",
        _TELL,
    )
    AUTHORITY_MISSING = (
        "authority_missing",
        _FINAL,
        "The job was created by a release before copies were made with the "
        "rights of the user, so it has no user's right.",
        "Retry the job.",
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
