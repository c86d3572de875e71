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

"""HAProxy before a Galera cluster, with the documentation's configuration.

::

    cluster = self.useFixture(galera.Cluster())
    front = self.useFixture(galera_front.GaleraFront(cluster, ALL_WRITERS))
    url = front.url_of("jobs")
"""

import pathlib
import re
from typing import Final

import sqlalchemy as sa

import devcloud
from devcloud import fronts
from devcloud import galera
from devcloud import ports

_CONFIGURATIONS: Final = devcloud.ROOT / "doc" / "source" / "admin"

#: One node gets all connections; another one does if it fails.
SINGLE_WRITER: Final = _CONFIGURATIONS / "haproxy-single-writer.cfg"

#: All nodes get connections.
ALL_WRITERS: Final = _CONFIGURATIONS / "haproxy-all-writers.cfg"

_ADDRESS: Final = re.compile(r"192\.0\.2\.(\d+):3306")
_OWN: Final = 10  # the last number of the front's address
_FIRST: Final = 11  # of the first node's


class GaleraFront(fronts.HAProxy):
    """An HAProxy before a cluster.

    :param cluster: must be running
    :param configuration: one of the documentation's; only its addresses are
        replaced
    """

    def __init__(
        self, cluster: galera.Cluster, configuration: pathlib.Path
    ) -> None:
        super().__init__()
        self._cluster = cluster
        self._configuration = configuration

    def _setUp(self) -> None:
        super()._setUp()
        self._cluster.create_checker()
        text = self._configuration.read_text()
        self._start(_ADDRESS.sub(self._address, text))

    def _address(self, found: re.Match[str]) -> str:
        number = int(found[1])
        if number == _OWN:
            port = self.port
        else:
            port = self._cluster.nodes[number - _FIRST].port
        return f"{ports.HOST}:{port}"

    def url_of(self, database: str, user: str | None = None) -> str:
        """Return the URL of a database.

        :param user: None for its owner
        """
        url = sa.make_url(self._cluster.nodes[0].url(database, user))
        return url.set(port=self.port).render_as_string(hide_password=False)
