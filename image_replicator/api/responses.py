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

"""Responses: JSON, and errors in the form that the caller accepts.

Programs that nobody can change parse them, so they are exact to the byte.
"""

import json
import re
from collections.abc import Iterable
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from typing import Final

import webob
from webob import acceptparse

from image_replicator.api import http_errors

_JSON: Final = "application/json"
_TEXT: Final = "text/plain"
_CHARSET: Final = re.compile(r";\s*charset=[^,;]*", re.IGNORECASE)


def json_response(body: Any, status: int = 200) -> webob.Response:
    """Answer with JSON: keys sorted, ``", "`` and ``": "`` between them."""
    return _response(json.dumps(body, sort_keys=True), _JSON, status)


def empty_response(status: int = 204) -> webob.Response:
    """Answer with nothing but a status."""
    response = webob.Response(status=status)
    del response.content_type
    return response


def error_response(
    request: webob.Request, error: http_errors.APIError
) -> webob.Response:
    """Answer with an error, in the form that the caller accepts.

    Without an ``Accept`` header that is plain text, as in the reference
    page; whoever accepts anything but text gets the JSON that the old client
    can parse, and it can parse no other.
    """
    status = error.status
    if _wants_text(request):
        response = _response(
            f"{status:d} {status.phrase}\n\n{error.message}\n\n", _TEXT, status
        )
    else:
        fields = {
            "code": int(status),
            "title": status.phrase,
            "message": error.message,
        }
        response = json_response({"error": fields}, status)
    response.headers.update(error.headers)
    return response


def forbid_caching(response: webob.Response) -> None:
    """Tell caches that the response is for this caller alone.

    The 401 is for every caller without a token, and as the reference page
    has it.
    """
    status = response.status_int
    if status == HTTPStatus.UNAUTHORIZED:
        return
    response.headers["Cache-Control"] = "no-store"
    if status < HTTPStatus.BAD_REQUEST:
        response.headers["Vary"] += ", X-Auth-Token"


def send(
    response: webob.Response, environ: Mapping[str, Any], start_response: Any
) -> Iterable[bytes]:
    """Send a response as it is.

    WebOb's own way makes a URL of a ``Location`` that is a path, with the
    host that the client claims to have asked.
    """
    start_response(response.status, response.headerlist)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else response.app_iter


def _wants_text(request: webob.Request) -> bool:
    accepted = request.headers.get("Accept", "").strip()
    if not accepted:
        return True
    # WebOb matches a parameter only with the very same one of an offer.
    accept = acceptparse.create_accept_header(_CHARSET.sub("", accepted))
    offers = accept.acceptable_offers([_JSON, _TEXT])
    return bool(offers) and offers[0][0] == _TEXT


def _response(body: str, content_type: str, status: int) -> webob.Response:
    response = webob.Response(
        status=int(status), body=body.encode(errors="backslashreplace")
    )
    response.headers["Content-Type"] = f"{content_type}; charset=UTF-8"
    return response
