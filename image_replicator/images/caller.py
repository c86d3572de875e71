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

"""The source image, as the caller of the API may see it.

An image service is asked in one of two ways: the Glance that the extension
wraps, in the same process, or a region's endpoint over HTTP.
"""

import dataclasses
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from typing import Final
from typing import Protocol

import requests
import webob
from keystoneauth1 import session as ksa_session
from oslo_log import log as logging

from image_replicator import catalogue as ir_catalogue
from image_replicator import context as ir_context
from image_replicator import exception
from image_replicator import images
from image_replicator.errors import Kind
from image_replicator.images import probe
from image_replicator.images import recognition

LOG = logging.getLogger(__name__)

#: The most bytes of an image's JSON. It usually has a few KiB, and Glance's
#: own limits keep it below this.
_MAX_IMAGE_JSON: Final = 4 * 1024 * 1024

#: The statuses of a request for one byte of data that the caller may download:
#: 206; 200 if the store has no ranges; 204 or 416 if the image has no byte.
_DOWNLOADABLE: Final = frozenset(
    {
        HTTPStatus.OK,
        HTTPStatus.NO_CONTENT,
        HTTPStatus.PARTIAL_CONTENT,
        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
    }
)

#: The headers that auth_token adds to a request, and those of tokens. See
#: https://docs.openstack.org/keystonemiddleware/latest/api/keystonemiddleware.auth_token.html
_IDENTITY_HEADERS: Final = (
    "HTTP_X_AUTH_TOKEN",
    "HTTP_X_STORAGE_TOKEN",
    "HTTP_X_SERVICE_",
    "HTTP_X_IDENTITY_STATUS",
    "HTTP_X_USER",
    "HTTP_X_PROJECT",
    "HTTP_X_DOMAIN",
    "HTTP_X_TENANT",
    "HTTP_X_ROLE",
    "HTTP_X_IS_ADMIN_PROJECT",
    "HTTP_OPENSTACK_SYSTEM_SCOPE",
    "keystone.",
)


@dataclasses.dataclass(frozen=True)
class Reply:
    """The answer of an image service.

    :ivar body: the body, or as much of its beginning as was asked for.
    """

    status: int
    body: bytes


class Ask(Protocol):
    """A way to send a GET to an image service as the caller."""

    def __call__(
        self, path: str, headers: Mapping[str, str], max_body: int
    ) -> Reply:
        """Send the request; read at most ``max_body`` bytes of the body."""


