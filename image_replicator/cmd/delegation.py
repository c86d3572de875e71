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

"""The ``delegation`` commands: users' trusts, and keys of sealed tokens."""

import datetime
from collections.abc import Iterator
from typing import Any
from typing import Final

from keystoneauth1 import exceptions as ksa_exc
from oslo_config import cfg

from image_replicator import exception
from image_replicator import identity
from image_replicator import sealing
from image_replicator.authority import Delegation
from image_replicator.cmd import arguments
from image_replicator.cmd import output
from image_replicator.db import delegations as db_delegations
from image_replicator.db import stores

_LISTED: Final = {
    "trust_id": "Trust",
    "user_id": "User",
    "project_id": "Project",
    "roles": "Roles",
    "used_at": "Used",
    "expires_at": "Expires",
    "jobs": "Jobs",
}

_PURGED: Final = {
    "trust_id": "Trust",
    "user_id": "User",
    "project_id": "Project",
    "deleted": "Deleted in Keystone",
}

#: The most trusts that one call forgets.
_BATCH_SIZE: Final = 1000

#: The most hours that can be asked for.
_HOURS: Final = 1000000


def _rotate(conf: cfg.ConfigOpts) -> int:
    sealer = sealing.Sealer.from_conf(conf)
    if sealer is None:
        raise exception.ConfigurationError(
            "[delegation] sealing_keys: not set; name a directory, such as "
            "/etc/image-replicator/sealing-keys"
        )
    sealer.rotate(conf.delegation.max_active_keys)
    primary, *others = sealer.fingerprints()
    print(f"Directory: {sealer.directory}")
    print(f"Key that seals: {primary}")
    print(f"Further keys: {', '.join(others)}")
    print(
        "Copy the directory to every node of the API and every worker, with "
        "its owner, group and modes, before the next rotation."
    )
    return 0


def _list(conf: cfg.ConfigOpts) -> int:
    found = stores.open_stores(conf).delegations.list()
    output.show(
        conf.command.format,
        _LISTED,
        [
            {
                **_shown(each.delegation),
                "roles": ", ".join(each.delegation.roles),
                "jobs": each.jobs,
            }
            for each in found
        ],
    )
    return 0


def _shown(known: Delegation) -> dict[str, Any]:
    return {
        "trust_id": known.trust_id,
        "user_id": known.user_id,
        "project_id": known.project_id,
        "used_at": _time(known.used_at),
        "expires_at": _time(known.expires_at),
    }


def _time(value: datetime.datetime | None) -> str | None:
    return value.isoformat(timespec="seconds") + "Z" if value else None


def _purge(conf: cfg.ConfigOpts) -> int:
    hours: float | None = conf.command.older_than
    keep = conf.delegation.keep if hours is None else hours * 3600
    known = stores.open_stores(conf).delegations
    output.show(
        conf.command.format,
        _PURGED,
        [
            {
                "trust_id": purged.trust_id,
                "user_id": purged.user_id,
                "project_id": purged.project_id,
                "deleted": deleted,
            }
            for purged, deleted in _purged(conf, known, keep)
        ],
    )
    return 0


def _purged(
    conf: cfg.ConfigOpts, known: db_delegations.Delegations, keep: float
) -> Iterator[tuple[Delegation, bool]]:
    """Forget the trusts that no job needs.

    :param keep: seconds since they were last used.
    :returns: each, and whether it was deleted in Keystone as well.
    """
    keystone = identity.Identity(conf)
    stays = 0
    for unused in known.unused(None, keep, _BATCH_SIZE):
        if not known.remove_unused(unused.trust_id, keep):
            # A job needs it by now.
            continue
        deleted = True
        try:
            keystone.remove_trust(None, unused.trust_id)
        except ksa_exc.ClientException as error:
            deleted = False
            stays += 1
            reason = error
        yield unused, deleted
    if stays:
        output.complain(
            f"{stays} trusts stay in Keystone until they expire or their "
            "users delete them, as the credentials of [service_auth] may not "
            f"delete them; those of an administrator may ({reason})"
        )


def add_commands(subparsers: Any) -> None:
    delegation = subparsers.add_parser(
        "delegation", help="look after the rights that users gave us"
    )
    actions = delegation.add_subparsers(dest="action", required=True)

    rotate = actions.add_parser(
        "rotate", help="make a new key that seals users' tokens"
    )
    rotate.set_defaults(func=_rotate)

    listed = actions.add_parser("list", help="show the trusts that are known")
    output.add_format(listed)
    listed.set_defaults(func=_list)

    purge = actions.add_parser(
        "purge", help="forget trusts that no job needs, and delete them"
    )
    purge.add_argument(
        "--older-than",
        type=arguments.age(_HOURS),
        metavar="HOURS",
        help="hours since a job was created with them "
        "(default: [delegation] keep)",
    )
    output.add_format(purge)
    purge.set_defaults(func=_purge)
