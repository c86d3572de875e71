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

"""The options of our own credentials, which are keystoneauth's."""

from typing import Final

from keystoneauth1 import loading
from oslo_config import cfg

GROUP: Final = "service_auth"


def _opts() -> list[cfg.Opt]:
    """Return keystoneauth's options, with a timeout by default."""
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


OPTS: Final = _opts()


def plugin_opts() -> list[cfg.Opt]:
    """Return the options of the usual plugin, ``auth_type = password``.

    keystoneauth registers them when it loads the plugin; the sample shows
    them.
    """
    opts: list[cfg.Opt] = loading.get_auth_plugin_conf_options("password")
    return opts
