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

"""The image service that the gateway stands near."""

import contextlib
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any
from typing import Final

import requests
import urllib3
from oslo_config import cfg
from oslo_log import log as logging

from image_replicator import images

LOG = logging.getLogger(__name__)

#: Bytes of one read.
_CHUNK: Final = 256 * 1024

#: The errors of a connection.
_FAILURES: Final = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    OSError,
)


class Refused(Exception):
    """The image service does not send the image.

    :param status: of its answer.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"the image service answered {status}")
        self.status = status


class Lost(Exception):
    """The image service does not answer, or its data broke off."""


class Data:
    """The data of a whole image, as the image service sends it.

    :param response: 200, its body unread.
    :ivar size: bytes of the image.
    :raises Lost: if the response does not tell the size.
    """

    def __init__(self, response: requests.Response) -> None:
        self._response = response
        length = response.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise Lost("the image service does not tell the image's size")
        self.size = int(length)

    def chunks(self) -> Iterator[bytes]:
        """Yield the data as it arrives.

        :raises Lost: if it breaks off.
        """
        read = 0
        try:
            while chunk := self._response.raw.read(
                _CHUNK, decode_content=False
            ):
                read += len(chunk)
                yield chunk
        except _FAILURES as error:
            raise Lost(f"the data broke off: {error}") from error
        if read != self.size:
            raise Lost(f"the data ended after {read} bytes")

    def close(self) -> None:
        """End the download."""
        self._response.close()


class ImageSource:
    """Asks the image service with callers' tokens.

    :param conf: has ``[gateway]``.
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        options = conf.gateway
        self._url: str = options.image_endpoint.rstrip("/").removesuffix("/v2")
        self._options: dict[str, Any] = {
            "timeout": (options.connect_timeout, options.read_timeout),
            "verify": options.image_cafile or True,
            # A token never follows a redirect.
            "allow_redirects": False,
        }

    def open(self, image_id: str, token: str) -> Data:
        """Begin to read the data of an image.

        :param image_id: a UUID.
        :raises Refused: if the image service does not send it.
        :raises Lost: if the image service does not answer.
        """
        response = self._get(images.image_path(image_id) + "/file", token)
        if response.status_code == HTTPStatus.NO_CONTENT:
            # Glance answers so for an image without a byte.
            response.headers["Content-Length"] = "0"
        elif response.status_code != HTTPStatus.OK:
            response.close()
            raise Refused(response.status_code)
        try:
            return Data(response)
        except Lost:
            response.close()
            raise

    def judge(self, image_id: str, token: str) -> None:
        """Let the image service judge a token once more.

        :raises Refused: if the image cannot be read with it any more.
        :raises Lost: if the image service does not answer.
        """
        with contextlib.closing(
            self._get(images.image_path(image_id), token)
        ) as response:
            if response.status_code != HTTPStatus.OK:
                raise Refused(response.status_code)
            try:
                status = response.json().get("status")
            except (ValueError, AttributeError) as error:
                raise Lost("the image service shows no image") from error
            if status != "active":
                # Glance answers so where the data of such an image is read.
                raise Refused(HTTPStatus.FORBIDDEN)

    def _get(self, path: str, token: str) -> requests.Response:
        session = requests.Session()
        session.trust_env = False
        try:
            return session.get(
                self._url + path,
                headers={
                    "X-Auth-Token": token,
                    # What is hashed is what is stored.
                    "Accept-Encoding": "identity",
                },
                stream=True,
                **self._options,
            )
        except _FAILURES as error:
            LOG.warning("The image service does not answer: %s", error)
            raise Lost("the image service does not answer") from error
