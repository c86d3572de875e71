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

"""A server that sends received bytes back."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import fixtures

from devcloud import ports


class Echo(fixtures.Fixture):
    """A server that sends received bytes back.

    :ivar port: where it listens
    """

    def _setUp(self) -> None:
        self._listener = ports.listen(None, "an echo")
        self.port = ports.number(self._listener)
        self.addCleanup(self.close)
        threading.Thread(target=self._run, daemon=True).start()

    def _connections(self) -> Iterator[socket.socket]:
        while True:
            try:
                yield self._listener.accept()[0]
            except OSError:
                return

    def _run(self) -> None:
        for connection in self._connections():
            # A cut connection is no error here.
            with connection, contextlib.suppress(ConnectionResetError):
                while piece := connection.recv(65536):
                    connection.sendall(piece)

    def close(self) -> None:
        """Stop listening."""
        # The socket may be closed already.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
