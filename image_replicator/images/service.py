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

"""Requests to one region's image service, and their errors."""

import dataclasses
from typing import Any
from typing import Final

import requests
from keystoneauth1 import exceptions as ksa_exc
from keystoneauth1 import session as ksa_session
from oslo_log import log as logging

from image_replicator import catalogue as ir_catalogue
from image_replicator import exception
from image_replicator import user_auth
from image_replicator.errors import ErrorCode
from image_replicator.errors import Kind
from image_replicator.errors import Side
from image_replicator.images import answers
from image_replicator.images import recognition

LOG = logging.getLogger(__name__)

_NAMES: Final = {Side.SOURCE: "source", Side.DESTINATION: "destination"}

#: The methods of requests that can be sent again without harm.
_REPEATABLE: Final = frozenset({"GET", "DELETE", "PATCH"})


@dataclasses.dataclass(frozen=True)
class UserRight:
    """A user's right in a project.

    :ivar auth: gets tokens with the right.
    """

    auth: user_auth.UserAuth
    project_id: str


class ImageService:
    """Sends requests to the image service of one region.

    Every method raises :class:`~image_replicator.exception.TransferError`
    with a code of this side.

    :param session: sends the requests, with our own credentials by default.
    :param region: as the catalogue names it.
    :param catalogue: has the region's URL.
    :param side: of the copy that the region is on.
    :param user: with whose right the requests are made; None for ours.
    :param url: of a service in front of the image service; None for the image
        service itself, whose URL the catalogue has.
    :ivar url: of the service; empty before the first request.
    """

    def __init__(
        self,
        session: ksa_session.Session,
        region: str,
        catalogue: ir_catalogue.Catalogue,
        side: Side,
        user: UserRight | None = None,
        url: str | None = None,
    ) -> None:
        self._front_url = url
        self._session = session
        self._auth = user.auth if user else None
        self._project_id = user.project_id if user else None
        self.region = region
        self._catalogue = catalogue
        self._side = side
        self.url = ""

    def send(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        """Send a request, and return the response, whatever its status."""
        kwargs = {"raise_exc": False, "redirect": False, **kwargs}
        if self._auth:
            kwargs["auth"] = self._auth
        self.url = self._endpoint_url()
        try:
            return self._once_more(method, self.url + path, kwargs)
        except (
            ksa_exc.ConnectionError,
            ksa_exc.RetriableConnectionFailure,
        ) as error:
            LOG.warning("%s %s in %s: %s", method, path, self.region, error)
            raise self._no_answer(error) from error
        except ksa_exc.ClientException as error:
            # Errors of the service do not raise, so this one is from Keystone.
            raise self._no_token(error) from error
        except ValueError as error:
            # requests raises this for the target of a redirect that it cannot
            # parse.
            LOG.warning("%s %s in %s: %s", method, path, self.region, error)
            raise self.error(
                Kind.NOT_IMAGE_SERVICE,
                "Another service stands where the image service of region "
                f"{self.region} should be: it redirected to no address.",
            ) from error

    def _no_answer(self, error: Exception) -> exception.TransferError:
        """Return the error for a request without a response."""
        tls_failure = recognition.tls_failure(error)
        if tls_failure:
            # Without a TLS connection, no request was sent.
            return answers.Refused(
                ErrorCode.of(self._side, Kind.TLS_FAILED),
                "No safe connection can be made to the image service of "
                f"region {self.region}: {tls_failure}.",
            )
        return self.error(
            Kind.UNREACHABLE,
            f"The image service of region {self.region} does not answer, or "
            "broke the connection.",
        )

    def _once_more(
        self, method: str, url: str, kwargs: dict[str, Any]
    ) -> requests.Response:
        """Send a request, and again over a new connection if that is safe.

        A service may close a kept connection just when it is used again.
        """
        try:
            return self._session.request(url, method, **kwargs)
        except ksa_exc.ConnectFailure as error:
            if method not in _REPEATABLE or not _was_closed(error):
                raise
        return self._session.request(url, method, **kwargs)

    def parse(self, reply: requests.Response, *keys: str) -> dict[str, Any]:
        """Return the JSON object in a response.

        :param keys: the keys that the object must have.
        """
        try:
            parsed: Any = reply.json()
        except (ValueError, RecursionError) as error:
            LOG.warning("No JSON from %s: %s", self.region, error)
            if recognition.is_json(reply):
                # Bytes of it were lost on the way, which may not happen again.
                raise self.error(
                    Kind.FAILED,
                    f"The image service of region {self.region} sent an "
                    "answer that is not whole.",
                ) from error
        else:
            if isinstance(parsed, dict) and parsed.keys() >= set(keys):
                return parsed
        raise self.error(
            Kind.NOT_IMAGE_SERVICE,
            "Another service stands where the image service of region "
            f"{self.region} should be: it showed no image.",
        )

    def _endpoint_url(self) -> str:
        """Return the service's URL, once there is a valid token."""
        try:
            # The token is got here, as an error of Keystone during the request
            # would look like one of the service.
            self._session.get_auth_headers(self._auth)
            if self._front_url is not None:
                return self._front_url
            return self._catalogue.image_url(self.region)
        except ksa_exc.EndpointNotFound as error:
            raise self.error(Kind.NOT_IN_CATALOGUE, str(error)) from error
        except ksa_exc.ClientException as error:
            raise self._no_token(error) from error

    def renew_right(self) -> None:
        """Prove with a new token that the user still has the right."""
        if self._auth is None:
            return
        try:
            self._auth.renew(self._session)
        except ksa_exc.ClientException as error:
            raise self._no_token(error) from error

    def _no_token(self, error: Exception) -> exception.TransferError:
        """Return the error for a request that was not sent, or got a 401."""
        if isinstance(error, user_auth.AccessLost):
            return answers.Refused(
                ErrorCode.of(self._side, Kind.ACCESS_LOST),
                f"The {_NAMES[self._side]} cannot be used any more: {error}. "
                f"Project: {self._project_id}.",
            )
        if isinstance(error, user_auth.AuthorityExpired):
            return answers.Refused(
                ErrorCode.AUTHORITY_EXPIRED, f"The copy cannot go on: {error}."
            )
        LOG.error("Keystone gives us no token: %s", error)
        return answers.Refused(
            ErrorCode.IDENTITY_UNAVAILABLE,
            "The identity service does not give the image replicator a token.",
        )

    def check(
        self, reply: requests.Response, request: answers.Request
    ) -> None:
        """Raise the error that a response stands for, if it is one."""
        kind = answers.failure(reply, request)
        if kind is Kind.UNAUTHORIZED and self._auth:
            # A new token tells whether the right is gone.
            refusal = self._auth.refusal(self._session)
            if refusal:
                raise self._no_token(refusal)
        if kind:
            raise answers.error(
                reply, kind, request, self._side, self.region, self._project_id
            )

    def error(self, kind: Kind, message: str) -> exception.TransferError:
        """Return an error of this side."""
        return exception.TransferError(ErrorCode.of(self._side, kind), message)


def _was_closed(error: BaseException | None) -> bool:
    """Tell whether a request failed because a kept connection was closed."""
    while error is not None:
        if isinstance(error, ConnectionResetError | BrokenPipeError):
            return True
        error = error.__cause__ or error.__context__
    return False
