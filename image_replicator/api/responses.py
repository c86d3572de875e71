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

Old clients parse them, so their bytes must not change.
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
    """Return a JSON response: sorted keys, a blank after each separator."""
    return _response(json.dumps(body, sort_keys=True), _JSON, status)


def empty_response(status: int = 204) -> webob.Response:
    """Return a response with a status and no body."""
    response = webob.Response(status=status)
    del response.content_type
    return response


def error_response(
    request: webob.Request, error: http_errors.APIError
) -> webob.Response:
    """Return an error response, in the form that the caller accepts.

    Without an ``Accept`` header it is plain text, as in the reference page. A
    caller that accepts anything but text gets JSON, in the one form that the
    old client can parse.
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
    """Tell caches that the response is for this caller only.

    The 401 is the same for every caller without a token, and stays as the
    reference page has it.
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
    """Send a response without a change to its headers.

    WebOb itself would turn a path in ``Location`` into a URL, with the host
    that the client sent.
    """
    start_response(response.status, response.headerlist)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else response.app_iter


def _wants_text(request: webob.Request) -> bool:
    accepted = request.headers.get("Accept", "").strip()
    if not accepted:
        return True
    # WebOb matches a type with a parameter only with an offer that has the
    # same one.
    accept = acceptparse.create_accept_header(_CHARSET.sub("", accepted))
    offers = accept.acceptable_offers([_JSON, _TEXT])
    return bool(offers) and offers[0][0] == _TEXT


def _response(body: str, content_type: str, status: int) -> webob.Response:
    response = webob.Response(
        status=int(status), body=body.encode(errors="backslashreplace")
    )
    response.headers["Content-Type"] = f"{content_type}; charset=UTF-8"
    return response
