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

"""A real cloud of two regions on 127.0.0.1, with the image replicator in it.

One Keystone and two Glances from PyPI, as processes of their own with SQLite
and temporary directories. Both Glances load the extension through their
``api-paste.ini``. Workers run on demand::

    cloud = self.useFixture(cloud.Cloud())
    image = cloud.images("ot1").create(b"...", name="cirros")
    worker = cloud.start_worker(worker={"poll_interval": 0.2})
    cloud.jobs_client("ot1").post("/jobs", json={...})
"""

import concurrent.futures
import contextlib
import dataclasses
import itertools
import os
import pathlib
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence

import fixtures
from keystoneauth1 import adapter
from keystoneauth1 import session as ks_session
from keystoneauth1.identity import v3

from devcloud import glance
from devcloud import images
from devcloud import keystone
from devcloud import process
from devcloud import proxy
from devcloud import settings

REGIONS = ("ot1", "ot2")
BASE_PATH = "/v2/extension/image_replicator"
SERVICE_USER = "image-replicator"
_GLANCE_USER = "glance"
_SERVICE_PROJECT = "service"


def _silent(step: str) -> None:
    """Report no step."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What a cloud can be told; all of it has a default.

    :ivar keystone_port: None takes a free port
    :ivar glance_ports: by region; a region that is left out gets a free port
    :ivar glance_processes: of each Glance
    :ivar glance_threads: of each of these processes
    :ivar glance_database_urls: by region, of empty databases; a region that is
        left out gets an SQLite file, on which uploads at once may fail
    :ivar database_url: the image replicator's database, as SQLAlchemy has it;
        None makes a SQLite file. It is upgraded, and never dropped
    :ivar proxies: by region; what the catalogue's internal image endpoint of
        that region, which workers use, shall lead through
    :ivar glance_config: laid over both Glances' configuration
    :ivar replicator_config: laid over the extension's and the workers'
    :ivar keep_directory: whether logs and data shall outlive the fixture
    :ivar report: is told, in plain words, what comes next
    """

    keystone_port: int | None = None
    glance_ports: Mapping[str, int] = dataclasses.field(default_factory=dict)
    glance_processes: int = 1
    glance_threads: int = 4
    glance_database_urls: Mapping[str, str] = dataclasses.field(
        default_factory=dict
    )
    database_url: str | None = None
    proxies: Mapping[str, proxy.Proxy] = dataclasses.field(
        default_factory=dict
    )
    glance_config: settings.Settings = dataclasses.field(default_factory=dict)
    replicator_config: settings.Settings = dataclasses.field(
        default_factory=dict
    )
    keep_directory: bool = False
    report: Callable[[str], None] = _silent


