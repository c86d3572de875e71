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

"""image-replicator-status: tells whether an upgrade can go on."""

import sys
from collections.abc import Callable
from collections.abc import Sequence
from typing import Final

from oslo_config import cfg
from oslo_db import exception as db_exc
from oslo_upgradecheck import upgradecheck

from image_replicator import conf as ir_conf
from image_replicator import exception
from image_replicator import identity
from image_replicator import policy
from image_replicator.conf import checking
from image_replicator.conf import loading
from image_replicator.db import database
from image_replicator.db import migration


class Checks(upgradecheck.UpgradeCommands):
    """What is checked."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__()
        self._conf = conf

    def _check_configuration(self) -> upgradecheck.Result:
        """Each option has a value that it can have."""
        return _result_of(lambda: checking.check(self._conf))

    def _check_schema(self) -> upgradecheck.Result:
        """The database has all that this release needs."""
        try:
            checking.check(self._conf)
            versions = migration.versions(database.Database(self._conf).engine)
        except (exception.ImageReplicatorError, db_exc.DBError) as error:
            return upgradecheck.Result(upgradecheck.Code.FAILURE, str(error))
        for version in versions:
            if not version.is_current:
                return _BEHIND[version.branch](version)
        return upgradecheck.Result(upgradecheck.Code.SUCCESS)

    def _check_policy(self) -> upgradecheck.Result:
        """The operator's policy file can be used."""
        return _result_of(lambda: policy.Enforcer(self._conf))

    def _check_service_auth(self) -> upgradecheck.Result:
        """There are credentials to act with."""
        return _result_of(lambda: identity.service_session(self._conf))

    _upgrade_checks = (
        ("Configuration", _check_configuration),
        ("Database schema", _check_schema),
        ("Policy", _check_policy),
        ("Service credentials", _check_service_auth),
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


def _result_of(check: Callable[[], object]) -> upgradecheck.Result:
    """Run a check that says by a ConfigurationError what is wrong."""
    try:
        check()
    except exception.ConfigurationError as error:
        return upgradecheck.Result(upgradecheck.Code.FAILURE, str(error))
    return upgradecheck.Result(upgradecheck.Code.SUCCESS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the checks.

    :returns: 0 for go on, 1 for look at the warnings, 2 for do not, 255 for
        a configuration that cannot be read.
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
