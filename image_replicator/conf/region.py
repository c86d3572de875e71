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

"""The options of a region, in a section of its own."""

from typing import Final

from oslo_config import cfg

#: The begin of the names of these sections.
PREFIX: Final = "region:"

#: The name of the section in the sample configuration.
GROUP: Final = f"{PREFIX}name"

OPTS: Final = [
    cfg.URIOpt(
        "data_endpoint",
        schemes=["http", "https"],
        help="""
The image-replicator-gateway of the region, from which workers read its images
while it is up. Set it, on workers that are far from the region, where its
image service sends no ranges, or where images shrink when they are compressed.
Without it, it is the ``image-data`` service in Keystone's catalogue, if there
is one.
""",
    ),
]


def register(conf: cfg.ConfigOpts) -> None:
    """Register the options of each region that the configuration names.

    :param conf: after it has read its files.
    """
    for section in conf.list_all_sections():
        if section.startswith(PREFIX):
            conf.register_opts(OPTS, group=section)


def data_endpoint(conf: cfg.ConfigOpts, region: str) -> str | None:
    """Return a region's gateway, if the configuration names one."""
    group = f"{PREFIX}{region}"
    if group not in conf:
        return None
    url: str | None = conf[group].data_endpoint
    return url
