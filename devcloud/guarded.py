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


"""A cloud that asks for all that an operator can have it ask for.

Its users come from a password, or from an identity provider. Glance in ``ot2``
enforces Keystone's limits, the one in ``ot1`` a storage quota. Both reserve
properties and operations for roles. They have databases in PostgreSQL, and can
take many uploads at the same time.
"""

import dataclasses
from collections.abc import Mapping
from typing import Final

from glance import policies
from keystoneauth1 import session as ks_session
from keystoneauth1.identity import v3
from oslo_serialization import jsonutils

from devcloud import cloud
from devcloud import keystone
from devcloud import postgresql
from devcloud import services
from devcloud import settings

#: The region whose Glance enforces Keystone's limits.
LIMITED: Final = "ot2"

#: Bytes that a project may store in the other region.
STORAGE_QUOTA: Final = 32 << 20

#: A role that takes an operation from whoever has it, by the operation's name
#: in Glance's policy.
FORBIDDING: Final = {
    name: f"no_{name}"
    for name in ("download_image", "add_image", "upload_image")
}

#: The role whose users alone may set properties that begin with ``paid_``.
#: Properties that begin with ``secret_`` belong to administrators.
PAYING: Final = "paying"

_ALL: Final = "@"
_PROTECTIONS: Final = {
    "secret_.*": dict.fromkeys(
        ("create", "read", "update", "delete"), keystone.ADMIN
    ),
    "paid_.*": {
        "create": PAYING,
        "read": _ALL,
        "update": PAYING,
        "delete": _ALL,
    },
    ".*": dict.fromkeys(("create", "read", "update", "delete"), _ALL),
}

_LIMITS: Final = (
    "image_size_total",
    "image_stage_total",
    "image_count_total",
    "image_count_uploading",
)
_PLENTY: Final = 1000
_UPLOADS: Final = 24

_PROVIDER: Final = "provider"
# The name is also that of the method, which Keystone has by default.
_PROTOCOL: Final = "mapped"
_ISSUER: Final = "https://provider.example"
_FEDERATION: Final = "/OS-FEDERATION"


