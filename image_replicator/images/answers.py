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

"""The meaning of each answer that an image service can give.

:data:`MEANINGS` is the one table of them. Its statuses are those of Glance
33, in ``glance/api/v2/images.py``, ``glance/api/v2/image_data.py`` and the
middleware before them, and of the API reference,
https://docs.openstack.org/api-ref/image/v2/. A proxy before Glance has
answers of its own, which :func:`failure` tells apart from Glance's.
"""

import enum
import html
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import requests

from image_replicator import exception
from image_replicator import images
from image_replicator.errors import ErrorCode
from image_replicator.errors import Kind
from image_replicator.errors import Side
from image_replicator.images import recognition
from image_replicator.images import refusals


class Request(enum.Enum):
    """The requests that are sent to an image service.

    The value is what the request does, in words.
    """

    SHOW = "showing the image"
    LIST = "listing images"
    CREATE = "creating the image"
    RESERVE = "reserving the id of an image"
    CHANGE = "changing the image"
    DELETE = "deleting the image"
    DOWNLOAD = "reading the image"
    UPLOAD = "uploading the image"


_Meanings = dict[int, Kind | None]

#: The answers to every request, as far as it has no other meaning below.
_EVERY: Final[_Meanings] = {
    HTTPStatus.BAD_REQUEST: Kind.REFUSED,
    HTTPStatus.UNAUTHORIZED: Kind.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN: Kind.FORBIDDEN,
    HTTPStatus.NOT_FOUND: Kind.NOT_FOUND,
    HTTPStatus.INTERNAL_SERVER_ERROR: Kind.FAILED,
    HTTPStatus.SERVICE_UNAVAILABLE: Kind.UNAVAILABLE,
}

_CREATE: Final[_Meanings] = {
    **_EVERY,
    HTTPStatus.CREATED: None,
    # A service without the path of images is no image service.
    HTTPStatus.NOT_FOUND: Kind.NOT_IMAGE_SERVICE,
    HTTPStatus.CONFLICT: Kind.CONFLICT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Kind.QUOTA_EXCEEDED,
}

#: The meaning of each status that Glance answers to each request. None means
#: that the request did what it was to do.
MEANINGS: Final[Mapping[Request, _Meanings]] = {
    Request.SHOW: {**_EVERY, HTTPStatus.OK: None},
    Request.LIST: {
        **_EVERY,
        HTTPStatus.OK: None,
        HTTPStatus.NOT_FOUND: Kind.NOT_IMAGE_SERVICE,
    },
    Request.CREATE: _CREATE,
    # The id is in use already.
    Request.RESERVE: {**_CREATE, HTTPStatus.CONFLICT: None},
    Request.CHANGE: {
        **_EVERY,
        HTTPStatus.OK: None,
        HTTPStatus.CONFLICT: Kind.CONFLICT,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Kind.QUOTA_EXCEEDED,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE: Kind.REFUSED,
    },
    Request.DELETE: {
        **_EVERY,
        HTTPStatus.NO_CONTENT: None,
        HTTPStatus.NOT_FOUND: None,
        # The store still uses the data, or has a snapshot of it.
        HTTPStatus.CONFLICT: Kind.CONFLICT,
    },
    Request.DOWNLOAD: {
        **_EVERY,
        HTTPStatus.OK: None,
        HTTPStatus.PARTIAL_CONTENT: None,
        HTTPStatus.NO_CONTENT: Kind.DATA_MISSING,
        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: Kind.REFUSED,
    },
    Request.UPLOAD: {
        **_EVERY,
        HTTPStatus.NO_CONTENT: None,
        HTTPStatus.CONFLICT: Kind.CONFLICT,
        HTTPStatus.GONE: Kind.GONE,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Kind.QUOTA_EXCEEDED,
        # The data is not of the disk format that the image is said to have.
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE: Kind.REFUSED,
    },
}

#: The meaning of further answers, which Glance does not give to the request.
_FURTHER: Final[_Meanings] = {
    **_EVERY,
    HTTPStatus.REQUEST_TIMEOUT: Kind.FAILED,
    HTTPStatus.CONFLICT: Kind.CONFLICT,
    HTTPStatus.GONE: Kind.GONE,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Kind.QUOTA_EXCEEDED,
    HTTPStatus.TOO_MANY_REQUESTS: Kind.BUSY,
}

#: The meaning of an answer by a proxy, or by a web server in Glance's place.
_OF_ANOTHER: Final[_Meanings] = {
    **_FURTHER,
    HTTPStatus.NOT_FOUND: Kind.NOT_IMAGE_SERVICE,
    HTTPStatus.METHOD_NOT_ALLOWED: Kind.NOT_IMAGE_SERVICE,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Kind.REFUSED,
}
_OF_ANOTHER_TO_UPLOAD: Final[_Meanings] = {
    **_OF_ANOTHER,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Kind.UPLOAD_LIMITED,
}

