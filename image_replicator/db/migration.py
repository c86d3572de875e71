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

"""Runs the migrations of Alembic.

Two branches make a rolling upgrade possible. ``expand`` only adds, so the code
of the release before works with an expanded schema. ``contract`` removes
unused parts, once every process runs the new code.
"""

import dataclasses
from typing import Final
from typing import Literal

import sqlalchemy as sa
from alembic import command
from alembic import config as alembic_config
from alembic import migration as alembic_migration
from alembic import script as alembic_script

from image_replicator import exception
from image_replicator.db import errors

Branch = Literal["expand", "contract"]
BRANCHES: Final[tuple[Branch, ...]] = ("expand", "contract")


class UnknownSchema(exception.ImageReplicatorError):
    """This release does not know the schema of the database.

    :param revision: of the database.
    """

    def __init__(self, revision: str) -> None:
        super().__init__(
            f"the database is at {revision}, which this release does not "
            "know: a newer release has upgraded it"
        )


@dataclasses.dataclass(frozen=True)
class Version:
    """The revision of one branch of the schema.

    :ivar current: the revision of the database; None before the first.
    :ivar head: the newest revision of this release.
    """

    branch: Branch
    current: str | None
    head: str

    @property
    def is_current(self) -> bool:
        return self.current == self.head


@errors.database_errors()
def upgrade(engine: sa.Engine, branch: Branch | None = None) -> None:
    """Upgrade the schema to the head of one branch, or of both in order.

    :param engine: of the database.
    :param branch: None for both.
    :raises UnknownSchema: if a newer release has upgraded it.
    """
    script = alembic_script.ScriptDirectory.from_config(_config())
    with engine.begin() as connection:
        _lock_sqlite(connection)
        _applied(script, connection)
        _upgrade(connection, (branch,) if branch else BRANCHES)


@errors.database_errors()
def versions(engine: sa.Engine) -> list[Version]:
    """Return the revision of each branch of the schema.

    :raises UnknownSchema: if a newer release has upgraded it.
    """
    script = alembic_script.ScriptDirectory.from_config(_config())
    with engine.connect() as connection:
        applied = _applied(script, connection)
    return [_version(script, branch, applied) for branch in BRANCHES]


def create_sqlite_schema(engine: sa.Engine) -> None:
    """Create the newest schema in an SQLite file that has none.

    An existing schema is not changed, even if it is old: to upgrade it is the
    operator's decision.
    """
    with engine.begin() as connection:
        # Of several processes that start at once, one creates the schema and
        # the others find it.
        _lock_sqlite(connection)
        if not sa.inspect(connection).get_table_names():
            _upgrade(connection, BRANCHES)


def _lock_sqlite(connection: sa.Connection) -> None:
    """Wait until no other process writes to an SQLite file, and lock it.

    A transaction that begins with a read may not write once another has
    written.
    """
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA user_version = 0")


def _upgrade(connection: sa.Connection, branches: tuple[Branch, ...]) -> None:
    config = _config()
    config.attributes["connection"] = connection
    for branch in branches:
        command.upgrade(config, f"{branch}@head")


def _config() -> alembic_config.Config:
    config = alembic_config.Config()
    config.set_main_option("script_location", "image_replicator.db:alembic")
    return config


def _applied(
    script: alembic_script.ScriptDirectory, connection: sa.Connection
) -> set[str]:
    """Return every revision that the database has.

    Alembic's table has only the newest ones on which no other depends:
    contract_0001 there implies expand_0001.
    """
    context = alembic_migration.MigrationContext.configure(connection)
    heads = context.get_current_heads()
    known = {revision.revision for revision in script.walk_revisions()}
    for head in heads:
        if head not in known:
            raise UnknownSchema(head)
    return {
        revision.revision
        for head in heads
        for revision in script.iterate_revisions(head, "base")
    }


def _version(
    script: alembic_script.ScriptDirectory, branch: Branch, applied: set[str]
) -> Version:
    newest_first = [
        revision.revision
        for revision in script.walk_revisions()
        if branch in revision.branch_labels
    ]
    return Version(
        branch,
        next(
            (revision for revision in newest_first if revision in applied),
            None,
        ),
        newest_first[0],
    )
