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

"""Parses the query and the body of a request."""

import functools
import json
from collections.abc import Sequence
from typing import Any
from typing import Final

import webob

from image_replicator.api import chunks
from image_replicator.api import http_errors
from image_replicator.api import router
from image_replicator.api import schemas

#: The most bytes of a body. The longest useful one has some ids and a name.
MAX_BODY: Final = 64 * 1024


def query(
    request: webob.Request, schema: router.Schema | None
) -> dict[str, Any]:
    """Return the parsed query, checked against the schema.

    :param schema: None if the operation reads no query.
    :returns: a list for a key that the schema allows more than once, a string
        for any other.
    :raises BadRequest: if it is not valid.
    """
    if schema is None:
        return {}
    try:
        pairs = list(request.GET.items())
    except UnicodeDecodeError as error:
        raise http_errors.BadRequest("The query is not UTF-8.") from error
    found: dict[str, Any] = {}
    for key, value in pairs:
        if schema["properties"].get(key, {}).get("type") == "array":
            found.setdefault(key, []).append(value)
        elif key in found:
            raise http_errors.BadRequest(
                "The query names a key more than once."
            )
        else:
            found[key] = value
    return schemas.validate(found, schema, "query")


class Body:
    """The JSON body of a request, read when it is first needed.

    Each method raises an :class:`~image_replicator.api.http_errors.APIError`
    if the body cannot be read or is not valid.
    """

    def __init__(self, request: webob.Request) -> None:
        self._request = request

    def one_key(self, known: Sequence[str]) -> str:
        """Return the body's only key, which must be one of the known ones."""
        return schemas.one_key(self._parsed, known)

    def validated(self, schema: router.Schema | None) -> dict[str, Any]:
        """Return the parsed body, checked against the schema.

        :param schema: None if the operation reads no body.
        """
        if schema is None:
            return {}
        try:
            return schemas.validate(self._parsed, schema, "body")
        except RecursionError as error:
            raise _too_deep() from error

    @functools.cached_property
    def _parsed(self) -> Any:
        try:
            return json.loads(_read(self._request))
        except ValueError as error:
            raise http_errors.BadRequest("The body is not JSON.") from error
        except RecursionError as error:
            raise _too_deep() from error


def _too_deep() -> http_errors.BadRequest:
    return http_errors.BadRequest("The body is nested too deeply.")


def _read(request: webob.Request) -> bytes:
    try:
        if chunks.are_sent(request.environ):
            return _bounded(chunks.read(request.environ, MAX_BODY))
        return _read_sized(request)
    except OSError as error:
        raise _too_short() from error


def _read_sized(request: webob.Request) -> bytes:
    try:
        length = request.content_length or 0
    except ValueError:
        length = -1
    if length < 0:
        raise http_errors.BadRequest("The Content-Length is not a number.")
    if length > MAX_BODY:
        raise _too_large()
    body: bytes = request.body_file_raw.read(length)
    if len(body) < length:
        raise _too_short()
    return body


def _bounded(body: bytes) -> bytes:
    if len(body) > MAX_BODY:
        raise _too_large()
    return body


def _too_large() -> http_errors.PayloadTooLarge:
    return http_errors.PayloadTooLarge(
        f"The body is larger than {MAX_BODY} bytes."
    )


def _too_short() -> http_errors.BadRequest:
    return http_errors.BadRequest("The body ended too early.")
