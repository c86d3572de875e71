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

"""Fake image services in threads of this process, with set answers."""

import hashlib
import http.server
import json
import re
import threading
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from urllib import parse

import fixtures
from keystoneauth1 import plugin
from keystoneauth1 import session as ksa_session
from keystoneauth1.access import service_catalog

from image_replicator import catalogue
from image_replicator.errors import Side
from image_replicator.images import client
from image_replicator.images import service as image_service

HOST = "127.0.0.1"
TOKEN = "the-token"

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")
_IMAGES = re.compile(r"/v2/images(/(?P<id>[^/]+)(/file)?)?")

#: Answers one kind of request; writes the whole answer.
Answer = Callable[["Handler"], object]


class Handler(http.server.BaseHTTPRequestHandler):
    """The handler of one request.

    :ivar kind: of the request: ``images``, ``image``, ``file``, or the last
        part of any other path
    """

    glance: "FakeGlance"
    _answered = False

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        self.close_connection = self._answered or not self.glance.hasty
        if self._answered:
            self.glance.closed += 1
            return
        path = parse.urlsplit(self.path).path
        found = _IMAGES.fullmatch(path)
        self.image_id = found["id"] or "" if found else ""
        *_, last = path.split("/")
        self.kind = "image" if last == self.image_id else last
        self.glance.serve(self)
        self._answered = True

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""

    def body(self) -> bytes:
        """Read the request's body.

        :raises ConnectionError: if it is shorter than announced
        """
        size = int(self.headers.get("Content-Length", 0))
        data = self.rfile.read(size)
        if len(data) < size:
            raise ConnectionError("the client broke off")
        return data

    def answer(
        self,
        status: int,
        body: bytes = b"",
        headers: Mapping[str, object] | None = None,
        by_proxy: bool = False,
    ) -> None:
        """Send an answer; the given headers replace Content-Length.

        :param by_proxy: whether a proxy answers in Glance's place.
        """
        self.send_response(status)
        if status == 204:
            # Glance's answers have this type, though they are no page.
            self.send_header("Content-Type", "text/html; charset=UTF-8")
        if not by_proxy:
            self.send_header("X-Openstack-Request-Id", "req-fake")
        for name, value in (headers or {"Content-Length": len(body)}).items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)


def saying(
    status: int, body: bytes = b"", by_proxy: bool = False, **headers: object
) -> Answer:
    """Return a behaviour that reads the body, then sends an answer."""

    def answer(handler: Handler) -> None:
        handler.body()
        named = {name.replace("_", "-"): headers[name] for name in headers}
        named.setdefault("Content-Length", len(body))
        handler.answer(status, body, named, by_proxy)

    return answer


def proxying(status: int, body: bytes = b"", **headers: object) -> Answer:
    """Return a behaviour that sends a proxy's answer."""
    return saying(status, body, by_proxy=True, **headers)


def hanging_up(handler: Handler) -> None:
    """Read the body, and close the connection without an answer."""
    handler.body()


