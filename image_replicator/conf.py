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

"""Every option of image-replicator.conf.

The extension lives in Glance's process, whose global configuration is
Glance's. So a ``ConfigOpts`` of our own is made here and handed on by
argument; nothing is registered on ``cfg.CONF``.
"""

import math
import socket
from collections.abc import Sequence
from typing import Any
from typing import Final

import pbr.version
import sqlalchemy
from keystoneauth1 import loading
from oslo_config import cfg
from oslo_config import types
from oslo_db import options as db_options
from oslo_log import log as logging

from image_replicator import exception

PROJECT: Final = "image-replicator"
DEFAULT_CONFIG_FILE: Final = "/etc/image-replicator/image-replicator.conf"
SERVICE_AUTH: Final = "service_auth"

#: SQLite needs no server: one machine has nothing to set up.
DEFAULT_CONNECTION: Final = "sqlite:///$state_path/image-replicator.sqlite"

#: The databases that there are migrations for, and the drivers that come with
#: us.
_DRIVERS: Final = {
    "sqlite": "sqlite",
    "mysql": "mysql+pymysql",
    "postgresql": "postgresql+psycopg2",
}

#: What reading files and a command line raises when it cannot.
UNREADABLE: Final = (cfg.Error, OSError, UnicodeDecodeError)

BAD_REFERENCE: Final = (
    "holds a '$' that names no option; where a '$' is meant, write '$$'"
)

#: Seconds; nothing of ours takes or waits longer.
_DAY: Final = 24 * 3600.0

_MEBIBYTE: Final = 1024 * 1024

DEFAULT_OPTS: Final = [
    cfg.StrOpt(
        "region_id",
        help="""
The region of the Glance API that the extension is loaded into, as it is
named in Keystone's catalogue. Images are copied out of this region. The API
does not start without it; the worker does not need it.
""",
    ),
    cfg.StrOpt(
        "default_destination_region",
        help="""
The region that a copy goes to when the destination project has no
``region:NAME`` tag in Keystone. Set it in clouds of more than two regions.
When neither says, and exactly one other region offers an image service, the
copy goes there; otherwise the request is refused.
""",
    ),
    cfg.StrOpt(
        "state_path",
        default="/var/lib/image-replicator",
        help="""
Directory of the SQLite database, when ``[database] connection`` is left at
its default. It is made when only its last part is missing. Glance's user and
the worker's must both be able to write there. Change it when they are not
allowed to write in ``/var/lib``.
""",
    ),
]

API_OPTS: Final = [
    cfg.IntOpt(
        "max_limit",
        default=1000,
        min=1,
        help="""
The most jobs that one page of a listing holds, and how many it holds when
the request has no ``limit``. Lower it when listings weigh on the database.
""",
    ),
    cfg.FloatOpt(
        "destination_timeout",
        default=5.0,
        min=0.1,
        max=_DAY,
        help="""
Seconds that the image service of the destination region may take to show
that it is up before a copy is refused. It is asked every few seconds at most,
by one request for all that come meanwhile. Raise it for regions that are far
away; the caller waits that long.
""",
    ),
    cfg.IntOpt(
        "max_active_jobs_per_tenant",
        default=0,
        min=0,
        help="""
How many jobs that are not over yet a tenant may have; 0 for any number. A
request beyond is refused with 413. Set it to keep a script that runs wild from
filling the queue; tenants are served in rounds in any case.
""",
    ),
    cfg.IntOpt(
        "max_image_size",
        default=0,
        min=0,
        help="""
Bytes of the largest image that may be copied; 0 for any size. A request for a
larger one is refused with 413. Set it where the link between the regions, or
the destination's store, cannot take the largest images.
""",
    ),
]