class GuardedCloud(cloud.Cloud):
    """The cloud of this module."""

    def __init__(self) -> None:
        # What the provider says of a user comes in headers, as from
        # mod_auth_openidc.
        federation = {
            "remote_id_attribute": "HTTP_OIDC_ISS",
            "assertion_prefix": "HTTP_OIDC_",
        }
        super().__init__(
            cloud.Options(
                glance_threads=_UPLOADS,
                keystone_config={"federation": federation},
            )
        )

    def _setUp(self) -> None:
        server = self.useFixture(postgresql.PostgreSQL())
        urls = {
            region: server.create_database(f"glance_{region}")
            for region in services.REGIONS
        }
        self.options = dataclasses.replace(
            self.options, glance_database_urls=urls
        )
        super()._setUp()

    def glance_settings(self, region: str) -> settings.Settings:
        """Return what overrides the options of a region's Glance."""
        directory = self.directory / f"guards-{region}"
        directory.mkdir()
        rules = directory / "policy.yaml"
        rules.write_text(jsonutils.dumps(_rules()))
        protections = settings.write(
            directory / "property-protections.conf", _PROTECTIONS
        )
        own: settings.Settings = {
            "DEFAULT": {
                "property_protection_file": protections,
                "property_protection_rule_format": "roles",
            },
            "oslo_policy": {"policy_file": rules},
        }
        if region == LIMITED:
            quota: settings.Settings = {
                "DEFAULT": {"use_keystone_limits": True},
                "oslo_limit": self._limits_section(region),
            }
        else:
            quota = {"DEFAULT": {"user_storage_quota": f"{STORAGE_QUOTA}B"}}
        return settings.merge(super().glance_settings(region), own, quota)

    def _limits_section(self, region: str) -> settings.Section:
        """Return the options with which Glance reads Keystone's limits."""
        section = self.service_auth(services.GLANCE_USER)
        del section["valid_interfaces"], section["project_name"]
        del section["project_domain_name"]
        return {
            **section,
            "system_scope": "all",
            "endpoint_service_type": "image",
            "endpoint_region_name": region,
            "endpoint_interface": "public",
        }

    def _populate(self) -> None:
        super()._populate()
        for role in (*FORBIDDING.values(), PAYING):
            self.identity.create_role(role)
        self._register_limits()
        self._federate()

    # Limits

    def _register_limits(self) -> None:
        client = self.identity.client
        reader = client.get("/roles?name=reader").json()["roles"][0]["id"]
        glance = self.user(services.GLANCE_USER).id
        client.put(f"/system/users/{glance}/roles/{reader}")
        images = client.get("/services?type=image").json()["services"][0]
        self._limited = {"service_id": images["id"], "region_id": LIMITED}
        limits = [
            {
                **self._limited,
                "resource_name": name,
                "default_limit": _PLENTY,
            }
            for name in _LIMITS
        ]
        client.post("/registered_limits", json={"registered_limits": limits})

    def limit(self, project: str, **limits: int) -> None:
        """Limit a project in the region :data:`LIMITED`.

        :param project: by its name
        :param limits: by resource; ``image_size_total`` is in MiB
        """
        project_id = self.project_id(project)
        values = [
            {
                **self._limited,
                "project_id": project_id,
                "resource_name": name,
                "resource_limit": limit,
            }
            for name, limit in limits.items()
        ]
        self.identity.client.post("/limits", json={"limits": values})

    # Federated users

    def _federate(self) -> None:
        """Trust an identity provider."""
        client = self.identity.client
        client.put(
            f"{_FEDERATION}/identity_providers/{_PROVIDER}",
            json={
                "identity_provider": {
                    "enabled": True,
                    "remote_ids": [_ISSUER],
                    "domain_id": keystone.DOMAIN_ID,
                }
            },
        )

    def federate(
        self, project: str, *others: str, minutes: int
    ) -> ks_session.Session:
        """Return the session of a new federated user in a project.

        The user is a member as one of a group that the provider names.

        :param others: further projects that the user is a member of
        :param minutes: for which Keystone remembers the groups after the user
            has logged in; zero for as long as the token lives
        """
        name = f"group-of-{project}"
        group_id = self.identity.create_group(name)
        for each in (project, *others):
            self.identity.grant_to_group(
                group_id, self.project_id(each), "member"
            )
        self._map(name, group_id, minutes)
        unscoped = self._log_in_at_provider(f"user-of-{project}", name)
        return keystone.new_session(
            v3.Token(
                self.auth_url, unscoped, project_id=self.project_id(project)
            )
        )

    def _map(self, name: str, group_id: str, minutes: int) -> None:
        """Map the provider's users of a group to Keystone's group."""
        client = self.identity.client
        provider = f"{_FEDERATION}/identity_providers/{_PROVIDER}"
        client.patch(
            provider,
            json={"identity_provider": {"authorization_ttl": minutes}},
        )
        rules = [
            {
                "local": [
                    {"user": {"name": "{0}"}},
                    {"group": {"id": group_id}},
                ],
                "remote": [
                    {"type": "HTTP_OIDC_SUB"},
                    {"type": "HTTP_OIDC_GROUP", "any_one_of": [name]},
                ],
            }
        ]
        client.put(
            f"{_FEDERATION}/mappings/{name}",
            json={"mapping": {"rules": rules}},
        )
        client.request(
            f"{provider}/protocols/{_PROTOCOL}",
            "PATCH" if self._has_protocol() else "PUT",
            json={"protocol": {"mapping_id": name}},
        )

    def _has_protocol(self) -> bool:
        answer = self.identity.client.get(
            f"{_FEDERATION}/identity_providers/{_PROVIDER}/protocols"
        )
        return bool(answer.json()["protocols"])

    def _log_in_at_provider(self, user: str, group: str) -> str:
        """Return an unscoped token for what the provider says of a user."""
        answer = keystone.new_session(None).get(
            f"{self.auth_url}{_FEDERATION}/identity_providers/{_PROVIDER}"
            f"/protocols/{_PROTOCOL}/auth",
            headers={
                "OIDC-ISS": _ISSUER,
                "OIDC-SUB": user,
                "OIDC-GROUP": group,
            },
            authenticated=False,
        )
        return str(answer.headers["X-Subject-Token"])


def _rules() -> Mapping[str, str]:
    """Return rules of a policy that heed the roles that take a right."""
    return {
        rule.name: f"({rule.check_str}) and not role:{FORBIDDING[rule.name]}"
        for rule in policies.list_rules()
        if rule.name in FORBIDDING
    }
