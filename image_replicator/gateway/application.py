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

"""The WSGI application: Glance's download of an image, in ranges."""

import contextlib
import itertools
import re
import time
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any
from typing import Final

import webob
from oslo_log import log as logging

from image_replicator import images
from image_replicator.gateway import encoding
from image_replicator.gateway import reading
from image_replicator.gateway import readings
from image_replicator.gateway import source
from image_replicator.images import compression

LOG = logging.getLogger(__name__)

_RANGE: Final = re.compile(r"bytes=(\d{1,18})-(\d{0,18})")

HEALTH: Final = "/healthcheck"

#: The key in the environ of a function that is told whether something is
#: expected of the client: to take a chunk.
EXPECT: Final = "image_replicator.expect"

#: Tells whether something is expected of the client.
Expect = Callable[[bool], None]

#: Bytes that are compressed together. A piece of up to two such blocks is
#: compressed as one, and sent with its length.
_BLOCK: Final = 4 * 1024 * 1024

#: Readings in a row, without a byte in between, that may be lost.
_MOST_LOST: Final = 3

#: The answers of the image service that a reader gets as they are.
_PASSED_ON: Final = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.CONFLICT,
        HTTPStatus.GONE,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
    }
)


class _Answer(Exception):
    """An answer without data.

    :param message: a sentence.
    """

    def __init__(
        self, status: HTTPStatus, message: str, **headers: str
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {
            name.replace("_", "-"): value for name, value in headers.items()
        }


class Application:
    """Answers requests from the readings.

    :param found: the readings.
    :param compress: whether pieces may be compressed.
    """

    def __init__(self, found: readings.Readings, *, compress: bool) -> None:
        self._readings = found
        self._encoder = encoding.Encoder() if compress else None

    def __call__(
        self, environ: dict[str, Any], start_response: Any
    ) -> Iterable[bytes]:
        request = webob.Request(environ)
        try:
            response = self._answer(request)
        except _Answer as answer:
            response = webob.Response(
                f"{answer}\n",
                status=int(answer.status),
                content_type="text/plain",
                charset="UTF-8",
            )
            response.headers.update(answer.headers)
        start_response(response.status, response.headerlist)
        app_iter: Iterable[bytes] = response.app_iter
        return app_iter

    def _answer(self, request: webob.Request) -> webob.Response:
        if request.path_info == HEALTH:
            return webob.Response("OK\n", content_type="text/plain")
        image_id = images.image_of_data(request.path_info)
        if image_id is None:
            raise _Answer(HTTPStatus.NOT_FOUND, "There is nothing here.")
        if request.method != "GET":
            raise _Answer(
                HTTPStatus.METHOD_NOT_ALLOWED, "Only GET is.", Allow="GET"
            )
        token = request.headers.get("X-Auth-Token", "")
        if not token:
            raise _Answer(HTTPStatus.UNAUTHORIZED, "A token is needed.")
        part = _Part(self._readings, image_id, token, *_range(request))
        expect = request.environ.get(EXPECT, lambda _takes: None)
        try:
            return self._with_data(request, part, expect)
        except BaseException:
            part.close()
            raise

    def _with_data(
        self,
        request: webob.Request,
        part: "_Part",
        expect: Expect,
    ) -> webob.Response:
        chunks = part.chunks()
        # Its first bytes tell whether there are any.
        first = _first(chunks)
        response = webob.Response(content_type="application/octet-stream")
        if "Range" in request.headers:
            response.status = int(HTTPStatus.PARTIAL_CONTENT)
            response.headers["Content-Range"] = (
                f"bytes {part.first}-{part.end - 1}/{part.size}"
            )
        length = part.end - part.first
        wanted = request.headers.get(compression.HEADER) == compression.ZSTD
        body: Iterable[bytes] = _told(expect, first, chunks)
        if wanted and self._encoder and length > 2 * _BLOCK:
            response.headers[compression.HEADER] = compression.ZSTD
            response.app_iter = _closing(
                self._blocks(expect, itertools.chain([first], chunks)), part
            )
            # Its length is known at the end only, so it is sent in chunks.
            response.content_length = None
            return response
        if wanted and self._encoder:
            part.keep = True
            whole = [first, *_all(chunks)]
            encoded = self._encoder.encode(whole)
            if encoded is not None:
                response.headers[compression.HEADER] = compression.ZSTD
                length = sum(map(len, encoded))
                body = self._timed(expect, encoded)
            else:
                body = _told(expect, b"", whole)
        response.app_iter = _closing(body, part)
        response.content_length = length
        return response

    def _blocks(
        self, expect: Expect, chunks: Iterable[bytes]
    ) -> Generator[bytes, None, None]:
        """Yield a large piece as it comes, each block as a frame."""
        assert self._encoder is not None  # nosec B101: it was asked for
        block: list[bytes] = []
        size = 0
        for chunk in chunks:
            block.append(chunk)
            size += len(chunk)
            if size >= _BLOCK:
                yield from self._timed(expect, self._encoder.frame(block))
                block, size = [], 0
        if block:
            yield from self._timed(expect, self._encoder.frame(block))

    def _timed(
        self, expect: Expect, encoded: list[bytes]
    ) -> Generator[bytes, None, None]:
        """Yield a compressed piece, and learn how long the link takes."""
        assert self._encoder is not None  # nosec B101: it has encoded
        began = time.perf_counter()
        yield from _told(expect, b"", encoded)
        self._encoder.sent(time.perf_counter() - began)


class _Part:
    """The part of an image that a request asks for.

    :param first: the offset of its first byte.
    :param last: the offset of its last byte; None for the image's last.
    :ivar size: bytes of the image, once the first chunk is there.
    :ivar end: the offset behind the last byte, likewise.
    :ivar keep: whether the bytes stay in the window until the part is closed.
    """

    def __init__(
        self,
        found: readings.Readings,
        image_id: str,
        token: str,
        first: int,
        last: int | None,
    ) -> None:
        self._readings = found
        self._image_id = image_id
        self._token = token
        self.first = first
        self._last = last
        self._used = contextlib.ExitStack()
        self.size = self.end = 0
        self.keep = False

    def chunks(self) -> Generator[bytes, None, None]:
        """Yield the bytes; a reading that is lost is begun anew."""
        offset, lost = self.first, 0
        while not self.size or offset < self.end:
            self._used.close()
            used, request = self._used.enter_context(
                self._readings.request(self._image_id, self._token, offset)
            )
            self._learn(used.size)
            try:
                while offset < self.end:
                    chunk = used.chunk(request, self.end, keep=self.keep)
                    offset += len(chunk)
                    lost = 0
                    yield chunk
            except source.Lost:
                lost += 1
                if lost == _MOST_LOST:
                    raise
            if not self.size:
                return

    def _learn(self, size: int) -> None:
        """Learn the size of the image.

        :raises _Answer: if the part is not in the image.
        :raises Lost: if the image has another size by now.
        """
        if self.size not in (0, size):
            raise source.Lost("the image has another size by now")
        if self.first >= size and (self.first or self._last is not None):
            raise _Answer(
                HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
                f"The image has {size} bytes.",
                Content_Range=f"bytes */{size}",
            )
        self.size = size
        self.end = size if self._last is None else min(self._last + 1, size)

    def close(self) -> None:
        """Let the window move on."""
        self._used.close()


def _range(request: webob.Request) -> tuple[int, int | None]:
    """Return the first and the last offset that a request asks for.

    :returns: zero and None for the whole image.
    :raises _Answer: if it asks for anything but one range from an offset.
    """
    wanted = request.headers.get("Range")
    if wanted is None:
        return 0, None
    found = _RANGE.fullmatch(wanted)
    if found is None or (found[2] and int(found[2]) < int(found[1])):
        raise _Answer(
            HTTPStatus.BAD_REQUEST,
            "The range must be bytes=FIRST-LAST or bytes=FIRST-.",
        )
    return int(found[1]), int(found[2]) if found[2] else None


def _first(chunks: Generator[bytes, None, None]) -> bytes:
    """Return the first chunk; nothing for an image without a byte.

    :raises _Answer: if there is none for another reason.
    """
    with _answering():
        return next(chunks, b"")


def _all(chunks: Iterable[bytes]) -> list[bytes]:
    with _answering():
        return list(chunks)


@contextlib.contextmanager
def _answering() -> Generator[None, None, None]:
    """Turn errors into answers."""
    try:
        yield
    except source.Refused as error:
        known = error.status in _PASSED_ON
        raise _Answer(
            HTTPStatus(error.status) if known else HTTPStatus.BAD_GATEWAY,
            f"The image service answered {error.status}.",
        ) from error
    except readings.Busy as error:
        raise _Answer(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "There is no memory for another image now.",
            Retry_After="5",
        ) from error
    except (source.Lost, reading.TooSlow) as error:
        raise _Answer(
            HTTPStatus.BAD_GATEWAY, "The image service sends no data."
        ) from error


def _told(
    expect: Expect, first: bytes, chunks: Iterable[bytes]
) -> Generator[bytes, None, None]:
    """Yield chunks; tell when the client is expected to take one."""
    for chunk in itertools.chain([first] if first else [], chunks):
        expect(True)
        yield chunk
        expect(False)


class _closing:  # noqa: N801
    """A body that lets the window move on when the server closes it."""

    def __init__(self, body: Iterable[bytes], part: _Part) -> None:
        self._body = iter(body)
        self._part = part

    def __iter__(self) -> "_closing":
        return self

    def __next__(self) -> bytes:
        return next(self._body)

    def close(self) -> None:
        self._part.close()