class FakeGlance(fixtures.Fixture):
    """A fake image service with the requests that a worker sends.

    :param hasty: whether it keeps connections, and closes each when it is used
        again; otherwise it keeps none
    :ivar images: by id; keys that begin with ``_`` are not shown
    :ivar seen: method and kind of each request, in order
    :ivar algorithm: of its hashes
    :ivar page_size: the images on a page of a listing
    :ivar closed: the number of kept connections that it closed instead of an
        answer
    """

    def __init__(self, hasty: bool = False) -> None:
        super().__init__()
        self.hasty = hasty
        self.closed = 0
        self.page_size = 2
        self.images: dict[str, dict[str, Any]] = {}
        self.seen: list[tuple[str, str]] = []
        self.requests: list[Handler] = []
        self.algorithm: str | None = "sha512"
        self._used: set[str] = set()
        self._answers: dict[tuple[str, str], Answer] = {}

    def _setUp(self) -> None:
        version = "HTTP/1.1" if self.hasty else "HTTP/1.0"
        handler = type(
            "Handler",
            (Handler,),
            {"glance": self, "protocol_version": version},
        )
        server = http.server.ThreadingHTTPServer((HOST, 0), handler)
        # A thread that hangs must not keep the test from ending.
        server.block_on_close = False
        thread = threading.Thread(
            target=server.serve_forever, args=(0.01,), daemon=True
        )
        thread.start()
        self.url = f"http://{HOST}:{server.server_address[1]}"
        self.addCleanup(server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)

    def on(self, method: str, kind: str, answer: Answer) -> None:
        """Set the behaviour for requests.

        :param kind: of the requests, as in :class:`Handler`
        """
        self._answers[method, kind] = answer

    def count(self, method: str, kind: str) -> int:
        """Return the number of requests of a kind."""
        return self.seen.count((method, kind))

    def add(self, image_id: str, data: bytes, **properties: Any) -> None:
        """Add an active image."""
        self.images[image_id] = {"id": image_id, **properties}
        self._used.add(image_id)
        self.fill(self.images[image_id], data)

    def fill(self, image: dict[str, Any], data: bytes) -> None:
        """Set an image's data."""
        image |= {"_data": data, "status": "active", "size": len(data)}
        if self.algorithm:
            image["os_hash_algo"] = self.algorithm
            image["os_hash_value"] = hashlib.new(
                self.algorithm, data
            ).hexdigest()

    def serve(self, handler: Handler) -> None:
        """Answer a request with the set behaviour, or as Glance does."""
        key = (handler.command, handler.kind)
        self.seen.append(key)
        self.requests.append(handler)
        try:
            if key in self._answers:
                self._answers[key](handler)
            else:
                self.behave(handler)
        except OSError:
            # The client has closed the connection.
            return

    def behave(self, handler: Handler) -> None:
        """Answer as Glance does."""
        if handler.kind != "images" and handler.image_id not in self.images:
            handler.body()
            handler.answer(410 if handler.command == "PUT" else 404)
            return
        getattr(self, f"_{handler.command}_{handler.kind}".lower())(handler)

    def _post_images(self, handler: Handler) -> None:
        image = json.loads(handler.body())
        if image["id"] in self._used:
            handler.answer(409)
            return
        self._used.add(image["id"])
        self.images[image["id"]] = {
            "status": "queued",
            "size": None,
            "protected": False,
            **image,
        }
        handler.answer(201, b"{}")

    def _get_images(self, handler: Handler) -> None:
        """Return a page of the images with a tag."""
        query = dict(parse.parse_qsl(parse.urlsplit(handler.path).query))
        found = [
            image_id
            for image_id, image in self.images.items()
            if query["tag"] in image.get("tags", ())
            and query["os_hidden"] == json.dumps(image.get("os_hidden", False))
        ]
        marker = query.get("marker")
        rest = found[found.index(marker) + 1 if marker else 0 :]
        page = rest[: self.page_size]
        listed: dict[str, Any] = {"images": [self._shown(id_) for id_ in page]}
        if len(rest) > len(page):
            following = parse.urlencode({**query, "marker": page[-1]})
            listed["next"] = f"/v2/images?{following}"
        handler.answer(200, json.dumps(listed).encode())

    def _get_image(self, handler: Handler) -> None:
        shown = self._shown(handler.image_id)
        handler.answer(200, json.dumps(shown).encode())

    def _shown(self, image_id: str) -> dict[str, Any]:
        return {
            name: value
            for name, value in self.images[image_id].items()
            if not name.startswith("_")
        }

    def _patch_image(self, handler: Handler) -> None:
        image = self.images[handler.image_id]
        for change in json.loads(handler.body()):
            image[change["path"].strip("/")] = change["value"]
        handler.answer(200, b"{}")

    def _delete_image(self, handler: Handler) -> None:
        if self.images[handler.image_id].get("protected"):
            handler.answer(403)
            return
        del self.images[handler.image_id]
        handler.answer(204)

    def _get_file(self, handler: Handler) -> None:
        data = self.images[handler.image_id]["_data"]
        found = _RANGE.fullmatch(handler.headers.get("Range", ""))
        if not found:
            handler.answer(200, data)
            return
        first, last = (int(number) for number in found.groups())
        part = data[first : last + 1]
        handler.answer(
            206,
            part,
            {
                "Content-Length": len(part),
                "Content-Range": f"bytes {first}-{last}/{len(data)}",
            },
        )

    def _put_file(self, handler: Handler) -> None:
        data = handler.body()
        image = self.images.get(handler.image_id)
        if image is None:  # by now
            handler.answer(410)
            return
        self.fill(image, data)
        handler.answer(204)


class Credentials(plugin.BaseAuthPlugin):
    """Fake credentials, with the URL of each region's image service.

    :ivar given: the number of tokens; each 401 leads to a new one
    """

    def __init__(self, urls: Mapping[str, str]) -> None:
        super().__init__()
        self._urls = urls
        self.auth_url = "http://127.0.0.1:1/v3"
        self.given = 1
        self.role_names = ["admin"]

    def get_token(self, session: ksa_session.Session, **kw: Any) -> str:
        return f"{TOKEN}-{self.given}"

    def get_access(self, session: ksa_session.Session) -> "Credentials":
        """Return the access of a token, which has only a catalogue."""
        return self

    @property
    def service_catalog(self) -> service_catalog.ServiceCatalog:
        endpoints = [
            {"interface": "internal", "region_id": name, "url": url}
            for name, url in self._urls.items()
        ]
        return service_catalog.ServiceCatalogV3(
            [{"type": "image", "endpoints": endpoints}]
        )

    def invalidate(self) -> bool:
        self.given += 1
        return True


def new_session(**glances: FakeGlance) -> ksa_session.Session:
    """Return a session for these regions."""
    urls = {name: glance.url for name, glance in glances.items()}
    return ksa_session.Session(auth=Credentials(urls), timeout=10)


def catalogue_of(session: ksa_session.Session) -> catalogue.Catalogue:
    """Return the catalogue of a session's token."""
    return catalogue.Catalogue(session, ["internal"])


def image_client(
    session: ksa_session.Session,
    name: str = "ot2",
    side: Side = Side.DESTINATION,
    **timeouts: float,
) -> client.ImageClient:
    """Return a client of a region's images, with a worker's timeouts."""
    waits = {"connect": 10.0, "read": 10.0, "upload_response": 10.0}
    return client.ImageClient(
        image_service.ImageService(session, name, catalogue_of(session), side),
        client.Timeouts(**{**waits, **timeouts}),
    )
