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

"""The time of a round trip over the network to each service."""

import contextlib
import socket
import struct
import threading
from typing import Final
from urllib import parse

#: The size of Linux's struct tcp_info up to tcpi_rtt, and the offset of
#: tcpi_rtt: it follows 8 bytes and 15 numbers of 4 bytes.
_TCP_INFO_SIZE: Final = 72
_RTT_OFFSET: Final = 68

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def of_connection(connected: socket.socket) -> float | None:
    """Return a connection's round trip in seconds, as the kernel measured it.

    It is the time of the network alone, without that of the service. It is
    None if the system does not provide it.
    """
    with contextlib.suppress(AttributeError, OSError, struct.error):
        info = connected.getsockopt(
            socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE
        )
        (microseconds,) = struct.unpack_from("=I", info, _RTT_OFFSET)
        return float(microseconds) / 1e6
    return None


class RoundTrips:
    """The shortest round trip to each service, by host and port."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shortest: dict[tuple[str, int], float] = {}

    def update(self, host: str, port: int, seconds: float) -> None:
        """Record a round trip."""
        with self._lock:
            known = self._shortest.get((host, port), seconds)
            self._shortest[host, port] = min(known, seconds)

    def shortest(self, url: str) -> float:
        """Return the seconds of a round trip to a service; 0 if unknown."""
        parts = parse.urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
        with self._lock:
            return self._shortest.get((parts.hostname or "", port), 0.0)
