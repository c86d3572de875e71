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

import threading
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Final

from keystoneauth1 import adapter
from keystoneauth1 import session as ks_session
from keystoneauth1.identity import v3

from devcloud import images
from devcloud import keystone
from devcloud import services

BASE_PATH: Final = "/v2/extension/image_replicator"
REGIONS: Final = services.REGIONS
Options = services.Options


class Cloud(services.Services):
    """A cloud of two regions, ``ot1`` and ``ot2``, with users and projects.

    There is a user ``alice``, member of the projects ``source`` and
    ``destination``, and an administrator ``admin`` of the project ``admin``.

    :ivar identity: an administrator's access to Keystone
    """

    identity: keystone.Identity

    def _setUp(self) -> None:
        self._projects: dict[str, str] = {}
        self._users: dict[str, keystone.User] = {}
        self._sessions: dict[tuple[str, str], ks_session.Session] = {}
        self._endpoints: dict[str, str] = {}
        self._lock = threading.Lock()
        super()._setUp()
        self.options.report("Creating users, projects and endpoints.")
        self._populate()

    # Identity

    def _populate(self) -> None:
        """Create the services, projects and users in Keystone."""
        self.identity = keystone.Identity(self._keystone)
        self._users[keystone.ADMIN] = self.identity.administrator()
        self.create_project(services.SERVICE_PROJECT)
        for name, password in self._service_passwords.items():
            self.create_user(
                name, {services.SERVICE_PROJECT: "service"}, password
            )
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

    def route_internal(
        self, region: str, relay: services.Relay | None
    ) -> None:
        """Route the internal image endpoint of a region through a proxy.

        A running worker keeps the catalogue that it has read for some minutes.
        The API uses the public endpoint.

        :param relay: the proxy; None for Glance itself
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
        self, user: str, project: str, **values: object
    ) -> ks_session.Session:
        """Return a session with a new application credential.

        :param values: as ``unrestricted`` and ``access_rules`` of the API
        """
        credential = self.identity.create_application_credential(
            self._users[user], project, **values
        )
        auth = v3.ApplicationCredential(
            auth_url=self.auth_url,
            application_credential_id=credential.id,
            application_credential_secret=credential.secret,
        )
        return keystone.new_session(auth)

    def trusted(
        self, user: str, project: str, trustee: str
    ) -> ks_session.Session:
        """Return a session of another user with a new trust of a user's.

        :param trustee: who acts with the user's role ``member``
        """
        other = self._users[trustee]
        trust = {
            "trustor_user_id": self._users[user].id,
            "trustee_user_id": other.id,
            "project_id": self._projects[project],
            "impersonation": False,
            "roles": [{"name": "member"}],
        }
        made = self.session(user, project).post(
            f"{self.auth_url}/OS-TRUST/trusts", json={"trust": trust}
        )
        auth = v3.Password(
            auth_url=self.auth_url,
            user_id=other.id,
            password=other.password,
            trust_id=made.json()["trust"]["id"],
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

        :raises AssertionError: when Keystone returns none
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
        """Return a user's access to images in a project and region."""
        return images.Images(self.image_client(region, user, project))

    def jobs_client(
        self,
        region: str = REGIONS[0],
        user: str = "alice",
        project: str = "source",
        session: ks_session.Session | None = None,
    ) -> adapter.Adapter:
        """Return a client of the jobs API; its paths begin with /jobs.

        It raises no error for an answer with an error status.

        :param session: acts in place of a user and project
        """
        return adapter.Adapter(
            session or self.session(user, project),
            endpoint_override=f"{self.endpoint(region)}{BASE_PATH}",
            raise_exc=False,
        )
