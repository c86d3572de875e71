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

"""Sends one request after the other, and measures the time of each.

It uses bare sockets, as an HTTP client in Python would take longer than the
measured requests.
"""

import dataclasses
import json
import socket
import statistics
import time
from collections.abc import Callable
from typing import Any

from devcloud import ports
from devcloud.bench.measure import Sample
from devcloud.bench.stage import BenchError


@dataclasses.dataclass(frozen=True)
class Request:
    """A request that is sent many times.

    :ivar port: the port on this machine
    :ivar body: sent as JSON; None for a GET
    :ivar status: the expected status
    """

    port: int
    path: str
    token: str
    body: Any = None
    status: int = 200

    def encoded(self) -> bytes:
        """Return the bytes of the request."""
        body = b"" if self.body is None else json.dumps(self.body).encode()
        method = "GET" if self.body is None else "POST"
        return (
            f"{method} {self.path} HTTP/1.1\r\nHost: {ports.HOST}\r\n"
            f"X-Auth-Token: {self.token}\r\nAccept: application/json\r\n"
            "Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        ).encode() + body


def _send(port: int, request: bytes) -> bytes:
    with socket.create_connection((ports.HOST, port)) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def ask(
    request: Request,
    count: int,
    after: Callable[[Any], None] = lambda _answer: None,
) -> Sample:
    """Send a request a number of times, from one client.

    :param after: called with the body of each answer; its time is not counted
    :raises BenchError: if an answer has another status
    """
    encoded = request.encoded()
    times = []
    for _number in range(count):
        begin = time.perf_counter()
        answer = _send(request.port, encoded)
        times.append(time.perf_counter() - begin)
        head, _blank, body = answer.partition(b"\r\n\r\n")
        if head.split()[1:2] != [str(request.status).encode()]:
            raise BenchError(f"{request.path} gave {answer[:500]!r}")
        after(json.loads(body))
    hundredths = statistics.quantiles(times, n=100, method="inclusive")
    return {
        "requests/s": count / sum(times),
        "p50 ms": hundredths[49] * 1e3,
        "p99 ms": hundredths[98] * 1e3,
    }
