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

"""Requests about the images of one region."""

import dataclasses
import json
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any
from typing import Final
from typing import Protocol
from urllib import parse

import requests

from image_replicator import exception
from image_replicator import images
from image_replicator import jobs
from image_replicator.errors import Kind
from image_replicator.images import answers
from image_replicator.images import compression
from image_replicator.images import download
from image_replicator.images import present
from image_replicator.images import service as image_service
from image_replicator.images.answers import Request

#: The status of an image that Glance has begun to delete, and still shows.
_DELETED: Final = "deleted"

#: The content encoding of data that is sent as it is stored.
_IDENTITY: Final = "identity"

#: The statuses with which a service says that it cannot send a part of an
#: image.
_NO_RANGES: Final = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE}
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timeouts:
    """The timeouts of requests to an image service, in seconds.

    :ivar connect: for a connection, and for one chunk to be sent.
    :ivar read: for the next byte of an image's data.
    :ivar upload_response: for the answer to an upload, all bytes sent.
    """

    connect: float
    read: float
    upload_response: float


class ImageClient:
    """Reads, creates, fills and removes the images of one region.

    Every method raises :class:`~image_replicator.exception.TransferError`
    when the image service refuses or does not answer.

    :param service: sends the requests.
    :param timeouts: of the requests.
    """

    def __init__(
        self, service: image_service.ImageService, timeouts: Timeouts
    ) -> None:
        self._service = service
        self._timeouts = timeouts

    @property
    def url(self) -> str:
        """The URL of the service; empty before the first request."""
        return self._service.url

    def renew_right(self) -> None:
        """Prove with a new token that the user still has the right."""
        self._service.renew_right()

    def show(
        self, image_id: str, timeout: float | None = None
    ) -> images.Image:
        """Return the image as Glance shows it.

        :param timeout: seconds that the answer may take; None for as long as
            any request may.
        """
        patience: dict[str, Any] = (
            {} if timeout is None else {"timeout": timeout}
        )
        reply = self._request("GET", image_id, **patience)
        self._service.check(reply, Request.SHOW)
        return self._service.parse(reply, "id", "status")

    def create(self, image: images.Image) -> None:
        """Create an image without data.

        :param image: has ``id``, ``owner`` and all other properties of the
            image.
        :raises answers.Refused: if it is certain that the image does not
            exist.
        """
        reply = self._service.send("POST", "/v2/images", json=image)
        self._service.check(reply, Request.CREATE)

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
        self._service.check(reply, Request.CHANGE)

    def list_tagged(self, tag: str) -> Iterator[images.Image]:
        """Yield all images that have a tag, of every owner.

        Images that Glance has begun to delete, and still lists, are left out.
        """
        for hidden in ("false", "true"):
            query = {"tag": tag, "visibility": "all", "os_hidden": hidden}
            for image in self._pages("/v2/images?" + parse.urlencode(query)):
                if image["status"] != _DELETED:
                    yield image

    def find_present(
        self,
        image: images.Image,
        tenant_id: str,
        name: str | None,
        is_unfinished: Callable[[Iterable[str]], bool],
    ) -> jobs.Present | None:
        """Return a tenant's image with the data of a source image, if any.

        The parameters are those of :func:`present.find`.
        """
        path = present.path(image, tenant_id)
        if path is None:
            return None
        return present.find(
            self._pages(path), image, tenant_id, name, is_unfinished
        )

    def _pages(self, path: str | None) -> Iterator[images.Image]:
        while path:
            reply = self._service.send("GET", path)
            self._service.check(reply, Request.LIST)
            page = self._service.parse(reply, "images")
            yield from page["images"]
            path = page.get("next")

    def remove(self, image_id: str, *, exists: bool) -> None:
        """Delete an image, so that its id cannot be used later.

        :param exists: whether it is certain that the image was created. If
            not, its creation may still be under way, and end after the
            deletion.
        """
        if not self._delete(image_id) and not exists:
            # Glance accepts an id only once, so it refuses a late creation.
            self._use_up(image_id)

    def _delete(self, image_id: str) -> bool:
        """Delete the image, protected or not; return whether it existed."""
        reply = self._request("DELETE", image_id)
        if reply.status_code == HTTPStatus.FORBIDDEN:
            self.change(image_id, protected=False)
            reply = self._request("DELETE", image_id)
        if reply.status_code == HTTPStatus.BAD_REQUEST and self._is_gone(
            image_id
        ):
            return True
        self._service.check(reply, Request.DELETE)
        return reply.status_code == HTTPStatus.NO_CONTENT

    def _is_gone(self, image_id: str) -> bool:
        """Tell whether an image that could not be deleted is gone already.

        Another request may have deleted it. Or Glance began to delete it and
        stopped, so that its data is gone and it cannot be deleted any more.
        """
        reply = self._request("GET", image_id)
        if answers.failure(reply, Request.SHOW) is Kind.NOT_FOUND:
            return True
        self._service.check(reply, Request.SHOW)
        shown = self._service.parse(reply, "status")
        return bool(shown["status"] == _DELETED)

    def _use_up(self, image_id: str) -> None:
        reply = self._service.send("POST", "/v2/images", json={"id": image_id})
        self._service.check(reply, Request.RESERVE)
        self._delete(image_id)

    def _download(
        self,
        reply: requests.Response,
        length: int | None = None,
        tell: Callable[[exception.TransferError | None], None] | None = None,
    ) -> download.Download:
        """Return the data of a response, if it has any; else close it."""
        try:
            self._service.check(reply, Request.DOWNLOAD)
            self._check_encoding(reply)
            return download.Download(reply, self._read_failed(), length, tell)
        except exception.TransferError:
            reply.close()
            raise

    def download_piece(
        self,
        image_id: str,
        first: int,
        last: int,
        size: int,
        tell: Callable[[exception.TransferError | None], None],
    ) -> download.Download:
        """Begin to read a piece of an image, which may come compressed.

        Only a gateway compresses it, and always sends the range.

        :param first: the offset of the first byte.
        :param last: the offset of the last byte.
        :param size: bytes of the image.
        :param tell: as for :class:`~.download.Download`.
        """
        reply = self._begin_download(
            image_id,
            {
                "Range": f"bytes={first}-{last}",
                compression.HEADER: compression.ZSTD,
            },
        )
        piece = self._download(reply, last - first + 1, tell)
        if (piece.ranged, piece.first, piece.total) != (True, first, size):
            piece.close()
            raise self._read_failed()
        return piece

    def download(
        self,
        image_id: str,
        first: int,
        last: int,
        tell: Callable[[exception.TransferError | None], None] | None = None,
    ) -> download.Download:
        """Begin to read an image's data; the caller must close the download.

        :param first: the offset of the first byte.
        :param last: the offset of the last byte.
        :param tell: as for :class:`~.download.Download`.
        :returns: the data; that of the whole image, if the store has no
            ranges.
        """
        wanted = {"Range": f"bytes={first}-{last}"}
        reply = self._begin_download(image_id, wanted)
        if reply.status_code in _NO_RANGES:
            reply.close()
            reply = self._begin_download(image_id, {})
        return self._download(reply, tell=tell)

    def _begin_download(
        self, image_id: str, headers: dict[str, str]
    ) -> requests.Response:
        return self._request(
            "GET",
            image_id,
            "/file",
            # The hashes are of the stored data, not of a compressed form of
            # it.
            headers={"Accept-Encoding": _IDENTITY, **headers},
            timeout=(self._timeouts.connect, self._timeouts.read),
            **images.STREAM,
        )

    def _check_encoding(self, reply: requests.Response) -> None:
        """Refuse compressed data, as its size and its hash differ."""
        encoding = reply.headers.get("Content-Encoding", _IDENTITY)
        if encoding.lower() not in ("", _IDENTITY):
            raise self._service.error(
                Kind.ENCODED,
                f"The image service of region {self._service.region}, or a "
                f"proxy before it, sends the image's data as {encoding[:20]} "
                "although it was asked not to.",
            )

    def _read_failed(self) -> exception.TransferError:
        return self._service.error(
            Kind.READ_FAILED,
            f"Reading the image from region {self._service.region} broke off.",
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
            self._service.check(reply, Request.UPLOAD)

    def _request(
        self, method: str, image_id: str, suffix: str = "", **kwargs: Any
    ) -> requests.Response:
        return self._service.send(
            method, images.image_path(image_id) + suffix, **kwargs
        )


class SizedBytes(Protocol):
    """Chunks of a known total size, which requests sends as they arrive.

    Because of ``__len__`` the request has a Content-Length. Without it, the
    request would be chunked, which not every WSGI server accepts.
    """

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[bytes]: ...
