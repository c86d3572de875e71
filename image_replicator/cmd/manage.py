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

"""image-replicator-manage: manages the database, its workers and orphans.

The ``db`` commands are in this module, the ``worker`` ones in ``fleet``, the
``delegation`` ones in ``delegation`` and the ``image`` ones in ``orphans``.
Each command is a function that takes the configuration, with the arguments in
``conf.command``, and returns the exit status.
"""

import datetime
import sys
from collections.abc import Sequence
from typing import Any
from typing import Final

from oslo_config import cfg
from oslo_db import exception as db_exc

from image_replicator import exception
from image_replicator.cmd import arguments
from image_replicator.cmd import delegation
from image_replicator.cmd import fleet
from image_replicator.cmd import orphans
from image_replicator.cmd import output
from image_replicator.conf import loading
from image_replicator.db import database
from image_replicator.db import migration
from image_replicator.db import stores

#: An age below this many days is always a date that databases can hold.
_DAYS: Final = 365000


def _upgrade(conf: cfg.ConfigOpts) -> int:
    branch: migration.Branch | None = None
    if conf.command.expand:
        branch = "expand"
    elif conf.command.contract:
        branch = "contract"
    migration.upgrade(database.Database(conf).engine, branch)
    return _version(conf)


def _version(conf: cfg.ConfigOpts) -> int:
    for version in migration.versions(database.Database(conf).engine):
        print(
            f"{version.branch}: {version.current or 'none'} "
            f"(newest: {version.head})"
        )
    return 0


def _purge(conf: cfg.ConfigOpts) -> int:
    opened = stores.open_stores(conf)
    older_than = datetime.timedelta(days=conf.command.older_than)
    purged = 0
    while batch := opened.jobs.purge(older_than, conf.command.batch_size):
        purged += batch
    # Nothing can be asked of these any more, whatever the age of their jobs.
    while opened.idempotency_keys.purge(conf.command.batch_size):
        pass
    print(f"{purged} jobs purged")
    return 0


def _add_commands(subparsers: Any) -> None:
    _add_database(subparsers)
    fleet.add_commands(subparsers)
    delegation.add_commands(subparsers)
    orphans.add_commands(subparsers)


def _add_database(subparsers: Any) -> None:
    database = subparsers.add_parser("db", help="look after the database")
    actions = database.add_subparsers(dest="action", required=True)

    upgrade = actions.add_parser(
        "upgrade", help="bring the schema to this release's"
    )
    phase = upgrade.add_mutually_exclusive_group()
    phase.add_argument(
        "--expand",
        action="store_true",
        help="only add what is new: the release before goes on working",
    )
    phase.add_argument(
        "--contract",
        action="store_true",
        help="only remove what is old: every process runs the new release",
    )
    upgrade.set_defaults(func=_upgrade)

    version = actions.add_parser("version", help="show the schema's version")
    version.set_defaults(func=_version)

    purge = actions.add_parser("purge", help="delete finished jobs")
    purge.add_argument(
        "--older-than",
        type=arguments.age(_DAYS),
        required=True,
        metavar="DAYS",
        help="days since they finished",
    )
    purge.add_argument(
        "--batch-size",
        type=arguments.count,
        default=1000,
        metavar="JOBS",
        help="jobs deleted in one transaction (default: 1000)",
    )
    purge.set_defaults(func=_purge)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    :returns: the process's exit status.
    """
    command = cfg.SubCommandOpt(
        "command", title="Commands", handler=_add_commands
    )
    try:
        conf = loading.load(
            sys.argv[1:] if argv is None else argv,
            prog=output.PROG,
            cli_opts=[command],
        )
        # The output has the result of the command, without Alembic's messages.
        conf.set_default("use_stderr", True)
        conf.set_default(
            "default_log_levels", [*conf.default_log_levels, "alembic=WARN"]
        )
        loading.setup_logging(conf)
        status: int = conf.command.func(conf)
    except exception.ImageReplicatorError as error:
        output.complain(error)
        return 1
    except db_exc.DBError as error:
        output.complain(f"the database: {error}")
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
