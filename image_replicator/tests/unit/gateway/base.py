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

"""Base of the gateway's tests: a real server before a fake Glance."""

import pathlib
import threading
from typing import Any
from typing import Final

import fixtures
import requests
import testtools

from image_replicator.conf import loading
from image_replicator.gateway import readings
from image_replicator.gateway import server
from image_replicator.gateway import source
from image_replicator.images import compression
from image_replicator.tests.unit import glances

IMAGE_ID: Final = "335eef3f-551d-46e1-8781-173f43209d48"
PATH: Final = f"/v2/images/{IMAGE_ID}/file"
TOKEN: Final = "t0ken-of-the-caller"

MEBIBYTE: Final = 1 << 20

#: Compressed pieces are asked for with these headers.
COMPRESSED: Final = {compression.HEADER: compression.ZSTD}


class GatewayTestCase(testtools.TestCase):
    """A test with a gateway before a Glance whose store has no ranges.

    :ivar glance: the image service
    :ivar readings: of the gateway
    :ivar url: of the gateway
    """

    def setUp(self) -> None:
        super().setUp()
        self.logged = self.useFixture(fixtures.FakeLogger())
        self.glance = self.useFixture(glances.FakeGlance())
        self.glance.on("GET", "file", self.send_whole)
        self.addCleanup(self._assert_no_secret)

    def _assert_no_secret(self) -> None:
        self.assertNotIn(TOKEN, self.logged.output)

    def send_whole(self, handler: glances.Handler) -> None:
        """Send the whole image, whatever range is asked for."""
        image = self.glance.images.get(handler.image_id)
        if image is None:
            handler.answer(404)
        elif not image["_data"]:
            handler.answer(204, headers={})
        else:
            handler.answer(200, image["_data"])

    def add(self, data: bytes, image_id: str = IMAGE_ID) -> bytes:
        """Add an image, and return its data."""
        self.glance.add(image_id, data)
        return data

    def start(self, **options: Any) -> None:
        """Start the gateway.

        :param options: of ``[gateway]``
        """
        directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        values = {
            "image_endpoint": self.glance.url,
            "bind_port": 0,
            "window_size": 8 * MEBIBYTE,
            **options,
        }
        path = directory / "gateway.conf"
        lines = (f"{name} = {value}" for name, value in values.items())
        path.write_text("\n".join(("[gateway]", *lines)))
        conf = loading.load(config_file=str(path))
        self.readings = readings.Readings(conf, source.ImageSource(conf))
        self.server = server.Server(conf, self.readings)
        self.server.prepare()
        serving = threading.Thread(target=self.server.serve)
        serving.start()
        self.addCleanup(serving.join)
        self.addCleanup(self.server.end)
        scheme = "https" if conf.gateway.cert_file else "http"
        self.port = self.server.bind_addr[1]
        self.url = f"{scheme}://127.0.0.1:{self.port}"

    def get(
        self,
        wanted: str | None = None,
        *,
        path: str = PATH,
        token: str | None = TOKEN,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> requests.Response:
        """Ask the gateway.

        :param wanted: the range
        """
        headers = dict(headers or {})
        if token is not None:
            headers["X-Auth-Token"] = token
        if wanted is not None:
            headers["Range"] = f"bytes={wanted}"
        with requests.Session() as session:
            session.trust_env = False
            return session.request(
                method, self.url + path, headers=headers, timeout=30, **kwargs
            )

    def readings_made(self) -> int:
        """Return how often the Glance was asked for data."""
        return self.glance.count("GET", "file")