class SourceImages:
    """The source image as its caller may see it.

    :param ask: sends requests to the image service as the caller.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def show(self, image_id: str) -> images.Image:
        """Return the image.

        :raises NotFound: if the caller can see no such image.
        :raises Conflict: if the response is too large, or has no image.
        """
        path = images.image_path(image_id)
        reply = self._ask(path, {}, _MAX_IMAGE_JSON + 1)
        self._check(reply, image_id, frozenset({HTTPStatus.OK}))
        if len(reply.body) > _MAX_IMAGE_JSON:
            raise exception.Conflict(
                "The properties of the image are larger than "
                f"{_MAX_IMAGE_JSON} bytes, so it cannot be copied."
            )
        return _image(reply.body, image_id)

    def check_downloadable(self, image: images.Image) -> None:
        """Check that the caller may download the image's data.

        :raises Forbidden: if not.
        :raises Conflict: if the data is missing.
        """
        path = images.image_path(image["id"]) + "/file"
        reply = self._ask(path, {"Range": "bytes=0-0"}, 0)
        if reply.status == HTTPStatus.BAD_REQUEST:
            # The store has no ranges; none of the data is read.
            reply = self._ask(path, {}, 0)
        self._check(reply, image["id"], _DOWNLOADABLE)
        # Glance answers so if the file is missing in its store.
        if reply.status == HTTPStatus.NO_CONTENT and image["size"]:
            raise exception.Conflict(
                "The data of this image is missing in the source region."
            )

    @staticmethod
    def _check(
        reply: Reply, image_id: str, expected: frozenset[HTTPStatus]
    ) -> None:
        if reply.status in expected:
            return
        if reply.status == HTTPStatus.NOT_FOUND:
            raise exception.NotFound(
                f"No image with ID {image_id} could be found."
            )
        if reply.status == HTTPStatus.FORBIDDEN:
            raise exception.Forbidden("You may not download this image.")
        LOG.error("The source image service answered %d", reply.status)
        raise exception.ServiceUnavailable(
            "The image service does not answer as it should; try again later."
        )


def _image(body: bytes, image_id: str) -> images.Image:
    """Return the image in the body of a response.

    :raises Conflict: if the body has no image.
    """
    try:
        image: images.Image = json.loads(body)
        shown = image["id"], image["status"], image["size"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        LOG.error("The source image service shows no image: %s", error)
        shown = None, None, None
    if shown[0] != image_id:
        raise exception.Conflict(
            "What answers for the image service of the source region is no "
            "image service: it shows no image. Tell your operator."
        )
    return image


def ask_wrapped(
    app: Any,
    environ: Mapping[str, Any],
    context: ir_context.RequestContext,
) -> Ask:
    """Ask the Glance that the extension wraps, in this process.

    Glance's own policy applies. No network is used, so a server with a single
    thread does not wait for itself.

    :param app: the rest of Glance's pipeline.
    :param environ: the caller's; only its identity is passed on.
    :param context: the caller, in the token's project or in another.
    """

    def ask(path: str, headers: Mapping[str, str], max_body: int) -> Reply:
        # This is done only when something is asked, as most requests ask
        # nothing.
        caller = {
            key: value
            for key, value in environ.items()
            if key.startswith(_IDENTITY_HEADERS)
        }
        if context.project_id != caller.get("HTTP_X_PROJECT_ID"):
            caller = _identity_of(context)
        request = webob.Request.blank(
            path, environ=caller, headers=dict(headers)
        )
        request.headers["X-Openstack-Request-Id"] = context.request_id
        status, _headers, body = request.call_application(app)
        try:
            return Reply(
                int(status.split()[0]), images.beginning(body, max_body)
            )
        finally:
            close = getattr(body, "close", None)
            if close:
                close()

    return ask


def _identity_of(context: ir_context.RequestContext) -> dict[str, str]:
    """Return the identity that auth_token would add for a rescoped token."""
    return {
        "HTTP_X_AUTH_TOKEN": context.auth_token or "",
        "HTTP_X_IDENTITY_STATUS": "Confirmed",
        "HTTP_X_USER_ID": context.user_id or "",
        "HTTP_X_PROJECT_ID": context.project_id or "",
        "HTTP_X_ROLES": ",".join(context.roles),
    }


def ask_remote(
    session: ksa_session.Session,
    catalogue: ir_catalogue.Catalogue,
    region: str,
    context: ir_context.RequestContext,
    timeout: float | None = None,
) -> Ask:
    """Ask the image service of a region over HTTP, with the caller's token.

    :param session: for its connections; its credentials are not used.
    :param timeout: seconds to wait for an answer; None for the session's.
    """
    options = (
        images.STREAM
        if timeout is None
        else {**images.STREAM, "timeout": timeout}
    )

    def ask(path: str, headers: Mapping[str, str], max_body: int) -> Reply:
        identity_headers = {
            "X-Auth-Token": context.auth_token,
            "X-Openstack-Request-Id": context.request_id,
        }
        try:
            with session.get(
                catalogue.image_url(region) + path,
                headers={**headers, **identity_headers},
                authenticated=False,
                **options,
            ) as reply:
                _check_service(reply, region)
                return Reply(
                    reply.status_code,
                    images.beginning(reply.iter_content(65536), max_body),
                )
        except probe.FAILURES as error:
            raise _refusal(probe.problem_of_error(error, region)) from error

    return ask


def _check_service(reply: requests.Response, region: str) -> None:
    """Check that the response is that of an image service.

    :raises Conflict: if it is not.
    """
    problem = probe.problem_of_redirect(reply, region)
    if reply.status_code == HTTPStatus.OK and recognition.is_web_page(reply):
        problem = probe.not_image_service(region, "it sends a web page")
    if problem:
        raise _refusal(problem)


def _refusal(problem: probe.Problem) -> exception.RequestError:
    """Return the error for the caller, on a problem of the image service."""
    if problem.kind is Kind.UNREACHABLE:
        return exception.ServiceUnavailable(problem.message)
    return exception.Conflict(problem.message)