WORKER_OPTS: Final = [
    cfg.StrOpt(
        "host",
        default=socket.gethostname(),
        sample_default="<hostname>",
        help="""
Name of the machine in the id under which a worker claims its jobs. Set it
when host names are not unique or say nothing, as in containers.
""",
    ),
    cfg.IntOpt(
        "concurrency",
        default=4,
        min=1,
        max=256,
        help="""
How many images one worker copies at a time. Each takes a thread, two or more
connections and some MiB of memory. Raise it when workers are idle while
jobs wait; lower it when the network or the destination is the bottleneck.
""",
    ),
    cfg.ListOpt(
        "destination_regions",
        default=[],
        help="""
The regions that this worker copies images to; empty for all. Set it where
workers stand near their destination. Each region must be served by a worker:
jobs for others wait.
""",
    ),
    cfg.Opt(
        "max_copies_per_region",
        type=types.Dict(types.Integer(min=1)),
        default={},
        sample_default="",
        help="""
How many copies all workers together run to a destination region at once, as
``REGION:NUMBER,REGION:NUMBER``; ``*`` stands for each region that is not
named, and where nothing does there is no limit. Set it where the destination
or the link to it cannot take more; all workers must have the same.
""",
    ),
    cfg.IntOpt(
        "bandwidth_limit",
        default=0,
        min=0,
        help="""
Bytes per second that all copies of one worker process together send; 0 for no
limit. Set it where other traffic needs room on the worker's network.
""",
    ),
    cfg.IntOpt(
        "buffer_size",
        default=160 * _MEBIBYTE,
        min=_MEBIBYTE,
        help="""
Bytes of all images together that a worker process may have in memory; each of
``concurrency`` copies gets its share. Lower it when workers run short of
memory.
""",
    ),
    cfg.FloatOpt(
        "poll_interval",
        default=1.0,
        min=0.05,
        max=_DAY,
        help="""
Seconds at most between two looks for a new job while a worker has room for
one; after a job they are closer together. Raise it when many workers with
nothing to do weigh on the database; jobs then wait that much longer before
they begin.
""",
    ),
    cfg.FloatOpt(
        "lease_time",
        default=60.0,
        min=2.0,
        max=_DAY,
        help="""
Seconds without a sign of life, by the database's clock, after which a
worker's jobs are taken over by others. A worker gives a sign every second.
Raise it when workers lose jobs because the database is away for longer; all
workers must have the same.
""",
    ),
    cfg.IntOpt(
        "max_attempts",
        default=5,
        min=1,
        help="""
How often a copy may be begun before it ends in error: again after a failure
that may pass, or after its worker was lost. A worker that shuts down in good
order and gives the copy back does not count. Raise it where the network or
the image services fail often.
""",
    ),
    cfg.FloatOpt(
        "retry_delay",
        default=5.0,
        min=0.0,
        max=_DAY,
        help="""
Seconds, about, before a copy that failed is begun a second time; each further
wait is twice as long. Raise it when an image service that comes back is run
over by copies that waited for it.
""",
    ),
    cfg.FloatOpt(
        "retry_max_delay",
        default=300.0,
        min=0.0,
        max=_DAY,
        help="""
Seconds that no wait between two attempts exceeds. Lower it when copies should
go on sooner after a long outage.
""",
    ),
    cfg.FloatOpt(
        "graceful_timeout",
        default=60.0,
        min=0.0,
        max=_DAY,
        help="""
Seconds that running copies may go on after SIGTERM. Those that are not done
by then are stopped, cleaned up and given back for another worker. Keep it
below the time after which the service manager kills the process.
""",
    ),
]

