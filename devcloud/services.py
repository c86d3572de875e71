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

"""Keystone, two Glances and workers, as processes of this machine."""

import concurrent.futures
import contextlib
import dataclasses
import itertools
import os
import pathlib
import secrets
import shutil
import tempfile
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Protocol

import fixtures

from devcloud import gateway
from devcloud import glance
from devcloud import keystone
from devcloud import process
from devcloud import s3
from devcloud import settings
from devcloud import uwsgi

REGIONS = ("ot1", "ot2")
SERVICE_USER = "image-replicator"
GLANCE_USER = "glance"
SERVICE_PROJECT = "service"


def _silent(step: str) -> None:
    """Report no step."""


class Relay(Protocol):
    """A program before a service, such as a proxy."""

    @property
    def url(self) -> str:
        """Its URL, without a path."""

    def connect_to(self, upstream_port: int) -> None:
        """Forward to a port of 127.0.0.1."""


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of a cloud, which all have defaults.

    :ivar keystone_port: None takes a free port
    :ivar glance_ports: by region; a region that is left out gets a free port
    :ivar glance_processes: of each Glance
    :ivar glance_threads: of each of these processes
    :ivar glance_socket_timeout: seconds for which an upload may send nothing;
        None for uWSGI's default, which is 4
    :ivar glance_token_cache: whether Glance asks Keystone once about a token,
        rather than with each request
    :ivar glance_database_urls: by region, of empty databases; a region that is
        left out gets an SQLite file, on which uploads at once may fail
    :ivar database_url: the image replicator's database, as SQLAlchemy has it;
        None makes a SQLite file. It is upgraded, and never dropped
    :ivar s3_regions: whose Glances keep images in an S3 server, which sends no
        ranges
    :ivar proxies: by region; proxies before the catalogue's internal image
        endpoint of the region, which workers use
    :ivar keystone_config: overrides options of Keystone
    :ivar glance_config: overrides options of both Glances
    :ivar replicator_config: overrides options of the extension and the workers
    :ivar keep_directory: whether logs and data are kept after the fixture
    :ivar report: called with a sentence on each step
    """

    keystone_port: int | None = None
    glance_ports: Mapping[str, int] = dataclasses.field(default_factory=dict)
    glance_processes: int = 1
    glance_threads: int = 4
    glance_socket_timeout: int | None = None
    glance_token_cache: bool = True
    glance_database_urls: Mapping[str, str] = dataclasses.field(
        default_factory=dict
    )
    database_url: str | None = None
    s3_regions: Collection[str] = ()
    proxies: Mapping[str, Relay] = dataclasses.field(default_factory=dict)
    keystone_config: settings.Settings = dataclasses.field(
        default_factory=dict
    )
    glance_config: settings.Settings = dataclasses.field(default_factory=dict)
    replicator_config: settings.Settings = dataclasses.field(
        default_factory=dict
    )
    keep_directory: bool = False
    report: Callable[[str], None] = _silent


class Services(fixtures.Fixture):
    """The processes of a cloud of two regions, without users.

    :ivar auth_url: the URL of Keystone's API
    :ivar database_url: the image replicator's database
    :ivar directory: has configuration, logs and data
    :ivar glances: the image services, by region
    """

    auth_url: str
    database_url: str
    directory: pathlib.Path
    glances: dict[str, glance.Glance]

    def __init__(self, options: Options | None = None) -> None:
        super().__init__()
        self.options = options or Options()

    def setUp(self) -> None:
        """Start all services.

        The first error is raised unchanged; fixtures would wrap it.

        :raises PortTaken: before anything was started
        :raises ProcessError: when a service does not come up
        """
        try:
            super().setUp()
        except fixtures.MultipleExceptions as exc:
            raise exc.args[0][1] from None

    def _setUp(self) -> None:
        self._service_passwords = {
            name: secrets.token_hex() for name in (SERVICE_USER, GLANCE_USER)
        }
        self._worker_numbers = itertools.count(1)
        self._gateway_numbers = itertools.count(1)
        self._make_directory()
        self._supervisor = process.Supervisor(
            self.directory, self.options.keep_directory
        )
        self._bind_ports()
        self.useFixture(self._supervisor)
        self._s3 = s3.S3(self._supervisor)
        if self.options.s3_regions:
            self._s3.start()
        self._configure()
        self.options.report("Creating the databases.")
        self._start_services()

    def _make_directory(self) -> None:
        path = tempfile.mkdtemp(prefix="image-replicator-cloud-")
        self.directory = pathlib.Path(path)
        if not self.options.keep_directory:
            self.addCleanup(shutil.rmtree, path, ignore_errors=True)

    def _bind_ports(self) -> None:
        self._keystone = keystone.Keystone(
            self._supervisor,
            self.directory / "keystone",
            self.options.keystone_port,
            self.options.keystone_config,
        )
        self.addCleanup(self._keystone.server.close)
        self.auth_url = self._keystone.url
        self.glances = {}
        for region in REGIONS:
            service = glance.Glance(
                self._supervisor,
                region,
                self.directory / region,
                self.options.glance_ports.get(region),
            )
            self.addCleanup(service.server.close)
            service.server.processes = self.options.glance_processes
            service.server.threads = self.options.glance_threads
            service.server.socket_timeout = self.options.glance_socket_timeout
            self.glances[region] = service

    # Configuration

    def service_auth(
        self, user: str, interfaces: Iterable[str] = ("internal",)
    ) -> dict[str, object]:
        """Return the options with which a service logs in to Keystone."""
        return {
            "auth_type": "password",
            "auth_url": self.auth_url,
            "username": user,
            "password": self._service_passwords[user],
            "project_name": SERVICE_PROJECT,
            "user_domain_name": "Default",
            "project_domain_name": "Default",
            "valid_interfaces": list(interfaces),
        }

    def replicator_settings(
        self, region: str, *overrides: settings.Settings
    ) -> settings.Settings:
        """Return a configuration of the image replicator for a region.

        :param overrides: override it, and the options of this cloud
        """
        own: settings.Settings = {
            "DEFAULT": {"region_id": region, "state_path": self.directory},
            "database": {"connection": self.database_url},
            "service_auth": self.service_auth(SERVICE_USER),
            "worker": {"poll_interval": 0.5},
        }
        return settings.merge(own, self.options.replicator_config, *overrides)

    def glance_settings(self, region: str) -> settings.Settings:
        """Return what overrides the options of a region's Glance."""
        if region in self.options.s3_regions:
            return settings.merge(
                self.options.glance_config, self._s3.glance_settings()
            )
        return self.options.glance_config

    def _configure(self) -> None:
        self.database_url = (
            self.options.database_url
            or f"sqlite:///{self.directory}/image-replicator.sqlite"
        )
        authtoken = {
            **self.service_auth(GLANCE_USER),
            "www_authenticate_uri": self.auth_url,
            # A token that has expired counts only beside one of a service.
            "service_token_roles": "service",
            "service_token_roles_required": True,
            # Without it, no application credential with access rules counts.
            "service_type": "image",
        }
        del authtoken["valid_interfaces"]
        if not self.options.glance_token_cache:
            authtoken["token_cache_time"] = -1
        for region, service in self.glances.items():
            service.configure(
                authtoken,
                self.glance_settings(region),
                self.options.glance_database_urls.get(region),
            )
            settings.write(
                service.replicator_config,
                self.replicator_settings(
                    region, {"service_auth": {"valid_interfaces": "public"}}
                ),
            )

    # Processes

    def _start_services(self) -> None:
        """Start Keystone and the Glances at the same time."""
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            futures = [
                pool.submit(self._keystone.start, REGIONS[0]),
                pool.submit(self._start_glances, pool),
                pool.submit(self._upgrade_database),
            ]
            try:
                for future in concurrent.futures.as_completed(futures):
                    future.result()
            except BaseException:
                # The pool waits for its threads, which wait for processes.
                self._supervisor.stop_all()
                raise

    def _start_glances(self, pool: concurrent.futures.Executor) -> None:
        copied: glance.Glance | None = None
        for region, service in self.glances.items():
            if region in self.options.glance_database_urls:
                service.create_database()
            elif copied:
                service.copy_database(copied)
            else:
                service.create_database()
                copied = service
        list(pool.map(glance.Glance.start, self.glances.values()))

    def _upgrade_database(self) -> None:
        config = self.glances[REGIONS[0]].replicator_config
        self.manage("--config-file", str(config), "db", "upgrade")

    def manage(self, *arguments: str) -> None:
        """Run ``image-replicator-manage`` to its end.

        :raises process.ProcessError: when it fails, with its output
        """
        command = process.script("image-replicator-manage")
        self._supervisor.run("manage", [command, *arguments])

    def start_worker(
        self,
        region: str = REGIONS[1],
        command: Sequence[str] = (),
        **overrides: settings.Section,
    ) -> process.Process:
        """Start a worker; the clean-up stops it, if it still runs.

        :param command: in place of ``image-replicator-worker``
        :param region: the region that it belongs to
        :param overrides: options by section, as in
            ``start_worker(worker={"concurrency": 1})``
        """
        name = f"worker-{next(self._worker_numbers)}"
        config = settings.write(
            self.directory / f"{name}.conf",
            self.replicator_settings(region, overrides),
        )
        command = command or [process.script("image-replicator-worker")]
        return self._supervisor.spawn(
            name, [*command, "--config-file", str(config)]
        )

    def new_gateway(
        self, region: str = REGIONS[0], **options: object
    ) -> gateway.Gateway:
        """Return a gateway near a region's Glance, which is not started.

        :param options: of ``[gateway]``
        """
        return gateway.Gateway(
            self._supervisor,
            f"gateway-{next(self._gateway_numbers)}",
            self.glances[region].url,
            options,
        )

    def restart_services(self) -> None:
        """Restart all processes, so that their memory is empty."""
        self._keystone.restart()
        for service in self.glances.values():
            service.stop()
            service.start()

    def requests_to_keystone(self) -> list[uwsgi.Request]:
        """Return the requests that Keystone has answered so far."""
        return self._keystone.server.requests()

    def signal_keystone(self, number: int) -> None:
        """Send a signal to all of Keystone, if it runs."""
        server = self._keystone.server.process
        if server:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, number)
