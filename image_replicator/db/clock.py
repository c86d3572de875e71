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

"""The clocks of a cluster's nodes, which leases depend on.

A lease is written with the clock of the node to which the worker is connected,
and may be compared with the clock of another.
"""

import dataclasses
import datetime
import time
from typing import Final

import sqlalchemy as sa
from oslo_config import cfg

from image_replicator.db import database
from image_replicator.db import galera
from image_replicator.db import times

_CLOCK: Final = sa.select(
    times.utcnow().label("now"),
    sa.literal_column("@@wsrep_node_name", sa.String).label("node"),
)


def tolerance(conf: cfg.ConfigOpts) -> float:
    """Return how far a node's clock may be from this machine's, in seconds.

    A lease that is renewed in time has ``lease_time - progress_interval`` left
    at least. A node whose clock is ahead of the writing node's by more than
    that finds the lease expired. Two nodes within the tolerance, a quarter of
    that, differ by half of it at most. The other half is for renewals that are
    late.

    :param conf: has ``[worker]``.
    """
    left: float = conf.worker.lease_time - conf.worker.progress_interval
    return left / 4


@dataclasses.dataclass(frozen=True)
class NodeClock:
    """The clock of a node of the database.

    :ivar node: the node's name.
    :ivar ahead: the seconds by which it is at least ahead of this machine's
        clock; negative if it is behind.
    """

    node: str
    ahead: float

    def is_within(self, seconds: float) -> bool:
        """Return whether it differs from this machine's clock by no more."""
        return abs(self.ahead) <= seconds

    def __str__(self) -> str:
        side = "ahead of" if self.ahead > 0 else "behind"
        return (
            f"the clock of database node {self.node} is "
            f"{abs(self.ahead):.1f} s {side} this machine's"
        )


def read(opened: database.Database) -> NodeClock | None:
    """Compare the clock of the node that answers with this machine's.

    :returns: None if the database is no Galera cluster, and so has one clock.
    :raises DBError: if the database cannot be used.
    """
    if opened.engine.dialect.name not in ("mysql", "mariadb"):
        return None
    with opened.reader() as connection:
        shown = connection.exec_driver_sql(galera.SHOW_WSREP)
        if not galera.is_node(shown.one_or_none()):
            return None
        before = time.time()
        row = connection.execute(_CLOCK).one()
        after = time.time()
    theirs = row.now.replace(tzinfo=datetime.UTC).timestamp()
    # The node may have read its clock at any moment in between.
    nearest = min(max(theirs, before), after)
    return NodeClock(row.node, theirs - nearest)
