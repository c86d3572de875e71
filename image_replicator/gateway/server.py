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

"""The HTTP server of the gateway.

It is cheroot's: it speaks HTTP/1.1 with kept connections and TLS, answers each
request in a thread, and lets idle connections take none. Threads suit an
application that waits for other servers, and compresses in C.

A watchdog shuts down connections whose client is too slow: cheroot's own
timeout is for one read or write of the socket, however few bytes it moves.
"""

import collections
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from typing import Final

from cheroot import server as cheroot_server
from cheroot import wsgi
from cheroot.ssl import builtin
from oslo_config import cfg
from oslo_log import log as logging

from image_replicator.gateway import application
from image_replicator.gateway import readings

LOG = logging.getLogger(__name__)

#: Seconds between two looks of the watchdog.
_TICK: Final = 0.5

#: The most bytes of a request's headers. A sealed token has a few KiB.
_MOST_HEADERS: Final = 32 * 1024


class Watchdog:
    """Shuts down connections that do not meet their deadlines.

    :param seconds: for the headers of a request, and for each chunk of the
        answer to be taken.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._deadlines: dict[Any, float] = {}
        self._by_client: collections.Counter[str] = collections.Counter()

    @property
    def requests(self) -> int:
        """The number of requests that are read or answered."""
        with self._lock:
            return self._by_client.total()

    def extend(self, connection: Any) -> None:
        """Give a connection the time for its next step."""
        with self._lock:
            self._deadlines[connection] = time.monotonic() + self._seconds

    @contextlib.contextmanager
    def watch(self, connection: Any) -> Iterator[int]:
        """Watch a connection while a request is read and answered.

        :returns: the number of requests of the same client.
        """
        client = str(connection.remote_addr)
        with self._lock:
            self._by_client[client] += 1
            count = self._by_client[client]
        self.extend(connection)
        try:
            yield count
        finally:
            with self._lock:
                self._deadlines.pop(connection, None)
                self._by_client[client] -= 1
                if not self._by_client[client]:
                    del self._by_client[client]

    def pause(self, connection: Any) -> None:
        """Expect nothing of the client, while the gateway is at work."""
        with self._lock:
            self._deadlines.pop(connection, None)

    def shut_down_slow(self) -> None:
        """Shut down the connections that are beyond their deadlines."""
        now = time.monotonic()
        with self._lock:
            slow = [
                connection
                for connection, deadline in self._deadlines.items()
                if deadline < now
            ]
        for connection in slow:
            LOG.warning("%s is too slow", connection.remote_addr)
            self.pause(connection)
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection.socket, socket.SHUT_RDWR)


class _Connection(cheroot_server.HTTPConnection):
    """A connection that is watched while it has a request."""

    def communicate(self) -> bool:
        with self.server.watchdog.watch(self) as count:
            if count > self.server.most_per_client:
                request = self.RequestHandlerClass(self.server, self)
                request.simple_response("503 Service Unavailable", "Too many.")
                return False
            return bool(super().communicate())  # type: ignore[no-untyped-call]


class _WSGIGateway(wsgi.Gateway_10):
    """Lets the application tell the watchdog when to expect something."""

    def get_environ(self) -> Any:
        environ = super().get_environ()  # type: ignore[no-untyped-call]
        watchdog, connection = self.req.server.watchdog, self.req.conn
        # The request is there; what takes long now is ours.
        watchdog.pause(connection)
        environ[application.EXPECT] = lambda takes: (
            watchdog.extend if takes else watchdog.pause
        )(connection)
        return environ


class Server(wsgi.Server):
    """The server.

    :param conf: has ``[gateway]``.
    :param found: the readings.
    """

    ConnectionClass = _Connection
    max_request_header_size = _MOST_HEADERS
    # No request has a body.
    max_request_body_size = 1

    def __init__(self, conf: cfg.ConfigOpts, found: readings.Readings) -> None:
        options = conf.gateway
        super().__init__(
            (options.bind_host, options.bind_port),
            application.Application(found, compress=options.compress),
            numthreads=options.threads,
            max=options.threads,
            server_name="image-replicator-gateway",
            # The watchdog comes first, and says why.
            timeout=2 * options.client_timeout,
            shutdown_timeout=1,
        )
        self.gateway = _WSGIGateway
        self.keep_alive_conn_limit = 4 * options.threads
        self.most_per_client: int = options.max_requests_per_client
        self.watchdog = Watchdog(options.client_timeout)
        self._readings = found
        self._asked_to_end = threading.Event()
        self._ended = threading.Event()
        if options.cert_file:
            self.ssl_adapter = builtin.BuiltinSSLAdapter(
                options.cert_file, options.key_file
            )

    def end(self) -> None:
        """End the server, whether it serves already or not."""
        self._asked_to_end.set()
        # It does nothing before the server is prepared.
        self.stop()

    def serve(self) -> None:
        """Serve until :meth:`end` is called."""
        if self._asked_to_end.is_set():
            self.stop()
        threading.Thread(
            target=self._look_after, name="watchdog", daemon=True
        ).start()
        try:
            super().serve()
        finally:
            self._ended.set()
            self._readings.close()

    def _look_after(self) -> None:
        while not self._ended.wait(_TICK):
            self.watchdog.shut_down_slow()
            self._readings.end_idle()

    def error_log(
        self, msg: str = "", level: int = 20, traceback: bool = False
    ) -> None:
        """Log what cheroot has to tell."""
        LOG.log(level, "%s", msg, exc_info=traceback)
