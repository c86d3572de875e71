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

"""A real Glance with the extension loaded: SQLite, file store, uWSGI."""

import importlib.metadata
import pathlib
import shutil

from devcloud import process
from devcloud import settings
from devcloud import uwsgi

_PASTE_FILE = "glance-api-paste.ini"
_STORES = ("file", "os_glance_staging_store", "os_glance_tasks_store")


def shipped_paste_file() -> pathlib.Path:
    """Find the ``glance-api-paste.ini`` that Glance installs.

    :raises process.ProcessError: when the distribution has none
    """
    distribution = importlib.metadata.distribution("glance")
    for file in distribution.files or ():
        if file.name == _PASTE_FILE:
            return pathlib.Path(str(file.locate())).resolve()
    raise process.ProcessError(f"Glance was installed without {_PASTE_FILE}")


def with_extension(paste: str, config_file: pathlib.Path) -> str:
    """Load the extension as the installation guide describes it.

    :param paste: the text of Glance's own ``glance-api-paste.ini``
    :param config_file: the extension's configuration
    :raises process.ProcessError: when no pipeline has a place for it
    """
    before, after = (
        f" authtoken {then}context " for then in ("", "image_replicator ")
    )
    if before not in paste:
        raise process.ProcessError(f"no pipeline has{before}in it")
    return (
        f"{paste.replace(before, after)}\n"
        "[filter:image_replicator]\n"
        "paste.filter_factory = image_replicator.api:filter_factory\n"
        f"config_file = {config_file}\n"
    )


class Glance:
    """The image service of one region.

    :param directory: for its configuration, database and images
    :param port: to listen on; None for a free port
    :raises ports.PortTaken: when the port is in use
    """

    def __init__(
        self,
        supervisor: process.Supervisor,
        region: str,
        directory: pathlib.Path,
        port: int | None,
    ) -> None:
        self.region = region
        self.directory = directory
        self.server = uwsgi.Server(
            f"glance-{region}", "glance.wsgi.api:application", port
        )
        self.server.health_path = "/healthcheck"
        self._supervisor = supervisor

    @property
    def url(self) -> str:
        """Its endpoint in the catalogue, without a version."""
        return self.server.url

    @property
    def database(self) -> pathlib.Path:
        """Its SQLite database."""
        return self.directory / "glance.sqlite"

    @property
    def replicator_config(self) -> pathlib.Path:
        """The configuration of the extension in this Glance."""
        return self.directory / "image-replicator.conf"

    def configure(
        self,
        authtoken: settings.Section,
        overrides: settings.Settings,
        database_url: str | None = None,
    ) -> None:
        """Write Glance's configuration.

        :param authtoken: the options of ``[keystone_authtoken]``
        :param overrides: override the options of this fixture
        :param database_url: of an empty database; None for an SQLite file
        """
        self.directory.mkdir()
        paste_file = self.directory / _PASTE_FILE
        paste = shipped_paste_file().read_text()
        paste_file.write_text(with_extension(paste, self.replicator_config))
        own: settings.Settings = {
            "DEFAULT": {
                "enabled_backends": "file:file",
                "enabled_import_methods": "[]",
                "public_endpoint": self.url,
            },
            "database": {
                "connection": database_url or f"sqlite:///{self.database}"
            },
            "glance_store": {"default_backend": "file"},
            "keystone_authtoken": authtoken,
            "oslo_concurrency": {"lock_path": self.directory / "lock"},
            "paste_deploy": {"flavor": "keystone", "config_file": paste_file},
        }
        stores: settings.Settings = {
            store: {"filesystem_store_datadir": self.directory / store}
            for store in _STORES
        }
        for store in _STORES:
            (self.directory / store).mkdir()
        path = self.directory / "glance-api.conf"
        settings.write(path, settings.merge(own, stores, overrides))

    def create_database(self) -> None:
        """Create Glance's newest schema in an empty database."""
        self._supervisor.run(
            f"{self.server.name}-db_sync",
            [
                process.script("glance-manage"),
                "--config-file",
                str(self.directory / "glance-api.conf"),
                "db_sync",
            ],
        )

    def copy_database(self, other: "Glance") -> None:
        """Copy the database of a Glance that has not run yet."""
        shutil.copyfile(other.database, self.database)

    def start(self) -> None:
        """Serve the image API and wait until it answers.

        :raises process.ProcessError: with the end of its log, when it fails
        """
        self.server.start(
            self._supervisor, {"OS_GLANCE_CONFIG_DIR": str(self.directory)}
        )

    def stop(self) -> None:
        """Stop serving; connections are refused afterwards."""
        self.server.stop(self._supervisor)
