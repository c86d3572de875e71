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

"""Ends TLS before a server that has none: a process of its own.

As the load balancer in front of a Glance does. A thread for each connection:
OpenSSL does its work while another thread runs.
"""

import argparse
import contextlib
import select
import socket
import ssl
import threading

from devcloud import ports

_PIECE = 1 << 18  # bytes taken at a time
_PATIENCE = 60.0  # seconds for a handshake, or for a piece to be taken


def _pump(client: ssl.SSLSocket, upstream: socket.socket) -> None:
    """Carry bytes both ways until an end closes.

    By one thread, as one TLS connection is not for two.

    :raises OSError: when a connection breaks
    """
    while True:
        # What is decrypted already does not show on the socket.
        ready: list[socket.socket] = [client]
        if not client.pending():
            ready, _writable, _failed = select.select(
                [client, upstream], [], []
            )
        for source, sink in ((client, upstream), (upstream, client)):
            if source in ready:
                piece = source.recv(_PIECE)
                if not piece:
                    return
                sink.sendall(piece)


def _serve(
    client: socket.socket, context: ssl.SSLContext, upstream_port: int
) -> None:
    """Carry one connection to its end."""
    client.settimeout(_PATIENCE)
    # A connection that breaks is its two ends' business.
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        stack.enter_context(client)
        secure = stack.enter_context(
            context.wrap_socket(client, server_side=True)
        )
        upstream = stack.enter_context(
            socket.create_connection((ports.HOST, upstream_port), _PATIENCE)
        )
        _pump(secure, upstream)


def main() -> None:
    """Serve a listening socket that was inherited, until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("descriptor", type=int)
    parser.add_argument("upstream_port", type=int)
    parser.add_argument("certificate", help="with its key")
    options = parser.parse_args()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(options.certificate)
    listener = socket.socket(fileno=options.descriptor)
    while True:
        client, _address = listener.accept()
        threading.Thread(
            target=_serve,
            args=(client, context, options.upstream_port),
            daemon=True,
        ).start()


if __name__ == "__main__":
    main()
