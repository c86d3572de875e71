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

"""What an image service's answers mean."""

import html
import re
from http import HTTPStatus
from typing import Final

import requests

from image_replicator import exception
from image_replicator import images
from image_replicator.errors import ErrorCode
from image_replicator.errors import Kind
from image_replicator.errors import Side

#: The meaning of each status; of any other it is Kind.FAILED.
KINDS: Final[dict[int, Kind]] = {
    HTTPStatus.BAD_REQUEST: Kind.REFUSED,
    HTTPStatus.UNAUTHORIZED: Kind.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN: Kind.FORBIDDEN,
    HTTPStatus.NOT_FOUND: Kind.NOT_FOUND,
    HTTPStatus.CONFLICT: Kind.CONFLICT,
    HTTPStatus.GONE: Kind.GONE,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Kind.QUOTA_EXCEEDED,
    HTTPStatus.TOO_MANY_REQUESTS: Kind.BUSY,
    HTTPStatus.SERVICE_UNAVAILABLE: Kind.UNAVAILABLE,
}

#: Not 408, which a load balancer may answer in the service's place, nor 409:
#: a load balancer that sends a request again gets it from its own first try.
REFUSALS: Final = frozenset(range(400, 500)) - {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.CONFLICT,
}

_MAX_EXPLANATION: Final = 300
_TAGS: Final = re.compile(r"<[^>]*>|\s+")


class Refused(exception.TransferError):
    """The image service understood the request and will not do it.

    Unlike with other errors, it is certain that nothing was done.
    """


def refusal(
    reply: requests.Response, side: Side, region: str, doing: str
) -> exception.TransferError:
    """Return the error that an unexpected answer stands for.

    :param side: of the copy that the image service stands on.
    :param doing: what was asked for, in words.
    """
    status = reply.status_code
    error_class = exception.TransferError
    if status in REFUSALS:
        error_class = Refused
    return error_class(
        ErrorCode.of(side, KINDS.get(status, Kind.FAILED)),
        f"The image service of region {region} answered {status} to "
        f"{doing}{_explanation(reply)}",
    )


def _explanation(reply: requests.Response) -> str:
    """Return Glance's own words for an error, shortened, as plain text."""
    try:
        body = images.beginning(reply.iter_content(4096), 4096)
    except requests.RequestException:
        # The status was worth more than the words that were cut off.
        body = b""
    words = _TAGS.sub(" ", body.decode("utf-8", "replace"))
    words = " ".join(html.unescape(words).split())[:_MAX_EXPLANATION]
    return f": {words}" if words else "."
