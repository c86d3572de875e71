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

"""What can go wrong, in words that may be shown to the user.

A message never holds a token, a password, another tenant's data, an SQL
statement, a stack trace or a file's path. What a log needs beyond that goes
to the log where the error is met.
"""

from http import HTTPStatus

from image_replicator.errors import ErrorCode


class ImageReplicatorError(Exception):
    """Base of all errors that this project raises on purpose."""


class ConfigurationError(ImageReplicatorError):
    """The configuration cannot work; the message names the option."""


class APIError(ImageReplicatorError):
    """An answer other than success to a request.

    :param message: one sentence on what was wrong and, where the caller can
        do something, what.
    """

    status = HTTPStatus.INTERNAL_SERVER_ERROR

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadRequest(APIError):
    status = HTTPStatus.BAD_REQUEST


class Unauthorized(APIError):
    status = HTTPStatus.UNAUTHORIZED

    def __init__(self) -> None:
        # The reference page's words, to the letter.
        super().__init__("Authentication required.")


class Forbidden(APIError):
    status = HTTPStatus.FORBIDDEN


class NotFound(APIError):
    status = HTTPStatus.NOT_FOUND


class MethodNotAllowed(APIError):
    """The path exists, but not with this method.

    :param allowed: the methods that the path has, as ``Allow`` lists them.
    """

    status = HTTPStatus.METHOD_NOT_ALLOWED

    def __init__(self, method: str, allowed: str) -> None:
        super().__init__(f"The method {method} is not allowed here.")
        self.allowed = allowed


class NotAcceptable(APIError):
    status = HTTPStatus.NOT_ACCEPTABLE


class Conflict(APIError):
    status = HTTPStatus.CONFLICT


class PayloadTooLarge(APIError):
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class ServiceUnavailable(APIError):
    status = HTTPStatus.SERVICE_UNAVAILABLE


class JobNotFound(NotFound):
    def __init__(self, job_id: str) -> None:
        super().__init__(f"No job with ID {job_id} could be found.")


class DuplicateJob(Conflict):
    def __init__(self) -> None:
        super().__init__(
            "A copy of this image to this tenant and region is already "
            "under way."
        )


class NotRetryable(Conflict):
    """The job is not over, or was successful.

    :param status: of the job.
    """

    def __init__(self, status: str) -> None:
        super().__init__(
            f"The job is {status} and cannot be retried; only one that is "
            "canceled or in error can."
        )


class TooManyJobs(PayloadTooLarge):
    """A tenant has as many active jobs as it may.

    :param at_most: how many that is.
    """

    def __init__(self, at_most: int) -> None:
        super().__init__(
            f"The tenant has {at_most} active jobs, as many as it may; wait "
            "for one to end, or cancel one."
        )


class MetadataRefused(Conflict):
    """The image has a property that cannot be true in another region."""


class ClaimLost(ImageReplicatorError):
    """The job is no longer this worker's to change."""


class TransferError(ImageReplicatorError):
    """A copy failed.

    :param code: the kind of failure.
    :param message: what happened, fit to be kept with the job and shown.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
