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

"""Debian's nginx and HAProxy as reverse proxies before services.

Each listens on a port of 127.0.0.1, has the usual time-outs of deployments,
and serves plain HTTP, or TLS with a self-signed certificate::

    front = self.useFixture(fronts.Nginx({"client_max_body_size": "1m"}))
    cloud.route_internal("ot2", front)

If a program is missing, the test is skipped; in CI (CI=true) it fails.
"""

import pathlib
import shutil
import socket
import tempfile
import time
from collections.abc import Mapping
from typing import ClassVar
from typing import Final

import fixtures

from devcloud import certificates
from devcloud import ports
from devcloud import process
from devcloud import programs

_PATIENCE: Final = 10.0  # seconds for a program to listen


class Front(fixtures.Fixture):
    """A reverse proxy before one service.

    :param tls: whether to serve TLS
    :cvar program: the name of the program
    :ivar port: the port on which it listens
    :ivar cafile: the certificate that clients must trust; None without TLS
    """

    program: ClassVar[str]

    port: int
    cafile: pathlib.Path | None

    def __init__(self, tls: bool) -> None:
        super().__init__()
        self._tls = tls
        self._process: process.Process | None = None

    def _setUp(self) -> None:
        self._path = programs.find(self.program)
        path = tempfile.mkdtemp(prefix=f"image-replicator-{self.program}-")
        self.directory = pathlib.Path(path)
        self.addCleanup(shutil.rmtree, path, ignore_errors=True)
        self.cafile = self._certificate = None
        if self._tls:
            self.cafile, self._certificate = certificates.self_signed(
                self.directory
            )
        self._supervisor = process.Supervisor(self.directory)
        self.useFixture(self._supervisor)
        self.port = ports.free_port()

    @property
    def url(self) -> str:
        """The URL of the proxy, without a path."""
        return f"{'https' if self._tls else 'http'}://{ports.HOST}:{self.port}"

    def connect_to(self, upstream_port: int) -> None:
        """Forward to another port of 127.0.0.1.

        :raises process.ProcessError: when the program does not listen then
        """
        self._start(self._config(upstream_port))

    def _start(self, text: str) -> None:
        """Restart the program with a configuration.

        :param text: the configuration
        :raises process.ProcessError: when it does not listen then
        """
        self.stop()
        config = self.directory / f"{self.program}.conf"
        config.write_text(text)
        started = self._supervisor.spawn(self.program, self._command(config))
        self._process = started
        with process.report_on(started):
            self._knock(started)

    def _knock(self, started: process.Process) -> None:
        """Wait until the program listens.

        :raises OSError: when it does not
        """
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                socket.create_connection((ports.HOST, self.port)).close()
            except ConnectionRefusedError:
                if not started.running or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """Stop the program, if it runs; connections are refused afterwards."""
        if self._process:
            self._supervisor.stop(self._process)
            self._process = None

    def log(self) -> str:
        """Return the program's log of requests and errors."""
        return (self.directory / f"{self.program}.log").read_text()

    def _config(self, upstream_port: int) -> str:
        """Return the text of the program's configuration."""
        raise NotImplementedError

    def _command(self, config: pathlib.Path) -> list[str]:
        raise NotImplementedError


class Nginx(Front):
    """An nginx before a Glance.

    It forwards an upload without buffering it or limiting its size, and keeps
    clients' connections. All other settings are nginx's defaults: 60 s for
    each of its time-outs.

    :param directives: override those of its ``server`` section, such as
        ``{"client_max_body_size": "1m"}`` or ``{"return": "404"}``
    """

    program = "nginx"

    def __init__(
        self, directives: Mapping[str, str] | None = None, tls: bool = False
    ) -> None:
        super().__init__(tls)
        self._directives = directives or {}

    def _config(self, upstream_port: int) -> str:
        own = {
            "listen": f"{ports.HOST}:{self.port}{' ssl' * self._tls}",
            "client_max_body_size": "0",
            "proxy_request_buffering": "off",
            "proxy_http_version": "1.1",
        }
        if self._certificate:
            own["ssl_certificate"] = str(self._certificate)
            own["ssl_certificate_key"] = str(self._certificate)
        server = "\n".join(
            f"    {name} {value};"
            for name, value in {**own, **self._directives}.items()
        )
        stores = "\n".join(
            f"  {kind}_temp_path {self.directory}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        # A master that runs as root would give its files to another user.
        return f"""\
daemon off;
user root;
pid {self.directory}/nginx.pid;
error_log stderr;
events {{}}
http {{
  access_log /dev/stdout;
{stores}
  server {{
{server}
    location / {{
      proxy_pass http://{ports.HOST}:{upstream_port};
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
    }}
  }}
}}
"""

    def _command(self, config: pathlib.Path) -> list[str]:
        prefix = str(self.directory)
        return [self._path, "-p", prefix, "-e", "stderr", "-c", str(config)]


class HAProxy(Front):
    """An HAProxy before a Glance; it keeps clients' connections.

    :param timeouts: override ``{"connect": "5s", "client": "60s", "server":
        "60s"}``
    """

    program = "haproxy"

    def __init__(
        self, timeouts: Mapping[str, str] | None = None, tls: bool = False
    ) -> None:
        super().__init__(tls)
        own = {"connect": "5s", "client": "60s", "server": "60s"}
        self._timeouts = {**own, **(timeouts or {})}

    def _config(self, upstream_port: int) -> str:
        timeouts = "\n".join(
            f"  timeout {name} {value}"
            for name, value in self._timeouts.items()
        )
        crt = f" ssl crt {self._certificate}" if self._certificate else ""
        return f"""\
global
  maxconn 256
  log stdout format raw daemon
defaults
  mode http
  log global
  option httplog
  option forwardfor
{timeouts}
frontend image
  bind {ports.HOST}:{self.port}{crt}
  http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
  default_backend glance
backend glance
  server glance {ports.HOST}:{upstream_port}
"""

    def _command(self, config: pathlib.Path) -> list[str]:
        return [self._path, "-db", "-f", str(config)]
