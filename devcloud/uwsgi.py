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

"""Serves a WSGI application on a port with uWSGI."""

import dataclasses
import pathlib
import socket
import urllib.error
import urllib.request
from collections.abc import Mapping

from devcloud import ports
from devcloud import process

# uWSGI allocates memory for every descriptor that it may open.
_MAX_DESCRIPTORS = 1024
_LOG_FORMAT = "request %(tmsecs) %(msecs) %(method) %(status) %(uri)"


@dataclasses.dataclass(frozen=True)
class Request:
    """A request that was answered.

    :ivar began: seconds since the epoch
    :ivar seconds: the time until the answer
    """

    began: float
    seconds: float
    method: str
    status: int
    path: str

    @classmethod
    def parse(cls, line: str) -> "Request":
        """Return the request in a line of the log."""
        _word, began, taken, method, status, path = line.split(None, 5)
        return cls(
            int(began) / 1e3, int(taken) / 1e3, method, int(status), path
        )


class Server:
    """A server of a WSGI application on a port, which can be restarted.

    The port is bound at once, so that a port in use is found before any
    process starts, and stays reserved; uWSGI inherits the socket.

    :param name: names it in messages, and its log
    :param module: the application, as ``package.module:callable``
    :param port: to listen on; None for a free port
    :ivar socket_timeout: seconds for which a request's body may send nothing;
        None for uWSGI's default, which is 4
    :raises ports.PortTaken: when the port is in use
    """

    def __init__(self, name: str, module: str, port: int | None) -> None:
        self.name = name
        self.module = module
        self.threads = 4
        self.processes = 1
        self.socket_timeout: int | None = None
        self.health_path = "/"
        self.process: process.Process | None = None
        self._listener: socket.socket | None = ports.listen(port, name)
        self.port = ports.number(self._listener)

    @property
    def url(self) -> str:
        """The URL of the server, without a path."""
        return f"http://{ports.HOST}:{self.port}"

    def close(self) -> None:
        """Close the socket of a port that is not served yet."""
        if self._listener:
            self._listener.close()
            self._listener = None

    def _command(self, descriptor: int) -> list[str]:
        command = [
            process.script("uwsgi"),
            "--http-socket",
            f"fd://{descriptor}",
            "--module",
            self.module,
            "--processes",
            str(self.processes),
            "--threads",
            str(self.threads),
            "--max-fd",
            str(_MAX_DESCRIPTORS),
            # uWSGI closes each connection after its answer. Without this
            # header, a client may send its next request over the closing
            # connection.
            "--add-header",
            "Connection: close",
            "--log-format",
            _LOG_FORMAT,
        ]
        if self.socket_timeout is not None:
            command += ["--socket-timeout", str(self.socket_timeout)]
        switches = "master need-app enable-threads die-on-term no-orphans"
        return command + [f"--{switch}" for switch in switches.split()]

    def start(
        self,
        supervisor: process.Supervisor,
        extra_env: Mapping[str, str],
        timeout: float = 120.0,
    ) -> None:
        """Start the server and wait until the application answers.

        :param timeout: seconds
        :raises process.ProcessError: with the end of its log, when it cannot
        """
        listener = self._listener or ports.listen(self.port, self.name)
        self._listener = listener
        descriptor = listener.fileno()
        self.process = supervisor.spawn(
            self.name, self._command(descriptor), extra_env, [descriptor]
        )
        # Only the child may hold the socket, so that clients notice its end.
        self.close()
        with process.report_on(self.process):
            self._knock(timeout)

    def _knock(self, timeout: float) -> None:
        """Wait in the listen queue until the application answers.

        :raises OSError: when it does not, or with a server error
        """
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        url = f"{self.url}{self.health_path}"
        try:
            opener.open(url, timeout=timeout).close()
        except urllib.error.HTTPError as exc:
            exc.close()
            if exc.code >= 500:
                raise

    def stop(self, supervisor: process.Supervisor) -> None:
        """Stop the server; its port refuses connections afterwards."""
        if self.process:
            supervisor.stop(self.process)
            self.process = None

    def requests(self) -> list[Request]:
        """Return the requests that were answered since the first start.

        :raises process.ProcessError: when it does not run
        """
        return [
            Request.parse(line)
            for line in self.log_path.read_text(errors="replace").splitlines()
            if line.startswith("request ")
        ]

    @property
    def log_path(self) -> pathlib.Path:
        """The path of its log.

        :raises process.ProcessError: when it does not run
        """
        if not self.process:
            raise process.ProcessError(f"{self.name} does not run")
        return self.process.log_path
