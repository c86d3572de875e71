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

"""Errors of the domain.

The message of each may be shown to the user. It never holds a token, a
password, another tenant's data, an SQL statement, a stack trace or a file's
path. The code that catches the error logs what else an operator needs. These
errors know no HTTP: :mod:`image_replicator.api.http_errors` maps them.
"""

from image_replicator.errors import ErrorCode


class ImageReplicatorError(Exception):
    """Base of all errors that this project raises on purpose."""


class ConfigurationError(ImageReplicatorError):
    """The configuration is wrong; the message names the option."""


class RequestError(ImageReplicatorError):
    """A user's request cannot be fulfilled.

    :param message: one sentence that says what is wrong and, if the user can
        do something, what that is.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Forbidden(RequestError):
    """The user lacks the rights for the request."""


class NotFound(RequestError):
    """The thing does not exist, or this user may not see it."""


class Conflict(RequestError):
    """The state of an image, a job or a region does not allow it."""


class LimitExceeded(RequestError):
    """The request exceeds a limit that the operator set."""


class ServiceUnavailable(RequestError):
    """A service that the request needs does not answer."""


class JobNotFound(NotFound):
    """There is no such job, or this user may not see it."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"No job with ID {job_id} could be found.")


class DuplicateJob(Conflict):
    """A job for the same copy is not over yet.

    :param place: that of the refused job, from 0, among those asked for.
    """

    def __init__(self, place: int = 0) -> None:
        super().__init__(
            "A copy of this image to this tenant and region is already "
            "under way."
        )
        self.place = place


class NotRetryable(Conflict):
    """The job cannot be retried: it is not over, or it was successful.

    :param status: of the job.
    """

    def __init__(self, status: str) -> None:
        super().__init__(
            f"The job is {status} and cannot be retried; only one that is "
            "canceled or in error can."
        )


class TooManyJobs(LimitExceeded):
    """A tenant would have more active jobs than it may have.

    :param at_most: the limit.
    :param active: the number that it has, up to the limit.
    :param more: the number that the request asks for.
    """

    def __init__(self, at_most: int, active: int, more: int = 1) -> None:
        if active >= at_most:
            message = (
                f"The tenant has {at_most} active jobs, as many as it may; "
                "wait for one to end, or cancel one."
            )
        else:
            message = (
                f"The tenant has {active} active jobs and may have {at_most}, "
                f"so it cannot have {more} more; wait for some to end, or "
                "ask for fewer."
            )
        super().__init__(message)


class KeyReused(RequestError):
    """An idempotency key was used before, for another request."""

    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key was used for another request within the "
            "last 24 hours; use a new one for this request."
        )


class MetadataRefused(Conflict):
    """The image has a property that is only valid in its own region."""


class ClaimLost(ImageReplicatorError):
    """This worker's claim on the job is no longer valid."""


class TransferError(ImageReplicatorError):
    """A copy failed.

    :param code: the kind of failure.
    :param message: what happened; it is stored with the job and shown to the
        user.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
