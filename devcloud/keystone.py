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

"""A real Keystone: SQLite, Fernet tokens, served by uWSGI."""

import base64
import dataclasses
import pathlib
import secrets
import typing
from collections.abc import Iterable

import requests
from keystoneauth1 import adapter
from keystoneauth1 import session as ks_session
from keystoneauth1.identity import v3

from devcloud import process
from devcloud import settings
from devcloud import uwsgi

DOMAIN_ID = "default"
ADMIN = "admin"
# The directory of each kind of key.
_KEY_SECTIONS = ("fernet_tokens", "fernet_receipts", "credential")


@dataclasses.dataclass(frozen=True)
class User:
    """A user with a password."""

    name: str
    id: str
    password: str = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True)
class ApplicationCredential:
    """A credential for a user in one project."""

    id: str
    secret: str = dataclasses.field(repr=False)


def new_session(auth: v3.base.BaseAuth | None) -> ks_session.Session:
    """Return a session that ignores proxies of the environment.

    :param auth: None for requests without a token
    """
    transport = requests.Session()
    transport.trust_env = False
    return ks_session.Session(auth=auth, session=transport)


class Keystone:
    """The identity service of the test cloud.

    :param directory: for its configuration, keys and database
    :param port: to listen on; None for a free port
    :param overrides: override the options of this class
    :raises ports.PortTaken: when the port is in use
    """

    def __init__(
        self,
        supervisor: process.Supervisor,
        directory: pathlib.Path,
        port: int | None,
        overrides: settings.Settings,
    ) -> None:
        self.directory = directory
        self._overrides = overrides
        self.admin_password = secrets.token_hex()
        self.server = uwsgi.Server(
            "keystone", "keystone.wsgi.api:application", port
        )
        self.server.health_path = "/v3"
        self._supervisor = supervisor

    @property
    def url(self) -> str:
        """The URL of its API, version 3, which is users' OS_AUTH_URL."""
        return f"{self.server.url}/v3"

    def _write_keys(self, name: str) -> pathlib.Path:
        """Make a key repository with a primary and a staged key.

        ``keystone-manage fernet_setup`` does the same, but takes 2 s.
        """
        repository = self.directory / name
        repository.mkdir(mode=0o700)
        for key in ("0", "1"):
            path = repository / key
            path.touch(mode=0o600)
            path.write_bytes(base64.urlsafe_b64encode(secrets.token_bytes(32)))
        return repository

    def _write_config(self) -> None:
        repositories: dict[str, dict[str, object]] = {
            name: {"key_repository": self._write_keys(name)}
            for name in _KEY_SECTIONS
        }
        database = f"sqlite:///{self.directory}/keystone.sqlite"
        own: settings.Settings = {
            # The cache is in the memory of the one serving process.
            "cache": {"backend": "dogpile.cache.memory_pickle"},
            # With a cache, a request under way could restore an endpoint that
            # was moved.
            "catalog": {"caching": False},
            "database": {"connection": database},
            "token": {"provider": "fernet"},
            # bcrypt's minimum is enough for passwords that live for minutes.
            "identity": {"password_hash_rounds": 4},
        }
        path = self.directory / "keystone.conf"
        settings.write(
            path, settings.merge(repositories, own, self._overrides)
        )

    def _manage(self, *arguments: str) -> None:
        self._supervisor.run(
            f"keystone-{arguments[0]}",
            [
                process.script("keystone-manage"),
                "--config-file",
                str(self.directory / "keystone.conf"),
                *arguments,
            ],
            # The password is not an argument, as all users can see those.
            {"OS_BOOTSTRAP_PASSWORD": self.admin_password},
        )

    def start(self, region: str) -> None:
        """Configure Keystone, fill its database and serve it.

        :param region: the region that its own endpoints belong to
        """
        self.directory.mkdir()
        self._write_config()
        self._manage("db_sync")
        urls = [
            word
            for interface in ("public", "internal", "admin")
            for word in (f"--bootstrap-{interface}-url", self.url)
        ]
        self._manage("bootstrap", "--bootstrap-region-id", region, *urls)
        self._serve()

    def restart(self) -> None:
        """Restart the process, so that its memory is empty."""
        self.server.stop(self._supervisor)
        self._serve()

    def _serve(self) -> None:
        self.server.start(
            self._supervisor, {"OS_KEYSTONE_CONFIG_DIR": str(self.directory)}
        )

    def password_auth(
        self, user: str, password: str, project: str
    ) -> v3.Password:
        """Return the plugin that logs a user in to a project."""
        return v3.Password(
            auth_url=self.url,
            username=user,
            password=password,
            project_name=project,
            user_domain_id=DOMAIN_ID,
            project_domain_id=DOMAIN_ID,
        )


