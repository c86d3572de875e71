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

"""Errors as HTTP responses.

The errors of the domain do not know HTTP; the table here maps each of them to
a status. Errors that belong to HTTP alone are defined here as well.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from oslo_db import exception as db_exc
from oslo_log import log as logging

from image_replicator import exception

LOG = logging.getLogger(__name__)

#: The status of each error of the domain that a request can end in.
STATUSES: Final[Mapping[type[exception.RequestError], HTTPStatus]] = {
    exception.Forbidden: HTTPStatus.FORBIDDEN,
    exception.NotFound: HTTPStatus.NOT_FOUND,
    exception.JobNotFound: HTTPStatus.NOT_FOUND,
    exception.Conflict: HTTPStatus.CONFLICT,
    exception.DuplicateJob: HTTPStatus.CONFLICT,
    exception.NotRetryable: HTTPStatus.CONFLICT,
    exception.MetadataRefused: HTTPStatus.CONFLICT,
    exception.LimitExceeded: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    exception.TooManyJobs: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    exception.KeyReused: HTTPStatus.UNPROCESSABLE_ENTITY,
    exception.ServiceUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}


class APIError(Exception):
    """A response that reports an error.

    :param message: one sentence, shown to the caller.
    :param headers: of the response, in addition to those of every response.
    """

    status = HTTPStatus.INTERNAL_SERVER_ERROR

    def __init__(
        self, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.headers = dict(headers or {})


class BadRequest(APIError):
    """The request is not valid."""

    status = HTTPStatus.BAD_REQUEST


class Unauthorized(APIError):
    """The request has no valid token."""

    status = HTTPStatus.UNAUTHORIZED

    def __init__(self) -> None:
        # This is the text of the reference page, unchanged.
        super().__init__("Authentication required.", {"Vary": "X-Auth-Token"})


class MethodNotAllowed(APIError):
    """The path exists, but not with this method.

    :param allowed: the methods that the path has, as ``Allow`` lists them.
    """

    status = HTTPStatus.METHOD_NOT_ALLOWED

    def __init__(self, method: str, allowed: str) -> None:
        super().__init__(
            f"The method {method} is not allowed here.", {"Allow": allowed}
        )


class NotAcceptable(APIError):
    """The version of the API that the request asks for does not exist."""

    status = HTTPStatus.NOT_ACCEPTABLE


class LengthRequired(APIError):
    """The request has no length, which the server needs to read its body."""

    status = HTTPStatus.LENGTH_REQUIRED


class PayloadTooLarge(APIError):
    """The request's body is larger than the limit."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class DomainError(APIError):
    """An error of the domain, with its status."""

    def __init__(self, error: exception.RequestError) -> None:
        super().__init__(error.message)
        self.status = STATUSES[type(error)]


def status_of(error: "exception.RequestError | APIError") -> HTTPStatus:
    """Return the status of the response that reports an error."""
    if isinstance(error, APIError):
        return error.status
    return STATUSES[type(error)]


def api_error(error: Exception, request_id: str) -> APIError:
    """Return the response for an error of a request.

    :param request_id: the response to an unexpected error says no more than
        this.
    """
    if isinstance(error, APIError):
        return error
    if type(error) in STATUSES:
        assert isinstance(error, exception.RequestError)
        return DomainError(error)
    if isinstance(error, db_exc.DBError | db_exc.CantStartEngineError):
        LOG.error("The database does not serve us", exc_info=error)
        return DomainError(
            exception.ServiceUnavailable(
                "The database does not answer; try again later."
            )
        )
    LOG.error("Request %s failed", request_id, exc_info=error)
    return APIError(f"Request {request_id} failed.")
