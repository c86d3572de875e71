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

"""image-replicator-status: checks before an upgrade."""

import functools
import sys
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Final

from keystoneauth1 import exceptions as ksa_exc
from oslo_config import cfg
from oslo_db import exception as db_exc
from oslo_upgradecheck import upgradecheck

from image_replicator import conf as ir_conf
from image_replicator import credentials
from image_replicator import exception
from image_replicator import identity
from image_replicator import policy
from image_replicator.cmd import delegation_check
from image_replicator.cmd import gateway_check
from image_replicator.conf import checking
from image_replicator.conf import loading
from image_replicator.conf import service_auth
from image_replicator.db import clock
from image_replicator.db import database
from image_replicator.db import migration

#: The timeout of each request to Keystone, in seconds.
_PATIENCE: Final = 10.0


class Checks(upgradecheck.UpgradeCommands):
    """The checks of ``upgrade check``, one method each.

    :param conf: of the image replicator, read but not checked.
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__()
        self._conf = conf

    def _check_configuration(self) -> upgradecheck.Result:
        """Check that each option has a valid value."""
        return _result_of(lambda: checking.check(self._conf))

    def _check_schema(self) -> upgradecheck.Result:
        """Check that the database has the schema that this release needs."""
        try:
            checking.check(self._conf)
            versions = migration.versions(database.Database(self._conf).engine)
        except (exception.ImageReplicatorError, db_exc.DBError) as error:
            return upgradecheck.Result(upgradecheck.Code.FAILURE, str(error))
        for version in versions:
            if not version.is_current:
                return _BEHIND[version.branch](version)
        return upgradecheck.Result(upgradecheck.Code.SUCCESS)

    def _check_clocks(self) -> upgradecheck.Result:
        """Check the clock of the database node that answers."""
        try:
            checking.check(self._conf)
            found = clock.read(database.Database(self._conf))
        except (exception.ImageReplicatorError, db_exc.DBError):
            return upgradecheck.Result(
                upgradecheck.Code.SUCCESS,
                "Not known, as the database cannot be used.",
            )
        tolerance = clock.tolerance(self._conf)
        if found is None or found.is_within(tolerance):
            return upgradecheck.Result(upgradecheck.Code.SUCCESS)
        return upgradecheck.Result(
            upgradecheck.Code.WARNING,
            f"Workers may take jobs from others that live: {found}, and may "
            f"be {tolerance:.1f} s off at most.",
        )

    def _check_policy(self) -> upgradecheck.Result:
        """Check that the operator's policy file can be used."""
        return _result_of(lambda: policy.Enforcer(self._conf))

    def _check_service_auth(self) -> upgradecheck.Result:
        """Check the options of our credentials."""
        return _result_of(lambda: credentials.service_session(self._conf))

    def _check_keystone(self) -> upgradecheck.Result:
        """Check that Keystone gives us a token and knows our regions."""
        keystone = self._keystone
        if keystone is None:
            return upgradecheck.Result(
                upgradecheck.Code.FAILURE,
                "Keystone was not asked, as the configuration cannot work.",
            )
        try:
            return _keystone_result(self._conf, keystone)
        except ksa_exc.Unauthorized as error:
            return upgradecheck.Result(
                upgradecheck.Code.FAILURE,
                f"Keystone refuses the user, the password or the project of "
                f"[{service_auth.GROUP}]: {error}",
            )
        except ksa_exc.ClientException as error:
            return upgradecheck.Result(
                upgradecheck.Code.FAILURE,
                f"Keystone does not serve us: {error}",
            )

    def _check_delegation(self) -> upgradecheck.Result:
        """Check what copies with users' rights need."""
        return self._result_with_keystone(delegation_check.result)

    def _check_gateways(self) -> upgradecheck.Result:
        """Check that each gateway answers."""
        return self._result_with_keystone(gateway_check.result)

    def _result_with_keystone(
        self,
        check: Callable[
            [cfg.ConfigOpts, identity.Identity], upgradecheck.Result
        ],
    ) -> upgradecheck.Result:
        """Run a check that asks Keystone, if the configuration can work."""
        keystone = self._keystone
        if keystone is None:
            return upgradecheck.Result(
                upgradecheck.Code.FAILURE,
                "Not checked, as the configuration cannot work.",
            )
        return check(self._conf, keystone)

    @functools.cached_property
    def _keystone(self) -> identity.Identity | None:
        """Return Keystone; None if the configuration cannot work.

        All checks use one, and so one token.
        """
        try:
            checking.check(self._conf)
            keystone = identity.Identity(self._conf)
        except exception.ConfigurationError:
            return None
        keystone.session.timeout = min(
            keystone.session.timeout or _PATIENCE, _PATIENCE
        )
        return keystone

    _upgrade_checks = (
        ("Configuration", _check_configuration),
        ("Database schema", _check_schema),
        ("Database clocks", _check_clocks),
        ("Policy", _check_policy),
        ("Service credentials", _check_service_auth),
        ("Keystone", _check_keystone),
        ("Delegation", _check_delegation),
        ("Gateways", _check_gateways),
    )