class Identity:
    """An administrator's access to Keystone, over its REST API.

    Every method raises keystoneauth's errors when Keystone refuses.

    :ivar client: for what is not a method; its paths begin behind /v3
    """

    def __init__(self, keystone: Keystone) -> None:
        auth = keystone.password_auth(ADMIN, keystone.admin_password, ADMIN)
        self._keystone = keystone
        self.client = adapter.Adapter(
            new_session(auth), endpoint_override=keystone.url
        )
        self._roles = {
            role["name"]: role["id"]
            for role in self.client.get("/roles").json()["roles"]
        }

    def _create(
        self, kind: str, values: dict[str, object], path: str | None = None
    ) -> str:
        """Create a resource and return its id."""
        answer = self.client.post(path or f"/{kind}s", json={kind: values})
        return typing.cast(str, answer.json()[kind]["id"])

    def administrator(self) -> User:
        """Return the administrator."""
        user_id = self.client.get_user_id()
        assert user_id
        return User(ADMIN, user_id, self._keystone.admin_password)

    def join_region(self, region: str, url: str) -> None:
        """Create a region that this Keystone also serves.

        :param url: the identity endpoint of that region
        """
        self._create("region", {"id": region})
        services = self.client.get("/services?type=identity").json()
        service_id = services["services"][0]["id"]
        for interface in ("public", "internal"):
            self.create_endpoint(service_id, region, interface, url)

    def create_service(self, name: str, service_type: str) -> str:
        """Create a service and return its id."""
        return self._create("service", {"name": name, "type": service_type})

    def create_endpoint(
        self, service_id: str, region: str, interface: str, url: str
    ) -> str:
        """Create an endpoint and return its id."""
        values: dict[str, object] = {
            "service_id": service_id,
            "region_id": region,
            "interface": interface,
            "url": url,
        }
        return self._create("endpoint", values)

    def move_endpoint(self, endpoint_id: str, url: str) -> None:
        """Change the URL of an endpoint."""
        self.client.patch(
            f"/endpoints/{endpoint_id}", json={"endpoint": {"url": url}}
        )

    def create_project(self, name: str, tags: Iterable[str] = ()) -> str:
        """Create a project in the default domain and return its id."""
        values: dict[str, object] = {
            "name": name,
            "domain_id": DOMAIN_ID,
            "tags": list(tags),
        }
        return self._create("project", values)

    def create_user(self, name: str, password: str | None = None) -> User:
        """Create a user in the default domain.

        :param password: None makes a random one
        """
        password = password or secrets.token_hex()
        values: dict[str, object] = {
            "name": name,
            "domain_id": DOMAIN_ID,
            "password": password,
        }
        return User(name, self._create("user", values), password)

    def create_role(self, name: str) -> None:
        """Create a role that users can be given."""
        self._roles[name] = self._create("role", {"name": name})

    def create_group(self, name: str) -> str:
        """Create a group in the default domain and return its id."""
        return self._create("group", {"name": name, "domain_id": DOMAIN_ID})

    def enable(self, kind: str, resource_id: str, enabled: bool) -> None:
        """Enable or disable a resource.

        :param kind: ``user`` or ``project``
        """
        self.client.patch(
            f"/{kind}s/{resource_id}", json={kind: {"enabled": enabled}}
        )

    def delete(self, kind: str, resource_id: str) -> None:
        """Delete a resource.

        :param kind: such as ``user`` or ``project``
        """
        self.client.delete(f"/{kind}s/{resource_id}")

    def grant(self, user_id: str, project_id: str, role: str) -> None:
        """Give a user a role on a project."""
        role_id = self._roles[role]
        self.client.put(
            f"/projects/{project_id}/users/{user_id}/roles/{role_id}"
        )

    def grant_on_system(self, user_id: str, role: str) -> None:
        """Give a user a role on the whole cloud."""
        self.client.put(f"/system/users/{user_id}/roles/{self._roles[role]}")

    def grant_to_group(
        self, group_id: str, project_id: str, role: str
    ) -> None:
        """Give the users of a group a role on a project."""
        role_id = self._roles[role]
        self.client.put(
            f"/projects/{project_id}/groups/{group_id}/roles/{role_id}"
        )

    def revoke(self, user_id: str, project_id: str, role: str) -> None:
        """Take a role on a project from a user."""
        role_id = self._roles[role]
        self.client.delete(
            f"/projects/{project_id}/users/{user_id}/roles/{role_id}"
        )

    def create_application_credential(
        self, user: User, project: str, **values: object
    ) -> ApplicationCredential:
        """Create an application credential of a user for a project.

        :param values: as ``unrestricted`` and ``access_rules`` of the API
        """
        auth = self._keystone.password_auth(user.name, user.password, project)
        client = adapter.Adapter(
            new_session(auth), endpoint_override=self._keystone.url
        )
        values = {"name": secrets.token_hex(8), **values}
        answer = client.post(
            f"/users/{user.id}/application_credentials",
            json={"application_credential": values},
        ).json()["application_credential"]
        return ApplicationCredential(answer["id"], answer["secret"])