#: The answers after which it is not certain that nothing was done: a load
#: balancer may answer 408 in the service's place, and one that sends a request
#: again gets 409 because of its own first try.
_UNCERTAIN: Final = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT}

#: A header that each answer of Glance's API has, and no answer of a proxy.
_GLANCE_HEADER: Final = "X-Openstack-Request-Id"

_MAX_EXPLANATION: Final = 300

#: What is said of a refusal if its reason is not known. Glance's own words may
#: name what the user must not know.
_OWN_WORDS: Final = {
    Kind.QUOTA_EXCEEDED: "a limit of the project or of the service is reached",
    Kind.FORBIDDEN: "its policy does not give the user the right to do it",
}
_TAGS: Final = re.compile(r"<[^>]*>|\s+")


class Refused(exception.TransferError):
    """The request was not carried out.

    After any other error it may have been, though the answer was lost.
    """


class ServiceFailed(exception.TransferError):
    """The image service itself, and no proxy, answered that it failed.

    It has ended its work on the request, whatever it had done by then.
    """


def failure(reply: requests.Response, request: Request) -> Kind | None:
    """Return the kind of failure that an answer means; None if it is none."""
    status = reply.status_code
    if status < HTTPStatus.MULTIPLE_CHOICES:
        if status not in MEANINGS[request] or recognition.is_web_page(reply):
            return Kind.NOT_IMAGE_SERVICE
        return MEANINGS[request][status]
    if status < HTTPStatus.BAD_REQUEST:
        return Kind.NOT_IMAGE_SERVICE
    if _is_glance_s(reply):
        meanings = {**_FURTHER, **MEANINGS[request]}
    elif request is Request.UPLOAD:
        meanings = _OF_ANOTHER_TO_UPLOAD
    else:
        meanings = _OF_ANOTHER
    if status in meanings:
        return meanings[status]
    # The request itself is wrong, so that sending it again cannot help.
    is_refused = status < HTTPStatus.INTERNAL_SERVER_ERROR
    return Kind.REFUSED if is_refused else Kind.FAILED


def error(
    reply: requests.Response,
    kind: Kind,
    request: Request,
    side: Side,
    region: str,
    project_id: str | None = None,
) -> exception.TransferError:
    """Return the error that an answer stands for.

    :param kind: the kind of failure that the answer means.
    :param side: of the copy that the image service is on.
    :param project_id: in which the request was made; None if it is our own.
    """
    status = reply.status_code
    certain = (
        HTTPStatus.MULTIPLE_CHOICES
        <= status
        < HTTPStatus.INTERNAL_SERVER_ERROR
        and status not in _UNCERTAIN
    )
    target = recognition.redirect_target(reply)
    if target:
        what = f"redirected {request.value} to {target}."
    elif kind in _OWN_WORDS and _is_glance_s(reply):
        what = f"answered {status} to {request.value}{_reason(reply, kind)}"
        what += f" Project: {project_id}." if project_id else ""
    else:
        what = f"answered {status} to {request.value}{_explanation(reply)}"
    error_class = exception.TransferError
    if certain:
        error_class = Refused
    elif status >= HTTPStatus.INTERNAL_SERVER_ERROR and _is_glance_s(reply):
        error_class = ServiceFailed
    return error_class(
        ErrorCode.of(side, kind), f"{_who(reply, kind, region)} {what}"
    )


def _who(reply: requests.Response, kind: Kind, region: str) -> str:
    """Return the subject of the sentence that says what was answered."""
    service = f"he image service of region {region}"
    if kind is Kind.NOT_IMAGE_SERVICE:
        return f"Another service stands where t{service} should be: it"
    if kind is Kind.UPLOAD_LIMITED:
        return f"A proxy before t{service}"
    if _is_glance_s(reply):
        return f"T{service}"
    return f"T{service}, or a proxy before it,"


def _is_glance_s(reply: requests.Response) -> bool:
    """Tell whether Glance gave the answer, and not a proxy before it."""
    return _GLANCE_HEADER in reply.headers


def _reason(reply: requests.Response, kind: Kind) -> str:
    """Return why the service refuses, in our words."""
    told = refusals.describe(_words(reply)) or _OWN_WORDS[kind]
    return f": {told}."


def _explanation(reply: requests.Response) -> str:
    """Return the service's own words for an error, shortened, as text."""
    words = _words(reply)[:_MAX_EXPLANATION]
    return f": {words}" if words else "."


def _words(reply: requests.Response) -> str:
    """Return the text of an answer."""
    try:
        body = images.beginning(reply.iter_content(4096), 4096)
    except requests.RequestException:
        # The connection broke off; the status alone is enough.
        body = b""
    words = _TAGS.sub(" ", body.decode("utf-8", "replace"))
    words = " ".join(html.unescape(words).split())
    # A web server's page may repeat the request.
    token = reply.request.headers.get("X-Auth-Token")
    if token:
        words = words.replace(token, "…")
    return words
