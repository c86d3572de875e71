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

"""Reads image-replicator.conf, and sets up logging."""

from collections.abc import Sequence
from typing import Final

import pbr.version
from oslo_config import cfg
from oslo_log import log as logging

from image_replicator import conf as ir_conf
from image_replicator import exception
from image_replicator.conf import checking

PROJECT: Final = "image-replicator"
DEFAULT_CONFIG_FILE: Final = "/etc/image-replicator/image-replicator.conf"

#: The errors that reading files and a command line can raise.
UNREADABLE: Final = (cfg.Error, OSError, UnicodeDecodeError)


def release() -> str:
    """Return the version of the installed package, such as ``1.2.0``."""
    version: str = pbr.version.VersionInfo(PROJECT).version_string()
    return version


def load(
    argv: Sequence[str] = (),
    config_file: str | None = None,
    prog: str = PROJECT,
    cli_opts: Sequence[cfg.Opt] = (),
) -> cfg.ConfigOpts:
    """Read and check the configuration.

    :param argv: the command line, without the command's name.
    :param config_file: the path of the only file to read; None for
        oslo.config's usual places and ``--config-file``.
    :param prog: the command's name, for its help.
    :param cli_opts: further options or subcommands of the command line.
    :returns: a configuration with valid values only.
    :raises ConfigurationError: if an option or a file is wrong; the message
        names it.
    """
    conf = cfg.ConfigOpts()
    ir_conf.register_opts(conf)
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
    checking.check(conf)
    return conf


def setup_logging(conf: cfg.ConfigOpts) -> None:
    """Set up logging for a process of our own, never inside Glance."""
    logging.setup(conf, PROJECT)
