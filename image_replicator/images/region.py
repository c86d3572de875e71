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

"""The images of one region, worked on with our own credentials."""

import dataclasses
import json
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any
from typing import Final
from typing import Protocol
from urllib import parse

import requests
from keystoneauth1 import exceptions as ksa_exc
from keystoneauth1 import session as ksa_session
from oslo_log import log as logging

from image_replicator import exception
from image_replicator import images
from image_replicator.errors import ErrorCode
from image_replicator.errors import Kind
from image_replicator.errors import Side
from image_replicator.images import answers
from image_replicator.images import download

LOG = logging.getLogger(__name__)

#: The status of an image that Glance has begun to delete, and shows still.
_DELETED: Final = "deleted"

#: What may be sent twice, as the second time changes nothing.
_REPEATABLE: Final = frozenset({"GET", "DELETE", "PATCH"})

#: What a service says that cannot send a part of this image.
_NO_RANGES: Final = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE}
)


def is_up(
    session: ksa_session.Session,
    region: str,
    interfaces: list[str],
    timeout: float,
) -> bool:
    """Tell whether a region's image service answers.

    :param timeout: seconds to wait for the answer.
    """
    try:
        url = images.endpoint_url(session, region, interfaces)
        reply = session.get(
            f"{url}/versions",
            authenticated=False,
            raise_exc=False,
            redirect=False,
            timeout=timeout,
        )
    except ksa_exc.ClientException as error:
        LOG.warning("The image service of %s is down: %s", region, error)
        return False
    return bool(reply.status_code < HTTPStatus.INTERNAL_SERVER_ERROR)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timeouts:
    """How long to wait for an image service, in seconds.

    :ivar connect: for a connection, and for one chunk to be sent.
    :ivar read: for the next byte of an image's data.
    :ivar upload_response: for the answer to an upload, all bytes sent.
    """

    connect: float
    read: float
    upload_response: float