TRANSFER_OPTS: Final = [
    cfg.IntOpt(
        "bandwidth_limit",
        default=0,
        min=0,
        help="""
Bytes per second that one copy sends; 0 for no limit. Set it where one copy
must not fill a link.
""",
    ),
    cfg.IntOpt(
        "min_streams",
        default=1,
        min=1,
        max=256,
        help="""
Streams that an image is read with at least. The number finds itself between
this and ``max_streams``; set both to the same to have a fixed one.
""",
    ),
    cfg.IntOpt(
        "max_streams",
        default=32,
        min=1,
        max=256,
        help="""
Streams that an image is read with at most. Lower it when copies from far away
keep the source's image service from its other work.
""",
    ),
    cfg.IntOpt(
        "window_size",
        default=40 * _MEBIBYTE,
        min=_MEBIBYTE,
        help="""
Bytes of one image that streams may read ahead of the upload, in memory. Raise
it for links so long and fat that copies do not fill them.
""",
    ),
    cfg.IntOpt(
        "chunk_size",
        default=128 * 1024,
        min=16 * 1024,
        max=64 * _MEBIBYTE,
        help="""
Bytes that are read from the source at a time. There is hardly a reason to
change it.
""",
    ),
    cfg.FloatOpt(
        "connect_timeout",
        default=30.0,
        min=0.1,
        max=_DAY,
        help="""
Seconds that connecting to an image service may take, and that one chunk may
take to be sent. Raise it when copies to regions that are far away or under
load fail for want of a connection.
""",
    ),
    cfg.FloatOpt(
        "read_timeout",
        default=60.0,
        min=0.1,
        max=_DAY,
        help="""
Seconds without a byte after which a connection to the source is given up, and
reading is taken up again over another. Raise it when the source's store takes
long before it sends the first one, as one that fetches from tape does.
""",
    ),
    cfg.FloatOpt(
        "upload_response_timeout",
        default=900.0,
        min=1.0,
        max=_DAY,
        help="""
Seconds that the destination may take to answer after it was sent the last
byte. Some stores work for minutes before they do; raise it when copies of
large images fail at their very end.
""",
    ),
    cfg.ListOpt(
        "dropped_properties",
        default=[],
        help="""
Image properties that are not copied, beside those that never are. Each is a
name or a shell pattern of names, such as ``hw_vif_*``. Set it for properties
that mean nothing, or something else, in another region.
""",
    ),
    cfg.StrOpt(
        "signature_properties",
        default="keep",
        choices=[
            ("keep", "copy them; the destination must have the certificate"),
            ("drop", "copy the image without its signature"),
            ("refuse", "do not copy signed images"),
        ],
        help="""
What to do with the ``img_signature*`` properties of a signed image. They
name a certificate that the destination's key manager must hold to verify
the signature. Change it when the regions do not share their certificates.
""",
    ),
]


#: oslo.db logs a stack trace of each error that it does not know, such as a
#: server's that only reads. All of them are raised, and logged by who waits.
LOG_LEVELS: Final = [
    *logging.get_default_log_levels(),
    "oslo_db.sqlalchemy.exc_filters=ERROR",
]


def _service_auth_opts() -> list[cfg.Opt]:
    """Return keystoneauth's options, with bounded waiting as the default."""
    session_opts = loading.get_session_conf_options()
    cfg.set_defaults(session_opts, timeout=30)
    adapter_opts = [
        opt
        for opt in loading.get_adapter_conf_options(include_deprecated=False)
        if opt.dest in ("valid_interfaces", "region_name")
    ]
    cfg.set_defaults(adapter_opts, valid_interfaces=["internal", "public"])
    return [
        *loading.get_auth_common_conf_options(),
        *session_opts,
        *adapter_opts,
    ]


_GROUPS: Final[dict[str, Sequence[cfg.Opt]]] = {
    "DEFAULT": DEFAULT_OPTS,
    "api": API_OPTS,
    "worker": WORKER_OPTS,
    "transfer": TRANSFER_OPTS,
    SERVICE_AUTH: _service_auth_opts(),
}


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register every option of image-replicator.conf on ``conf``."""
    for group, opts in _GROUPS.items():
        conf.register_opts(opts, group=None if group == "DEFAULT" else group)
    db_options.set_defaults(conf, connection=DEFAULT_CONNECTION)
    logging.register_options(conf)
    conf.set_default("default_log_levels", LOG_LEVELS)


def list_opts() -> list[tuple[str, list[cfg.Opt]]]:
    """Return our options by group, for oslo-config-generator."""
    listed = {group: list(opts) for group, opts in _GROUPS.items()}
    # The options of the usual plugin, so that the sample shows them.
    listed[SERVICE_AUTH] += loading.get_auth_plugin_conf_options("password")
    return list(listed.items())


def set_library_defaults() -> None:
    """Show our defaults of oslo.db's options in the sample."""
    cfg.set_defaults(db_options.database_opts, connection=DEFAULT_CONNECTION)
    logging.set_defaults(default_log_levels=LOG_LEVELS)