def _expand_behind(version: migration.Version) -> upgradecheck.Result:
    return upgradecheck.Result(
        upgradecheck.Code.FAILURE,
        f"The database is at {version.current or 'no version'}, this release "
        f"needs {version.head}. Run 'image-replicator-manage db upgrade "
        "--expand'.",
    )


def _contract_behind(version: migration.Version) -> upgradecheck.Result:
    return upgradecheck.Result(
        upgradecheck.Code.WARNING,
        "The database has yet to be contracted. When every process runs this "
        "release, run 'image-replicator-manage db upgrade --contract'.",
    )


_BEHIND: Final = {"expand": _expand_behind, "contract": _contract_behind}


def _keystone_result(
    conf: cfg.ConfigOpts, keystone: identity.Identity
) -> upgradecheck.Result:
    """Compare Keystone's catalogue with the regions of the configuration.

    :raises keystoneauth1.exceptions.ClientException: if Keystone gives us no
        token or catalogue.
    """
    token = keystone.access()
    if not token.project_scoped:
        return upgradecheck.Result(
            upgradecheck.Code.FAILURE,
            f"[{service_auth.GROUP}] project_name: Keystone gave a token that "
            "is not for a project.",
        )
    keystone.endpoint()
    regions = keystone.catalogue.image_regions()
    roles = token.role_names or ["none"]
    told = (
        f"Keystone gave a token to {token.username} for the project "
        f"{token.project_name}, with these roles: {', '.join(sorted(roles))}. "
        f"Regions with an image service: {', '.join(sorted(regions))}."
    )
    code = upgradecheck.Code.SUCCESS
    for option, region, severity in _named_regions(conf):
        if region not in regions:
            code = max(code, severity)
            told += f" {option}: {region} is none of these."
    return upgradecheck.Result(code, told)


def _named_regions(
    conf: cfg.ConfigOpts,
) -> Iterator[tuple[str, str, upgradecheck.Code]]:
    """Yield the regions that options name, and the result if one is missing.

    A missing source region is a failure, as nothing can be copied from it. A
    missing destination region is a warning, as it may join later.
    """
    if conf.region_id:
        yield "[DEFAULT] region_id", conf.region_id, upgradecheck.Code.FAILURE
    named = [
        (
            "[DEFAULT] default_destination_region",
            [conf.default_destination_region],
        ),
        ("[worker] destination_regions", conf.worker.destination_regions),
        ("[worker] max_copies_per_region", conf.worker.max_copies_per_region),
    ]
    for option, regions in named:
        for region in regions:
            if region not in (None, "*"):
                yield option, region, upgradecheck.Code.WARNING


def _result_of(check: Callable[[], object]) -> upgradecheck.Result:
    """Run a check that fails with a ConfigurationError."""
    try:
        check()
    except exception.ConfigurationError as error:
        return upgradecheck.Result(upgradecheck.Code.FAILURE, str(error))
    return upgradecheck.Result(upgradecheck.Code.SUCCESS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the checks.

    :returns: 0 if an upgrade can go on, 1 for warnings, 2 if it cannot go on,
        255 if the configuration cannot be read.
    """
    conf = cfg.ConfigOpts()
    ir_conf.register_opts(conf)
    try:
        return upgradecheck.main(
            conf,
            loading.PROJECT,
            Checks(conf),
            list(sys.argv[1:] if argv is None else argv),
        )
    except loading.UNREADABLE as error:
        print(f"image-replicator-status: {error}", file=sys.stderr)
        return 255


if __name__ == "__main__":
    sys.exit(main())
