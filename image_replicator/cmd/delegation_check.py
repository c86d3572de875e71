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

"""The check of what copies with users' rights need."""

from collections.abc import Iterator
from typing import Any
from typing import Final

from keystoneauth1 import exceptions as ksa_exc
from keystoneauth1.identity import v3
from oslo_config import cfg
from oslo_db import exception as db_exc
from oslo_upgradecheck import upgradecheck

from image_replicator import exception
from image_replicator import identity
from image_replicator import sealing
from image_replicator.conf import service_auth
from image_replicator.db import key_holders
from image_replicator.db import stores

#: The role that Keystone and keystonemiddleware know services by.
_ROLE: Final = "service"

#: Seconds after which a node that does not say which keys it has is gone.
_FORGOTTEN_AFTER: Final = 7 * 24 * 3600.0

_Problem = tuple[upgradecheck.Code, str]


def result(
    conf: cfg.ConfigOpts, keystone: identity.Identity
) -> upgradecheck.Result:
    """Return the result of the check.

    :param conf: of the image replicator, checked.
    """
    problems = [
        *_wrong_with_credentials(conf, keystone),
        *_wrong_with_keys(conf),
    ]
    if not problems:
        return upgradecheck.Result(upgradecheck.Code.SUCCESS)
    return upgradecheck.Result(
        max(code for code, _words in problems),
        " ".join(words for _code, words in problems),
    )


def _wrong_with_credentials(
    conf: cfg.ConfigOpts, keystone: identity.Identity
) -> Iterator[_Problem]:
    auth: Any = keystone.session.auth
    if any(
        isinstance(method, v3.ApplicationCredentialMethod)
        for method in getattr(auth, "auth_methods", ())
    ):
        yield (
            upgradecheck.Code.FAILURE,
            f"[{service_auth.GROUP}] auth_type: Keystone lets an application "
            "credential use no trust; use a user's name and password.",
        )
    try:
        token = keystone.access()
    except ksa_exc.ClientException:
        # Another check says so.
        return
    roles = token.role_names or []
    if _ROLE not in roles:
        yield (
            upgradecheck.Code.FAILURE,
            f"The user {token.username} lacks the role {_ROLE}: openstack "
            f"role add --project {token.project_id} --user {token.user_id} "
            f"{_ROLE}.",
        )
    options = conf.delegation
    if "admin" in roles and "service" not in (options.cleanup, options.legacy):
        yield (
            upgradecheck.Code.WARNING,
            f"The user {token.username} has the role admin, which copies do "
            "not need; once every process runs this release: openstack role "
            f"remove --project {token.project_id} --user {token.user_id} "
            "admin.",
        )


def _wrong_with_keys(conf: cfg.ConfigOpts) -> Iterator[_Problem]:
    """Record this node's keys, and compare them with those of the others."""
    sealer = sealing.Sealer.from_conf(conf)
    own: list[str] = []
    try:
        if sealer:
            sealer.check()
            own = sealer.fingerprints()
    except sealing.KeysUnusable as error:
        yield upgradecheck.Code.FAILURE, f"{error}."
        return
    host: str = conf.worker.host
    try:
        holders = stores.open_stores(conf).key_holders
        if own:
            holders.record(host, own)
        others = holders.seen(_FORGOTTEN_AFTER)
    except (db_exc.DBError, exception.ConfigurationError):
        # Another check says so.
        return
    for other in others:
        if other.host != host and _differ(own, other):
            yield (
                upgradecheck.Code.FAILURE,
                f"The node {other.host} has other sealing keys than this one, "
                f"{host}. Copy the directory [delegation] sealing_keys from "
                "one to the other.",
            )


def _differ(own: list[str], other: key_holders.KeyHolder) -> bool:
    """Tell whether one of two nodes cannot open what the other seals."""
    return (
        not own
        or own[0] not in other.fingerprints
        or other.fingerprints[0] not in own
    )
