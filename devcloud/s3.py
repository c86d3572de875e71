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

"""An S3 server, and a Glance's store in it, which sends no ranges."""

from typing import Final

from devcloud import ports
from devcloud import process
from devcloud import settings

_STORE: Final = "s3"


class S3:
    """Moto's server, which keeps the objects in memory.

    :ivar url: of the server
    """

    def __init__(self, supervisor: process.Supervisor) -> None:
        self._port = ports.free_port()
        self.url = f"http://{ports.HOST}:{self._port}"
        self._supervisor = supervisor

    def start(self) -> None:
        """Start the server, and wait until it listens.

        :raises process.ProcessError: when it does not come up
        """
        started = self._supervisor.spawn(
            "s3",
            [
                process.script("moto_server"),
                *("--host", ports.HOST),
                *("--port", str(self._port)),
            ],
        )
        started.wait_until(lambda: ports.is_open(self._port))

    def glance_settings(self) -> settings.Settings:
        """Return the options of a Glance whose images are in this server."""
        return {
            "DEFAULT": {"enabled_backends": f"{_STORE}:s3"},
            "glance_store": {"default_backend": _STORE},
            _STORE: {
                "s3_store_host": self.url,
                "s3_store_access_key": "anyone",
                "s3_store_secret_key": "anything",
                "s3_store_bucket": "glance",
                "s3_store_create_bucket_on_put": True,
                "s3_store_bucket_url_format": "path",
            },
        }
