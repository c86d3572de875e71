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

"""Checks every value of the configuration."""

import math
from typing import Any
from typing import Final

import sqlalchemy
from oslo_config import cfg

from image_replicator import exception
from image_replicator.conf import region

BAD_REFERENCE: Final = (
    "holds a '$' that names no option; where a '$' is meant, write '$$'"
)

#: The databases that the migrations support, with the drivers in our
#: requirements.
_DRIVERS: Final = {
    "sqlite": "sqlite",
    "mysql": "mysql+pymysql",
    "postgresql": "postgresql+psycopg2",
}


def check(conf: cfg.ConfigOpts) -> None:
    """Check every value, so that a wrong one is found at the start.

    The options of regions are registered here, as the files name them.

    :raises ConfigurationError: if an option is wrong; the message names it.
    """
    region.register(conf)
    _check_values(conf)
    _check_streams(conf)
    _check_intervals(conf)
    _check_connections(conf)
    _check_gateway(conf.gateway)


def _check_values(conf: cfg.ConfigOpts) -> None:
    """Read each value once, as oslo.config parses a value when it is read."""
    for name in conf:
        value = _checked(conf, "DEFAULT", name)
        if isinstance(value, cfg.ConfigOpts.GroupAttr):
            for option in value:
                _checked(value, name, option)


def _checked(values: Any, group: str, name: str) -> Any:
    try:
        value = getattr(values, name)
        if isinstance(value, float) and math.isnan(value):
            # oslo.config's limits do not refuse NaN.
            raise ValueError("not a number")
        return value
    except (cfg.NoSuchOptError, cfg.TemplateSubstitutionError) as error:
        # oslo.config's message has the text after the '$', which may be the
        # second half of a password.
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


def _check_gateway(options: cfg.ConfigOpts.GroupAttr) -> None:
    if options.buffer_size < options.window_size:
        raise exception.ConfigurationError(
            "[gateway] buffer_size: less than window_size"
        )
    if options.key_file and not options.cert_file:
        raise exception.ConfigurationError(
            "[gateway] key_file: there is no cert_file"
        )


def _check_intervals(conf: cfg.ConfigOpts) -> None:
    """Refuse intervals with which a running worker would lose its leases.

    A lease must last even if one renewal is late or fails.
    """
    lease_time = conf.worker.lease_time
    for name, most, told in (
        ("progress_interval", lease_time / 2, "half of lease_time"),
        ("reaper_interval", lease_time, "lease_time"),
        ("registration_interval", lease_time / 2, "half of lease_time"),
    ):
        seconds = conf.worker[name]
        if seconds is not None and seconds > most:
            raise exception.ConfigurationError(
                f"[worker] {name}: more than {told}, {most:g} seconds"
            )


def _check_connections(conf: cfg.ConfigOpts) -> None:
    """Refuse a database URL with which no connection can be made.

    The message does not repeat the value, as it holds the password.
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