def release() -> str:
    """Return the version of this code, as the package has it."""
    version: str = pbr.version.VersionInfo(PROJECT).version_string()
    return version


def load(
    argv: Sequence[str] = (),
    config_file: str | None = None,
    prog: str = PROJECT,
    cli_opts: Sequence[cfg.Opt] = (),
) -> cfg.ConfigOpts:
    """Read and check the configuration.

    :param argv: command line, without the command's name.
    :param config_file: path of the only file to read; None for oslo.config's
        usual places and ``--config-file``.
    :param prog: the command's name, for its help.
    :param cli_opts: more command line options or subcommands.
    :returns: a configuration whose every value is known to be valid.
    :raises ConfigurationError: naming the option or file that is wrong.
    """
    conf = cfg.ConfigOpts()
    register_opts(conf)
    conf.register_cli_opts(cli_opts)
    try:
        conf(
            list(argv),
            project=PROJECT,
            prog=prog,
            version=release(),
            default_config_files=[config_file] if config_file else None,
        )
    except UNREADABLE as error:
        raise exception.ConfigurationError(str(error)) from error
    check(conf)
    return conf


def check(conf: cfg.ConfigOpts) -> None:
    """Let no value be found out later that cannot work.

    :raises ConfigurationError: naming the option that is wrong.
    """
    _check_values(conf)
    _check_streams(conf)
    _check_connections(conf)


def _check_values(conf: cfg.ConfigOpts) -> None:
    """Read each value once: oslo.config parses them only when asked."""
    for name in conf:
        value = _checked(conf, "DEFAULT", name)
        if isinstance(value, cfg.ConfigOpts.GroupAttr):
            for option in value:
                _checked(value, name, option)


def _checked(values: Any, group: str, name: str) -> Any:
    try:
        value = getattr(values, name)
        if isinstance(value, float) and math.isnan(value):
            # It passes for any number between two others.
            raise ValueError("not a number")
        return value
    except (cfg.NoSuchOptError, cfg.TemplateSubstitutionError) as error:
        # oslo.config repeats what follows the '$': a password's second half.
        told = BAD_REFERENCE
        cause: Exception = error
    except (cfg.Error, ValueError) as error:
        told = str(error)
        cause = error
    raise exception.ConfigurationError(f"[{group}] {name}: {told}") from cause


def _check_streams(conf: cfg.ConfigOpts) -> None:
    if conf.transfer.min_streams > conf.transfer.max_streams:
        raise exception.ConfigurationError(
            "[transfer] min_streams: more than max_streams"
        )


def _check_connections(conf: cfg.ConfigOpts) -> None:
    """Refuse a database URL that no connection could be made with.

    The value is not repeated: it holds the password.
    """
    for name in ("connection", "slave_connection"):
        url = conf.database[name]
        if url is None and name == "slave_connection":
            continue
        try:
            _check_url(url)
        except ValueError as error:
            raise exception.ConfigurationError(
                f"[database] {name}: {error}"
            ) from error


def _check_url(text: str) -> None:
    try:
        url = sqlalchemy.make_url(text)
        backend = url.get_backend_name()
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:
        raise ValueError("not a database URL") from error
    if backend not in _DRIVERS:
        raise ValueError(
            f"begins with none of {', '.join(_DRIVERS.values())}; MariaDB is "
            "mysql here"
        )
    try:
        dialect = url.get_dialect()
        dialect.import_dbapi()
    except (sqlalchemy.exc.ArgumentError, ImportError) as error:
        raise ValueError(
            f"the driver of {url.drivername} is missing; "
            f"{_DRIVERS[backend]} is there"
        ) from error
    if dialect.is_async:
        raise ValueError(
            f"{url.drivername} is asynchronous; use {_DRIVERS[backend]}"
        )


def setup_logging(conf: cfg.ConfigOpts) -> None:
    """Set up logging for a process of our own; never done inside Glance."""
    logging.setup(conf, PROJECT)
