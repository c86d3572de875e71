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

"""Every option of image-replicator.conf, one module for each section.

The API may run in Glance's process, whose global configuration is Glance's. So
:mod:`image_replicator.conf.loading` creates a ``ConfigOpts`` of our own, which
is passed as an argument; nothing is registered on ``cfg.CONF``.
"""

from collections.abc import Sequence
from typing import Final

from oslo_config import cfg
from oslo_db import options as db_options
from oslo_log import log as logging

from image_replicator.conf import api
from image_replicator.conf import default
from image_replicator.conf import delegation
from image_replicator.conf import gateway
from image_replicator.conf import region
from image_replicator.conf import service_auth
from image_replicator.conf import transfer
from image_replicator.conf import worker

#: SQLite needs no server, so a single machine needs no setup.
DEFAULT_CONNECTION: Final = "sqlite:///$state_path/image-replicator.sqlite"

#: oslo.db logs a stack trace for each error that it does not know, such as
#: that of a read-only server. It raises them as well, and our code logs them.
LOG_LEVELS: Final = [
    *logging.get_default_log_levels(),
    "oslo_db.sqlalchemy.exc_filters=ERROR",
]

_GROUPS: Final[dict[str, Sequence[cfg.Opt]]] = {
    module.GROUP: module.OPTS
    for module in (
        default,
        api,
        worker,
        transfer,
        delegation,
        service_auth,
        gateway,
    )
}


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register every option of image-replicator.conf on ``conf``."""
    for group, opts in _GROUPS.items():
        conf.register_opts(
            opts, group=None if group == default.GROUP else group
        )
    db_options.set_defaults(conf, connection=DEFAULT_CONNECTION)
    logging.register_options(conf)
    conf.set_default("default_log_levels", LOG_LEVELS)


def list_opts() -> list[tuple[str, list[cfg.Opt]]]:
    """Return our options by group, for oslo-config-generator."""
    listed = {group: list(opts) for group, opts in _GROUPS.items()}
    listed[service_auth.GROUP] += service_auth.plugin_opts()
    listed[region.GROUP] = list(region.OPTS)
    return list(listed.items())


def set_library_defaults() -> None:
    """Show our defaults of other libraries' options in the sample."""
    cfg.set_defaults(db_options.database_opts, connection=DEFAULT_CONNECTION)
    logging.set_defaults(default_log_levels=LOG_LEVELS)
