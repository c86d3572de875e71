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

"""A gateway near the image service of a region."""

from devcloud import ports
from devcloud import process
from devcloud import settings


class Gateway:
    """``image-replicator-gateway`` as a process, which may be ended.

    :param name: of the process
    :param image_endpoint: of the image service that it reads from
    :param options: further ones of ``[gateway]``
    :ivar port: on which it listens
    :ivar url: of the gateway
    :ivar process: while it runs
    """

    def __init__(
        self,
        supervisor: process.Supervisor,
        name: str,
        image_endpoint: str,
        options: settings.Section,
    ) -> None:
        self._supervisor = supervisor
        self._name = name
        self.port = ports.free_port()
        self.url = f"http://{ports.HOST}:{self.port}"
        self._config = settings.write(
            supervisor.directory / f"{name}.conf",
            {
                "gateway": {
                    "bind_host": ports.HOST,
                    "bind_port": self.port,
                    "image_endpoint": image_endpoint,
                    **options,
                }
            },
        )
        self.process: process.Process | None = None

    def log(self) -> str:
        """Return what it has logged."""
        path = self._supervisor.directory / f"{self._name}.log"
        return path.read_text()

    def signal(self, number: int) -> None:
        """Send a signal to it, if it runs."""
        if self.process:
            self.process.send_signal(number)

    def kill(self) -> None:
        """Kill it, and wait for its end."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def start(self) -> process.Process:
        """Start it, and wait until it listens.

        :raises process.ProcessError: when it does not come up
        """
        command = process.script("image-replicator-gateway")
        self.process = self._supervisor.spawn(
            self._name, [command, "--config-file", str(self._config)]
        )
        self.process.wait_until(lambda: ports.is_open(self.port))
        return self.process
