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

"""Failures of TLS connections, with servers in this process."""

import datetime
import functools
import http.server
import pathlib
import ssl
import threading

import fixtures
import testtools
from keystoneauth1 import exceptions as ksa_exc
from keystoneauth1 import session as ksa_session

from devcloud import certificates
from image_replicator.images import recognition

_HOST = "127.0.0.1"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


class _HangsUp(_Handler):
    def handle(self) -> None:
        """Read the client's greeting, and close the connection."""
        self.connection.recv(4096)


class _Server(fixtures.Fixture):
    """Answers each request with 204.

    :param pem: the file of its certificate and key; None for no TLS
    """

    def __init__(
        self,
        pem: pathlib.Path | None,
        handler: type[http.server.BaseHTTPRequestHandler] = _Handler,
    ) -> None:
        super().__init__()
        self._pem = pem
        self._handler = handler

    def _setUp(self) -> None:
        server = http.server.ThreadingHTTPServer((_HOST, 0), self._handler)
        # A client that refuses the certificate closes the connection.
        server.handle_error = lambda *_args: None  # type: ignore[method-assign]
        if self._pem:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._pem)
            server.socket = context.wrap_socket(
                server.socket, server_side=True
            )
        serve = functools.partial(server.serve_forever, 0.01)
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        self.port = server.server_address[1]
        self.addCleanup(server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)


class TestTLSFailures(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def get(
        self, server: _Server, cafile: pathlib.Path | None, host: str = _HOST
    ) -> None:
        self.useFixture(server)
        verify = str(cafile) if cafile else True
        session = ksa_session.Session(verify=verify, timeout=10)
        session.get(f"https://{host}:{server.port}/", authenticated=False)

    def reason(
        self, server: _Server, cafile: pathlib.Path | None, host: str = _HOST
    ) -> str | None:
        """Return the reason for which a GET fails."""
        error = self.assertRaises(
            ksa_exc.ClientException, self.get, server, cafile, host
        )
        return recognition.tls_failure(error)

    def test_a_certificate_that_is_trusted(self) -> None:
        cafile, pem = certificates.self_signed(self.directory)
        self.get(_Server(pem), cafile)

    def test_a_certificate_that_nobody_has_signed(self) -> None:
        _cafile, pem = certificates.self_signed(self.directory)
        self.assertEqual(
            "self-signed certificate", self.reason(_Server(pem), None)
        )

    def test_a_certificate_of_another_host(self) -> None:
        cafile, pem = certificates.self_signed(self.directory)
        self.assertIn(
            "certificate is not valid for 'localhost'",
            str(self.reason(_Server(pem), cafile, "localhost")),
        )

    def test_a_certificate_that_has_expired(self) -> None:
        cafile, pem = certificates.self_signed(
            self.directory, datetime.timedelta(seconds=-1)
        )
        self.assertEqual(
            "certificate has expired", self.reason(_Server(pem), cafile)
        )

    def test_a_service_without_tls(self) -> None:
        self.assertEqual(
            "it does not speak TLS", self.reason(_Server(None), None)
        )

    def test_a_connection_that_breaks_is_no_such_failure(self) -> None:
        self.assertIsNone(self.reason(_Server(None, _HangsUp), None))
