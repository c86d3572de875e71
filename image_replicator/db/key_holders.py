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

"""The nodes that seal or open tokens, with the fingerprints of their keys.

No code decides by it: an operator is told when two nodes have different keys.
"""

from collections.abc import Sequence
from typing import Final
from typing import NamedTuple

import sqlalchemy as sa

from image_replicator.db import database
from image_replicator.db import models
from image_replicator.db import times

_holders: Final = models.KeyHolder.__table__.c


class KeyHolder(NamedTuple):
    """A node.

    :ivar fingerprints: of its keys, the primary one first.
    """

    host: str
    fingerprints: Sequence[str]


class KeyHolders:
    """The nodes of one database."""

    def __init__(self, database: database.Database) -> None:
        self._database = database

    def record(self, host: str, fingerprints: Sequence[str]) -> None:
        """Record the keys that a node has now.

        :param fingerprints: the primary key's first.
        """
        self._database.put(
            models.KeyHolder,
            {"host": host},
            {
                "fingerprints": "\n".join(fingerprints),
                "seen_at": times.utcnow(),
            },
        )

    def seen(self, seconds: float) -> list[KeyHolder]:
        """Return the nodes that recorded their keys recently.

        :param seconds: since then, at most.
        """
        with self._database.reader() as connection:
            rows = connection.execute(
                sa.select(_holders.host, _holders.fingerprints)
                .where(_holders.seen_at >= times.from_now(-seconds))
                .order_by(_holders.host)
            )
            return [
                KeyHolder(row.host, row.fingerprints.split("\n"))
                for row in rows
            ]