class RegionImages:
    """The images of one region, worked on with our own credentials.

    Every method raises :class:`~image_replicator.exception.TransferError`
    when the service refuses or does not answer. Its code has
    this side.

    :param session: with the credentials.
    :param region: as the catalogue names it.
    :param interfaces: of the endpoint, the preferred one first.
    :param side: of a copy that this region is.
    :ivar latency: seconds that the service took for its latest answer.
    """

    def __init__(
        self,
        session: ksa_session.Session,
        region: str,
        interfaces: list[str],
        side: Side,
        timeouts: Timeouts,
    ) -> None:
        self._session = session
        self._region = region
        self._interfaces = interfaces
        self._side = side
        self._timeouts = timeouts
        self.latency = 0.0

    def show(self, image_id: str) -> images.Image:
        """Return the image as Glance shows it."""
        reply = self._request("GET", image_id)
        self._expect(reply, "showing the image", HTTPStatus.OK)
        return self._parsed(reply)

    def create(self, image: images.Image) -> None:
        """Create an image without data.

        :param image: with ``id``, ``owner`` and all that it shall have.
        :raises answers.Refused: if the image is certain not to exist.
        """
        reply = self._send("POST", "/v2/images", json=image)
        self._expect(reply, "creating the image", HTTPStatus.CREATED)

    def change(self, image_id: str, **properties: Any) -> None:
        """Give properties of an image new values.

        :param properties: such as ``tags`` and ``protected``.
        """
        reply = self._request(
            "PATCH",
            image_id,
            headers={
                "Content-Type": "application/openstack-images-v2.1-json-patch"
            },
            data=json.dumps(
                [
                    {"op": "replace", "path": f"/{name}", "value": value}
                    for name, value in properties.items()
                ]
            ),
        )
        self._expect(reply, "changing the image", HTTPStatus.OK)

    def list_tagged(self, tag: str) -> Iterator[images.Image]:
        """Yield all images with this tag, of every owner.

        One whose deletion Glance did not bring to its end is none any more.
        """
        for hidden in ("false", "true"):
            query = {"tag": tag, "visibility": "all", "os_hidden": hidden}
            for image in self._pages("/v2/images?" + parse.urlencode(query)):
                if image["status"] != _DELETED:
                    yield image

    def _pages(self, path: str | None) -> Iterator[images.Image]:
        while path:
            reply = self._send("GET", path)
            self._expect(reply, "listing images", HTTPStatus.OK)
            page = self._parsed(reply)
            yield from page["images"]
            path = page.get("next")

    def remove(self, image_id: str, *, exists: bool) -> None:
        """See to it that there is no image with this id, now or later.

        :param exists: whether it was created for certain. If not, its
            creation may still be under way, and come after the deletion.
        """
        if not self._delete(image_id) and not exists:
            # Glance takes an id once: used up, it is refused to a latecomer.
            self._use_up(image_id)

    def _delete(self, image_id: str) -> bool:
        """Delete the image, protected or not; tell whether there was one."""
        reply = self._request("DELETE", image_id)
        if reply.status_code == HTTPStatus.FORBIDDEN:
            self.change(image_id, protected=False)
            reply = self._request("DELETE", image_id)
        if reply.status_code == HTTPStatus.BAD_REQUEST and self._is_gone(
            image_id
        ):
            return True
        self._expect(
            reply,
            "deleting the image",
            HTTPStatus.NO_CONTENT,
            HTTPStatus.NOT_FOUND,
        )
        return reply.status_code == HTTPStatus.NO_CONTENT

    def _is_gone(self, image_id: str) -> bool:
        """Tell whether an image that could not be deleted need not be.

        Another request may be deleting it, and be done by now. Or Glance did
        not bring a deletion to its end: the data is gone, and the image is of
        no use, nor can it be deleted.
        """
        reply = self._request("GET", image_id)
        if reply.status_code == HTTPStatus.NOT_FOUND:
            return True
        self._expect(reply, "showing the image", HTTPStatus.OK)
        return bool(self._parsed(reply)["status"] == _DELETED)

    def _use_up(self, image_id: str) -> None:
        reply = self._send("POST", "/v2/images", json={"id": image_id})
        self._expect(
            reply,
            "reserving the id of an image",
            HTTPStatus.CREATED,
            HTTPStatus.CONFLICT,
        )
        self._delete(image_id)

    def download(
        self, image_id: str, first: int, last: int
    ) -> download.Download:
        """Begin to read an image's data; the caller closes the download.

        :param first: the first byte that is wanted.
        :param last: the last one.
        :returns: the whole image's data, where the store has no ranges.
        """
        wanted = {"Range": f"bytes={first}-{last}"}
        reply = self._begin_download(image_id, wanted)
        if reply.status_code in _NO_RANGES:
            reply.close()
            reply = self._begin_download(image_id, {})
        try:
            self._expect(
                reply,
                "reading the image",
                HTTPStatus.OK,
                HTTPStatus.PARTIAL_CONTENT,
            )
            return download.Download(reply, self._read_failed())
        except exception.TransferError:
            reply.close()
            raise

    def _begin_download(
        self, image_id: str, headers: dict[str, str]
    ) -> requests.Response:
        return self._request(
            "GET",
            image_id,
            "/file",
            # What is hashed is what is stored, not a compressed form of it.
            headers={"Accept-Encoding": "identity", **headers},
            timeout=(self._timeouts.connect, self._timeouts.read),
            **images.STREAM,
        )

    def _read_failed(self) -> exception.TransferError:
        return self._error(
            Kind.READ_FAILED,
            f"Reading the image from region {self._region} broke off.",
        )

    def upload(self, image_id: str, data: "SizedBytes | bytes") -> None:
        """Fill an image with its data, in one request."""
        reply = self._request(
            "PUT",
            image_id,
            "/file",
            headers={"Content-Type": "application/octet-stream"},
            data=data,
            timeout=(self._timeouts.connect, self._timeouts.upload_response),
            **images.STREAM,
        )
        with reply:
            self._expect(reply, "uploading the image", HTTPStatus.NO_CONTENT)

    def _request(
        self, method: str, image_id: str, suffix: str = "", **kwargs: Any
    ) -> requests.Response:
        return self._send(
            method, images.image_path(image_id) + suffix, **kwargs
        )

    def _send(
        self, method: str, path: str, **kwargs: Any
    ) -> requests.Response:
        kwargs = {"raise_exc": False, "redirect": False, **kwargs}
        url = self._endpoint_url()
        try:
            reply = self._once_more(method, url + path, kwargs)
            self.latency = reply.elapsed.total_seconds()
            return reply
        except (
            ksa_exc.ConnectionError,
            ksa_exc.RetriableConnectionFailure,
        ) as error:
            LOG.warning("%s %s in %s: %s", method, path, self._region, error)
            raise self._error(
                Kind.UNREACHABLE,
                f"The image service of region {self._region} does not "
                "answer, or broke the connection.",
            ) from error
        except ksa_exc.ClientException as error:
            # The service's own refusals do not raise: this is Keystone's.
            raise self._no_token(error) from error

    def _once_more(
        self, method: str, url: str, kwargs: dict[str, Any]
    ) -> requests.Response:
        """Send a request, and again over a new connection where that is safe.

        A service may close a kept connection in the very moment in which it
        is used again.
        """
        try:
            return self._session.request(url, method, **kwargs)
        except ksa_exc.ConnectFailure as error:
            if method not in _REPEATABLE or not _was_closed(error):
                raise
        return self._session.request(url, method, **kwargs)

    def _parsed(self, reply: requests.Response) -> dict[str, Any]:
        try:
            parsed: dict[str, Any] = reply.json()
        except ValueError as error:
            raise self._error(
                Kind.FAILED,
                f"What answers for the image service of region {self._region} "
                "is none: it showed no image.",
            ) from error
        return parsed

    def _endpoint_url(self) -> str:
        """Return where the service is; this also sees to a valid token."""
        try:
            return images.endpoint_url(
                self._session, self._region, self._interfaces
            )
        except ksa_exc.EndpointNotFound as error:
            raise self._error(Kind.NOT_IN_CATALOGUE, str(error)) from error
        except ksa_exc.ClientException as error:
            raise self._no_token(error) from error

    def _no_token(self, error: Exception) -> exception.TransferError:
        LOG.error("Keystone gives us no token: %s", error)
        return exception.TransferError(
            ErrorCode.IDENTITY_UNAVAILABLE,
            "The identity service does not give the image replicator a token.",
        )

    def _expect(
        self, reply: requests.Response, doing: str, *expected: HTTPStatus
    ) -> None:
        if reply.status_code not in expected:
            raise answers.refusal(reply, self._side, self._region, doing)

    def _error(self, kind: Kind, message: str) -> exception.TransferError:
        return exception.TransferError(ErrorCode.of(self._side, kind), message)


def _was_closed(error: BaseException | None) -> bool:
    """Tell whether the other side closed the connection, and no more."""
    while error is not None:
        if isinstance(error, ConnectionResetError | BrokenPipeError):
            return True
        error = error.__cause__ or error.__context__
    return False


class SizedBytes(Protocol):
    """Chunks whose total size is known, which requests sends as they come.

    With ``__len__`` the request has a Content-Length; without, it would be
    chunked, which not every WSGI server takes.
    """

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[bytes]: ...
