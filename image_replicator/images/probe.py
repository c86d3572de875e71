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

"""A check whether the image service of a region can be used."""

import dataclasses
import json
from http import HTTPStatus
from typing import Final

import requests
from keystoneauth1 import exceptions as ksa_exc
from keystoneauth1 import session as ksa_session
from oslo_log import log as logging

from image_replicator import catalogue as ir_catalogue
from image_replicator import images
from image_replicator.errors import Kind
from image_replicator.images import recognition

LOG = logging.getLogger(__name__)

#: The most bytes of the list of versions that are read. Glance's has about 4
#: KiB.
_MAX_VERSIONS: Final = 256 * 1024

#: The statuses with which Glance, or a proxy before it, answers a request for
#: images without a token.
_REFUSALS: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


#: The errors of a request without an answer. It is a ValueError if the answer
#: redirects to a URL that requests cannot parse.
FAILURES: Final = (
    ksa_exc.ClientException,
    requests.RequestException,
    ValueError,
)


@dataclasses.dataclass(frozen=True)
class Problem:
    """The reason why an image service cannot be used.

    :ivar kind: ``UNREACHABLE``, which may pass, ``TLS_FAILED`` or
        ``NOT_IMAGE_SERVICE``.
    :ivar message: a sentence for the user.
    """

    kind: Kind
    message: str


def find_problem(
    session: ksa_session.Session,
    catalogue: ir_catalogue.Catalogue,
    region: str,
    timeout: float,
) -> Problem | None:
    """Ask a region's image service for its versions, without a token.

    :param timeout: seconds to wait for an answer.
    :returns: None if an image service answers.
    """
    try:
        url = catalogue.image_url(region)
    except ksa_exc.ClientException as error:
        return _unreachable(region, str(error))
    try:
        with _get(session, f"{url}/versions", timeout) as reply:
            if reply.status_code < HTTPStatus.BAD_REQUEST:
                return _problem_of_versions(reply, region)
            if reply.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                return _unreachable(region, f"it answered {reply.status_code}")
        # A proxy before Glance may not serve the list of versions.
        with _get(session, f"{url}/v2/images", timeout) as reply:
            return _problem_of_images(reply, region)
    except FAILURES as error:
        return problem_of_error(error, region)


def problem_of_error(error: Exception, region: str) -> Problem:
    """Return the problem of a request without an answer."""
    tls_failure = recognition.tls_failure(error)
    if tls_failure:
        LOG.error("No TLS with the image service of %s: %s", region, error)
        return Problem(
            Kind.TLS_FAILED,
            f"The image service of region {region} is not trusted: "
            f"{tls_failure}. Tell your operator.",
        )
    if isinstance(error, ValueError):
        return not_image_service(region, "it redirects to no address")
    return _unreachable(region, str(error))


def problem_of_redirect(
    reply: requests.Response, region: str
) -> Problem | None:
    """Return the problem if a reply is a redirect; None otherwise."""
    target = recognition.redirect_target(reply)
    if target is None:
        return None
    return not_image_service(region, f"it redirects to {target}")


def not_image_service(region: str, reason: str) -> Problem:
    """Return the problem of a region where something else answers.

    :param reason: what the other service does, as part of a sentence.
    """
    LOG.error(
        "What answers for the image service of %s is none: %s", region, reason
    )
    return Problem(
        Kind.NOT_IMAGE_SERVICE,
        f"What answers for the image service of region {region} is no image "
        f"service: {reason}. Tell your operator.",
    )


def _get(
    session: ksa_session.Session, url: str, timeout: float
) -> requests.Response:
    return session.get(
        url, authenticated=False, timeout=timeout, **images.STREAM
    )


def _problem_of_versions(
    reply: requests.Response, region: str
) -> Problem | None:
    redirect = problem_of_redirect(reply, region)
    if redirect:
        return redirect
    body = images.beginning(reply.iter_content(65536), _MAX_VERSIONS)
    try:
        if "versions" in json.loads(body):
            return None
    except (ValueError, TypeError, RecursionError):
        LOG.debug("No JSON from the image service of %s", region)
    if recognition.is_web_page(reply):
        return not_image_service(region, "it sends a web page")
    return not_image_service(region, "it does not list its versions")


def _problem_of_images(
    reply: requests.Response, region: str
) -> Problem | None:
    redirect = problem_of_redirect(reply, region)
    if redirect:
        return redirect
    status = reply.status_code
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _unreachable(region, f"it answered {status}")
    if status in _REFUSALS:
        return None
    if status == HTTPStatus.OK and not recognition.is_web_page(reply):
        return None
    return not_image_service(region, f"it answers {status} to /v2/images")


def _unreachable(region: str, reason: str) -> Problem:
    LOG.warning("The image service of %s is down: %s", region, reason)
    return Problem(
        Kind.UNREACHABLE,
        f"The image service of region {region} does not answer; try again "
        "later.",
    )
