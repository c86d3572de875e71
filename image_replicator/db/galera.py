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

"""Support for Galera, whose nodes apply each other's commits with a delay.

A commit is certified for all nodes at once, and applied by each of them a
little later. So a job that was committed through one node may be missing at
another for some milliseconds.
"""

import contextlib
from typing import Any
from typing import Final

import sqlalchemy as sa

#: Asks a server whether it is a node. MySQL does not have this variable; a
#: SELECT of it would be an error there, as on a node that has lost the others.
SHOW_WSREP: Final = "SHOW VARIABLES LIKE 'wsrep_on'"

#: Bits of Galera's variable wsrep_sync_wait. With them, a node executes a
#: transaction that begins with SELECT (1), UPDATE or DELETE (2), or INSERT (4)
#: only after it has applied all earlier commits.
_SYNC_WAIT: Final = 1 | 2 | 4

#: What MariaDB calls an error of a COMMIT.
_NO_COMMIT: Final = 1180


def wait_for_commits(engine: sa.Engine) -> None:
    """Let each transaction see the earlier commits of all nodes.

    Writes need this, too: the job that a user cancels, or the claim that a
    worker's UPDATE names, may have been committed on another node.

    Each new connection asks its server whether it is a node. If so, each
    transaction begins with a round trip between the nodes.
    """
    if engine.dialect.name in ("mysql", "mariadb"):
        sa.event.listen(engine, "connect", _set_sync_wait)


def close_lost(engine: sa.Engine) -> None:
    """Close the connection to a node that fails to commit.

    The node has lost the others, and would refuse the rollback as well, which
    the pool would log with a traceback. oslo.db knows how such a node answers
    other statements.
    """
    if engine.dialect.name not in ("mysql", "mariadb"):
        return
    dialect = engine.dialect
    is_disconnect = dialect.is_disconnect

    def is_lost(error: Any, connection: Any, cursor: Any) -> bool:
        code = next(iter(error.args), None)
        return code == _NO_COMMIT or is_disconnect(error, connection, cursor)

    # An event of SQLAlchemy's would come too late: oslo.db listens to it
    # already, and raises the error as it is.
    dialect.is_disconnect = is_lost  # type: ignore[assignment, method-assign]


def is_node(row: Any) -> bool:
    """Return whether a server is a node.

    :param row: its answer to :data:`SHOW_WSREP`; None if there is no row.
    """
    return row is not None and row[1] == "ON"


def _set_sync_wait(connection: Any, record: Any) -> None:
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.execute(SHOW_WSREP)
        if is_node(cursor.fetchone()):
            cursor.execute(
                "SET SESSION wsrep_sync_wait = "
                f"@@SESSION.wsrep_sync_wait | {_SYNC_WAIT}"
            )
