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

"""The migrations, and the schema's revisions."""

import ast
import pathlib
from typing import Any

import sqlalchemy as sa
import testtools
from alembic import config as alembic_config
from alembic import script as alembic_script
from oslo_db.sqlalchemy import test_fixtures
from oslo_db.sqlalchemy import test_migrations

from image_replicator.db import migration
from image_replicator.db import models
from image_replicator.db.alembic import versions as migrations
from image_replicator.tests.functional.db import base

load_tests = test_fixtures.optimize_module_test_loader()

DIRECTORY = pathlib.Path(migrations.__file__).parent

#: Operations that remove something that the release before may use.
TAKING = frozenset(
    {
        "alter_column",
        "drop_column",
        "drop_constraint",
        "drop_index",
        "drop_table",
        "drop_table_comment",
        "execute",
        "rename_table",
    }
)


def script() -> alembic_script.ScriptDirectory:
    config = alembic_config.Config()
    config.set_main_option("script_location", "image_replicator.db:alembic")
    return alembic_script.ScriptDirectory.from_config(config)


def taking_calls(source: str) -> set[str]:
    """Return the operations of a migration that remove something."""
    names = {
        node.func.attr
        if isinstance(node.func, ast.Attribute)
        else node.func.id
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute | ast.Name)
    }
    return names & TAKING


class TestScripts(testtools.TestCase):
    """Tests of the migrations' files."""

    def test_every_file_is_reached_from_a_head(self) -> None:
        self.assertEqual(
            {path.stem for path in DIRECTORY.glob("*.py")} - {"__init__"},
            {
                pathlib.Path(revision.path).stem
                for revision in script().walk_revisions()
            },
        )

    def test_each_branch_has_one_head(self) -> None:
        heads = [
            script().get_revision(head).branch_labels
            for head in script().get_heads()
        ]
        self.assertEqual(
            [{branch} for branch in sorted(migration.BRANCHES)],
            sorted(heads, key=sorted),
        )

    def test_names_tell_the_branch(self) -> None:
        for revision in script().walk_revisions():
            (branch,) = revision.branch_labels
            self.assertTrue(revision.revision.startswith(f"{branch}_"))
            self.assertTrue(
                pathlib.Path(revision.path).stem.startswith(revision.revision)
            )

    def test_expanding_takes_nothing_away(self) -> None:
        for path in DIRECTORY.glob("expand_*.py"):
            self.assertEqual(set(), taking_calls(path.read_text()), path.name)

    def test_taking_away_would_be_found(self) -> None:
        source = (
            "def upgrade():\n"
            "    op.add_column('jobs', sa.Column('a', sa.Text()))\n"
            "    with op.batch_alter_table('jobs') as batch:\n"
            "        batch.drop_column('active')\n"
        )
        self.assertEqual({"drop_column"}, taking_calls(source))


class Migrations(base.Mixin):
    def setUp(self) -> None:
        super().setUp()
        self.engine = self.new_engine()

    def _tables(self) -> set[str]:
        return set(sa.inspect(self.engine).get_table_names())

    def _versions(self) -> list[str | None]:
        return [v.current for v in migration.versions(self.engine)]

    def test_up_from_nothing_and_again(self) -> None:
        self.assertEqual([None, None], self._versions())
        for _ in range(2):
            migration.upgrade(self.engine)
            self.assertEqual(
                {
                    "alembic_version",
                    "authorities",
                    "delegations",
                    "idempotency_keys",
                    "jobs",
                    "key_holders",
                    "routes",
                    "tenants",
                    "workers",
                },
                self._tables(),
            )
            for version in migration.versions(self.engine):
                self.assertTrue(version.is_current, version)
                self.assertTrue(version.head.startswith(version.branch))

    def test_one_branch_after_the_other(self) -> None:
        expand, contract = (v.head for v in migration.versions(self.engine))
        migration.upgrade(self.engine, "expand")
        self.assertEqual([expand, None], self._versions())
        migration.upgrade(self.engine, "expand")
        self.assertEqual([expand, None], self._versions())
        migration.upgrade(self.engine, "contract")
        self.assertEqual([expand, contract], self._versions())
        migration.upgrade(self.engine, "expand")
        self.assertEqual([expand, contract], self._versions())

    def test_contracting_first_expands_what_it_stands_on(self) -> None:
        migration.upgrade(self.engine, "contract")
        self.assertIn("jobs", self._tables())
        self.assertNotIn(None, self._versions())

    def test_a_newer_release_has_been_here(self) -> None:
        migration.upgrade(self.engine)
        with self.engine.begin() as connection:
            connection.execute(
                sa.text("INSERT INTO alembic_version VALUES ('expand_9999')")
            )
        for attempt in (migration.upgrade, migration.versions):
            error: Any = self.assertRaises(
                migration.UnknownSchema, attempt, self.engine
            )
            self.assertIn("expand_9999", str(error))

    def test_data_survives_an_upgrade(self) -> None:
        migration.upgrade(self.engine, "expand")
        values = base.row()
        with self.engine.begin() as connection:
            connection.execute(sa.insert(base.JOBS), values)
        migration.upgrade(self.engine)
        with self.engine.connect() as connection:
            found = connection.execute(
                sa.select(*(c.label(c.key) for c in base.JOBS.c))
            ).one()
        self.assertEqual(values, dict(found._mapping))


class ModelsSync(test_migrations.ModelsMigrationsSync, base.Mixin):
    """The migrations create the schema of the models."""

    def setUp(self) -> None:
        super().setUp()
        self.engine = self.new_engine()

    def get_engine(self) -> sa.Engine:
        return self.engine

    def get_metadata(self) -> sa.MetaData:
        return models.Base.metadata

    def db_sync(self, engine: sa.Engine) -> None:
        migration.upgrade(engine)

    def include_object(
        self, object_: Any, name: Any, type_: Any, *args: Any
    ) -> bool:
        return not (type_ == "table" and name == "alembic_version")


class TestMigrationsSQLite(Migrations, base.SQLite):
    pass


class TestMigrationsMariaDB(Migrations, base.MariaDB):
    def test_names_are_kept_whole(self) -> None:
        migration.upgrade(self.engine)
        with self.engine.connect() as connection:
            collations = connection.scalars(
                sa.text(
                    "SELECT DISTINCT collation_name FROM "
                    "information_schema.columns WHERE table_schema = "
                    "DATABASE() AND table_name = 'jobs' AND collation_name "
                    "IS NOT NULL"
                )
            ).all()
        self.assertEqual(["utf8mb4_bin"], collations)


class TestMigrationsPostgreSQL(Migrations, base.PostgreSQL):
    pass


class TestModelsSyncSQLite(ModelsSync, base.SQLite):
    pass


class TestModelsSyncMariaDB(ModelsSync, base.MariaDB):
    pass


class TestModelsSyncPostgreSQL(ModelsSync, base.PostgreSQL):
    pass
