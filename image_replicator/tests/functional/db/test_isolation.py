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

"""Glance's configuration and ours do not affect each other.

cfg.CONF belongs to the process, so each check runs in a new one.
"""

import subprocess
import sys
import textwrap

from image_replicator.tests.functional.db import base

#: A program with the database settings of Glance's process.
PRELUDE = """
    import sys
    from oslo_config import cfg
    from oslo_db import options as db_options
    from image_replicator.tests.functional.db import base
    from image_replicator.db import stores as db_stores
"""

USE = """
    stores = db_stores.open_stores(base.configuration(sys.argv[1]))
    job_id = stores.jobs.create(base.new_job())
    assert stores.jobs.get(job_id).id == job_id
"""


class TestIsolation(base.SQLite):
    def _run(self, *parts: str) -> str:
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "\n".join(textwrap.dedent(part) for part in parts),
                self.url,
                str(self.directory),
            ],
            capture_output=True,
            text=True,
            timeout=base.PATIENCE,
            check=False,
        )
        self.assertEqual(0, done.returncode, done.stderr)
        return done.stdout

    def test_nothing_of_ours_is_registered_globally(self) -> None:
        self._run(
            PRELUDE,
            "before = set(cfg.CONF), set(cfg.CONF._groups)",
            USE,
            """
            options, groups = before
            assert set(cfg.CONF) - options <= {"database"}, set(cfg.CONF)
            assert set(cfg.CONF._groups) - groups <= {"database"}
            of_oslo_db = {opt.dest for opt in db_options.database_opts}
            assert set(cfg.CONF.database) <= of_oslo_db
            """,
        )

    def test_glances_database_has_no_influence_on_ours(self) -> None:
        """All of its options are set to values that would not work."""
        self._run(
            PRELUDE,
            """
            from oslo_db.sqlalchemy import enginefacade

            cfg.CONF([], default_config_files=[])
            cfg.CONF.register_opts(db_options.database_opts, "database")
            elsewhere = f"sqlite:///{sys.argv[2]}/glance/glance.sqlite"
            for name, value in {
                "connection": elsewhere,
                "slave_connection": elsewhere,
                "connection_parameters": "bogus=1",
                "synchronous_reader": False,
                "sqlite_synchronous": False,
                "connection_recycle_time": 1,
                "max_retries": 7,
                "max_pool_size": 1,
            }.items():
                cfg.CONF.set_override(name, value, "database")
            """,
            USE,
            """
            assert stores.database.engine.url.database.endswith("/jobs.sqlite")
            factory = stores.database._facade._factory
            assert factory._reader_engine is factory._writer_engine
            assert factory.synchronous_reader
            with stores.database.engine.connect() as connection:
                mode = connection.exec_driver_sql("PRAGMA synchronous")
                assert mode.scalar() != 0
            """,
        )
        self.assertFalse((self.directory / "glance").exists())

    def test_glances_own_facade_is_left_alone(self) -> None:
        self._run(
            PRELUDE,
            """
            from oslo_db.sqlalchemy import enginefacade

            theirs = f"sqlite:///{sys.argv[2]}/glance.sqlite"
            enginefacade.configure(connection=theirs)
            """,
            USE,
            """
            engine = enginefacade.writer.get_engine()
            assert engine.url.database.endswith("/glance.sqlite"), engine.url
            with engine.connect() as connection:
                mode = connection.exec_driver_sql("PRAGMA journal_mode")
                assert mode.scalar() == "delete"
            """,
        )