class Cloud(fixtures.Fixture):
    """Two regions, ``ot1`` and ``ot2``, and who lives there.

    There is a user ``alice``, member of the projects ``source`` and
    ``destination``, and an administrator ``admin`` of the project ``admin``.

    :ivar auth_url: Keystone's API
    :ivar database_url: the image replicator's database
    :ivar directory: configuration, logs and data
    :ivar glances: the image services, by region
    :ivar identity: what an administrator does in Keystone
    """

    auth_url: str
    database_url: str
    directory: pathlib.Path
    glances: dict[str, glance.Glance]
    identity: keystone.Identity

    def __init__(self, options: Options | None = None) -> None:
        super().__init__()
        self.options = options or Options()

    def setUp(self) -> None:
        """Start it all.

        The first error counts, and comes as it is; fixtures would wrap it.

        :raises PortTaken: before anything was started
        :raises ProcessError: when a service does not come up
        """
        try:
            super().setUp()
        except fixtures.MultipleExceptions as exc:
            raise exc.args[0][1] from None

    def _setUp(self) -> None:
        self._projects: dict[str, str] = {}
        self._users: dict[str, keystone.User] = {}
        self._sessions: dict[tuple[str, str], ks_session.Session] = {}
        self._endpoints: dict[str, str] = {}
        self._service_passwords = {
            name: secrets.token_hex() for name in (SERVICE_USER, _GLANCE_USER)
        }
        self._lock = threading.Lock()
        self._worker_numbers = itertools.count(1)
        self._make_directory()
        self._supervisor = process.Supervisor(
            self.directory, self.options.keep_directory
        )
        self._bind_ports()
        self.useFixture(self._supervisor)
        self._configure()
        self.options.report("Creating the databases.")
        self._start_services()
        self.options.report("Creating users, projects and endpoints.")
        self._populate()

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
            self.glances[region] = service

    # Configuration

    def _service_auth(
        self, user: str, interfaces: Iterable[str] = ("internal",)
    ) -> dict[str, object]:
        """Return the options by which a service logs in to Keystone."""
        return {
            "auth_type": "password",
            "auth_url": self.auth_url,
            "username": user,
            "password": self._service_passwords[user],
            "project_name": _SERVICE_PROJECT,
            "user_domain_name": "Default",
            "project_domain_name": "Default",
            "valid_interfaces": list(interfaces),
        }

    def replicator_settings(
        self, region: str, *overrides: settings.Settings
    ) -> settings.Settings:
        """Return a configuration of the image replicator for a region.

        :param overrides: laid over it, and over the options of this cloud
        """
        own: settings.Settings = {
            "DEFAULT": {"region_id": region},
            "database": {"connection": self.database_url},
            "service_auth": self._service_auth(SERVICE_USER),
            "worker": {"poll_interval": 0.5},
        }
        return settings.merge(own, self.options.replicator_config, *overrides)

    def _configure(self) -> None:
        self.database_url = (
            self.options.database_url
            or f"sqlite:///{self.directory}/image-replicator.sqlite"
        )
        authtoken = {
            **self._service_auth(_GLANCE_USER),
            "www_authenticate_uri": self.auth_url,
        }
        del authtoken["valid_interfaces"]
        for region, service in self.glances.items():
            service.configure(
                authtoken,
                self.options.glance_config,
                self.options.glance_database_urls.get(region),
            )
            settings.write(
                service.replicator_config, self.replicator_settings(region)
            )

    # Processes

    def _start_services(self) -> None:
        """Start Keystone on one side, the Glances on the other."""
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
                # The pool waits for its threads, and they for processes.
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
        """Start a worker; the clean-up stops it, if nobody did.

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

    def signal_keystone(self, number: int) -> None:
        """Send a signal to all of Keystone, if it runs."""
        server = self._keystone.server.process
        if server:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, number)

    # Identity

    def _populate(self) -> None:
        """Create what both services and users need in Keystone."""
        self.identity = keystone.Identity(self._keystone)
        self._users[keystone.ADMIN] = self.identity.administrator()
        self.create_project(_SERVICE_PROJECT)
        for name, password in self._service_passwords.items():
            self.create_user(name, {_SERVICE_PROJECT: "admin"}, password)
        self._create_endpoints()
        for project in ("source", "destination"):
            self.create_project(project)
        self.create_user(
            "alice", {"source": "member", "destination": "member"}
        )

    def _create_endpoints(self) -> None:
        service_id = self.identity.create_service("glance", "image")
        for region, service in self.glances.items():
            if region != REGIONS[0]:
                self.identity.join_region(region, self.auth_url)
            for interface in ("public", "internal"):
                self._endpoints[f"{region}-{interface}"] = (
                    self.identity.create_endpoint(
                        service_id, region, interface, service.url
                    )
                )
        for region, relay in self.options.proxies.items():
            self.route_internal(region, relay)

    def route_internal(self, region: str, relay: proxy.Proxy | None) -> None:
        """Let the internal image endpoint of a region lead through a proxy.

        A worker that runs may keep to the catalogue that it has read.

        :param relay: None leads to Glance itself again
        """
        service = self.glances[region]
        if relay:
            relay.connect_to(service.server.port)
        url = relay.url if relay else service.url
        self.identity.move_endpoint(self._endpoints[f"{region}-internal"], url)

    def create_project(self, name: str, tags: Iterable[str] = ()) -> str:
        """Create a project and return its id.

        :param tags: such as ``region:ot2``
        """
        self._projects[name] = self.identity.create_project(name, tags)
        return self._projects[name]

    def project_id(self, name: str) -> str:
        """Return the id of a project that this fixture created."""
        return self._projects[name]

    def create_user(
        self,
        name: str,
        roles: Mapping[str, str | Iterable[str]],
        password: str | None = None,
    ) -> keystone.User:
        """Create a user with roles on projects.

        :param roles: by the project's name, one role or several
        :param password: None makes a random one
        """
        user = self.identity.create_user(name, password)
        for project, given in roles.items():
            for role in [given] if isinstance(given, str) else given:
                self.identity.grant(user.id, self._projects[project], role)
        self._users[name] = user
        return user

    def user(self, name: str) -> keystone.User:
        """Return a user that this fixture created."""
        return self._users[name]

    def application_credential(
        self, user: str, project: str, unrestricted: bool = False
    ) -> ks_session.Session:
        """Return a session that acts by a new application credential.

        :param unrestricted: whether it may create others of its kind
        """
        credential = self.identity.create_application_credential(
            self._users[user], project, unrestricted
        )
        auth = v3.ApplicationCredential(
            auth_url=self.auth_url,
            application_credential_id=credential.id,
            application_credential_secret=credential.secret,
        )
        return keystone.new_session(auth)

    # Clients

    def session(
        self, user: str = "alice", project: str = "source"
    ) -> ks_session.Session:
        """Return the session of a user in a project, one for all callers."""
        with self._lock:
            known = self._sessions.get((user, project))
            if known is None:
                auth = self._keystone.password_auth(
                    user, self._users[user].password, project
                )
                known = keystone.new_session(auth)
                self._sessions[(user, project)] = known
        return known

    def token(self, user: str = "alice", project: str = "source") -> str:
        """Return a token of a user in a project.

        :raises AssertionError: when Keystone gives none
        """
        token = self.session(user, project).get_token()
        assert token
        return token

    def endpoint(self, region: str) -> str:
        """Return the public image endpoint of a region, without a version."""
        return self.glances[region].url

    def image_client(
        self,
        region: str,
        user: str = "alice",
        project: str = "source",
        session: ks_session.Session | None = None,
    ) -> adapter.Adapter:
        """Return a client of a region's Glance; its paths begin with /v2.

        :param session: acts in place of a user and project
        """
        return adapter.Adapter(
            session or self.session(user, project),
            endpoint_override=self.endpoint(region),
        )

    def images(
        self,
        region: str,
        user: str = "alice",
        project: str = "source",
    ) -> images.Images:
        """Return what a user does with images in a project and region."""
        return images.Images(self.image_client(region, user, project))

    def jobs_client(
        self,
        region: str = REGIONS[0],
        user: str = "alice",
        project: str = "source",
        session: ks_session.Session | None = None,
    ) -> adapter.Adapter:
        """Return a client of the jobs API; its paths begin with /jobs.

        It raises nothing for an answer that is an error.

        :param session: acts in place of a user and project
        """
        return adapter.Adapter(
            session or self.session(user, project),
            endpoint_override=f"{self.endpoint(region)}{BASE_PATH}",
            raise_exc=False,
        )
