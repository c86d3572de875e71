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
import json
from collections.abc import Mapping
from typing import Final

from glance import policies
from keystoneauth1 import session as ks_session
from keystoneauth1.identity import v3

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

#: The disk formats that the Glance of :data:`LIMITED` takes; it lacks some of
#: the usual ones.
DISK_FORMATS: Final = ("raw", "qcow2", "iso")
_UPLOADS: Final = 24

# The name is also that of the method, which Keystone has by default.
_PROTOCOL: Final = "mapped"
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
        rules.write_text(json.dumps(_rules()))
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
                "image_format": {"disk_formats": ",".join(DISK_FORMATS)},
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

    # Limits

    def _register_limits(self) -> None:
        client = self.identity.client
        self.identity.grant_on_system(
            self.user(services.GLANCE_USER).id, "reader"
        )
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

    def federate(
        self, project: str, *others: str, minutes: int
    ) -> ks_session.Session:
        """Return the session of a new federated user in a project.

        The user comes from an identity provider of their own, and is a member
        as one of a group that the provider names.

        :param others: further projects that the user is a member of
        :param minutes: for which Keystone remembers the groups after the user
            has logged in; zero for as long as the token lives
        """
        group_id = self.identity.create_group(f"group-of-{project}")
        for each in (project, *others):
            self.identity.grant_to_group(
                group_id, self.project_id(each), "member"
            )
        self._trust_provider(project, group_id, minutes)
        return keystone.new_session(
            v3.Token(
                self.auth_url,
                self._log_in_at_provider(project),
                project_id=self.project_id(project),
            )
        )

    def _trust_provider(self, name: str, group_id: str, minutes: int) -> None:
        """Trust an identity provider, and map its users to a group."""
        rule = {
            "local": [{"user": {"name": "{0}"}}, {"group": {"id": group_id}}],
            "remote": [{"type": "HTTP_OIDC_SUB"}],
        }
        provider = f"{_FEDERATION}/identity_providers/{name}"
        for path, body in (
            (
                provider,
                {
                    "identity_provider": {
                        "enabled": True,
                        "remote_ids": [_issuer(name)],
                        "domain_id": keystone.DOMAIN_ID,
                        "authorization_ttl": minutes,
                    }
                },
            ),
            (f"{_FEDERATION}/mappings/{name}", {"mapping": {"rules": [rule]}}),
            (
                f"{provider}/protocols/{_PROTOCOL}",
                {"protocol": {"mapping_id": name}},
            ),
        ):
            self.identity.client.put(path, json=body)

    def _log_in_at_provider(self, name: str) -> str:
        """Return an unscoped token for what a provider says of its user."""
        answer = keystone.new_session(None).get(
            f"{self.auth_url}{_FEDERATION}/identity_providers/{name}"
            f"/protocols/{_PROTOCOL}/auth",
            headers={
                "OIDC-ISS": _issuer(name),
                "OIDC-SUB": f"federated-{name}",
            },
            authenticated=False,
        )
        return str(answer.headers["X-Subject-Token"])


def _issuer(name: str) -> str:
    return f"https://{name}.example"


def _rules() -> Mapping[str, str]:
    """Return rules of a policy that heed the roles that take a right."""
    return {
        rule.name: f"({rule.check_str}) and not role:{FORBIDDING[rule.name]}"
        for rule in policies.list_rules()
        if rule.name in FORBIDDING
    }
