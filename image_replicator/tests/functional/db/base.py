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

"""Base of the tests on databases, each of which has an empty one.

Each mixin of tests runs on SQLite, MariaDB and PostgreSQL. oslo.db's fixtures
find the servers, see tools/test_databases.py. Tests without their server are
skipped; in CI they fail.
"""

import contextlib
import datetime
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import cast
from typing import TYPE_CHECKING

import fixtures
import sqlalchemy as sa
import testtools
from oslo_config import cfg
from oslo_db.sqlalchemy import enginefacade
from oslo_db.sqlalchemy import test_fixtures
from oslo_utils import uuidutils

from image_replicator import conf as ir_conf
from image_replicator import events
from image_replicator.conf import loading
from image_replicator.db import migration
from image_replicator.db import models
from image_replicator.db import stores
from image_replicator.jobs import FINAL
from image_replicator.jobs import JobStatus
from image_replicator.jobs import NewJob
from image_replicator.jobs import Verification

JOBS = cast(sa.Table, models.Job.__table__)
WORKERS = cast(sa.Table, models.Worker.__table__)

#: The default time at which rows are created.
LONG_AGO = datetime.datetime(2024, 2, 29, 12, 30, 15, 123000)

#: The timeout of waits, in seconds.
PATIENCE = 60

VERIFICATION = Verification(
    algorithm="sha512", source="ab" * 64, destination="ab" * 64
)


def configuration(
    connection: str, transfer: Mapping[str, Any] | None = None, **worker: Any
) -> cfg.ConfigOpts:
    """Return a configuration for a database.

    :param transfer: options of ``[transfer]``.
    :param worker: options of ``[worker]``.
    """
    conf = cfg.ConfigOpts()
    ir_conf.register_opts(conf)
    conf([], project=loading.PROJECT, default_config_files=[])
    conf.set_override("connection", connection, "database")
    for name, value in worker.items():
        conf.set_override(name, value, "worker")
    for name, value in (transfer or {}).items():
        conf.set_override(name, value, "transfer")
    return conf


def new_job(**changes: Any) -> NewJob:
    """Return a new job for a new image."""
    values: dict[str, Any] = {
        "source_image_id": uuidutils.generate_uuid(),
        "source_image_name": "an image",
        "source_region_id": "ot1",
        "source_tenant_id": "source",
        "destination_region_id": "ot2",
        "destination_tenant_id": "destination",
        "image_size": 1000,
        "request_id": "req-1",
    }
    return NewJob(**values | changes)


def row(**changes: Any) -> dict[str, Any]:
    """Return a row of the table of jobs, of an old finished copy."""
    status = changes.get("status", JobStatus.REPLICATE_REQUESTED)
    return {
        "id": uuidutils.generate_uuid(),
        "status": status,
        "active": None if status in FINAL else True,
        "source_image_id": uuidutils.generate_uuid(),
        "source_image_name": "an image",
        "source_region_id": "ot1",
        "source_tenant_id": "source",
        "destination_image_id": None,
        "destination_region_id": "ot2",
        "destination_tenant_id": "destination",
        "destination_image_name": None,
        "reserved_image_id": None,
        "image_size": 1000,
        "bytes_copied": 0,
        "bytes_per_second": None,
        "turn": 0,
        "slot": None,
        "priority": "interactive",
        "if_present": "copy",
        "skipped": False,
        "tier": 0,
        "background_since": None,
        "read_region_id": None,
        "read_image_id": None,
        "waiting_for": None,
        "waiting_since": None,
        "worker_id": None,
        "claim_number": 0,
        "uncounted_claims": 0,
        "lease_expires_at": None,
        "retry_at": None,
        "error_code": None,
        "error_message": None,
        "verification_algorithm": None,
        "verification_source": None,
        "verification_destination": None,
        "request_id": "req-1",
        "created_at": LONG_AGO,
        "updated_at": LONG_AGO,
        "started_at": None,
        "finished_at": LONG_AGO if status in FINAL else None,
    } | changes


@contextlib.contextmanager
def telling(what: str) -> Iterator[None]:
    """Add the case to the error if one of many cases fails."""
    try:
        yield
    except Exception as error:
        error.add_note(what)
        raise


def contend(url: str, task: str, count: int, **worker: Any) -> list[str]:
    """Run a task in several processes on one database at the same time.

    :param task: the name of a function of the contender module.
    :param worker: options of ``[worker]``.
    :returns: the lines that all of them printed.
    """
    module = "image_replicator.tests.functional.db.contender"
    options = json.dumps(worker)
    done = subprocess.run(
        [sys.executable, "-m", module, url, task, str(count), options],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"A contender failed:\n{done.stderr}")
    return done.stdout.splitlines()


class DatabaseTestCase(testtools.TestCase):
    """A test with an empty database.

    :ivar url: of the database.
    :ivar changes: the changes of status that all stores of the test published.
    """

    url: str

    def setUp(self) -> None:
        super().setUp()
        self.changes: list[events.StatusChange] = []
        # oslo.db's log is shown when a test fails.
        self.useFixture(fixtures.FakeLogger())

    def new_stores(
        self,
        url: str | None = None,
        transfer: Mapping[str, Any] | None = None,
        **worker: Any,
    ) -> Any:
        """Return stores with an engine of their own.

        :param transfer: options of ``[transfer]``.
        :param worker: options of ``[worker]``.
        """
        conf = configuration(url or self.url, transfer, **worker)
        subscribers = (events.log_change, self.changes.append)
        opened = stores.open_stores(conf, events.Events(subscribers))
        self.addCleanup(opened.database.dispose)
        return opened

    def use(self, opened: stores.Stores) -> None:
        """Use these stores in the test."""
        self.stores = opened
        self.jobs = opened.jobs
        self.queue: Any = opened.queue
        self.owned = opened.owned
        self.leftovers = opened.leftovers
        self.workers = opened.workers
        self.engine = opened.database.engine

    def new_engine(self) -> sa.Engine:
        """Return an engine without the settings of oslo.db and ours."""
        engine = sa.create_engine(self.url)
        self.addCleanup(engine.dispose)
        return engine


class SQLite(DatabaseTestCase):
    """The tests on an SQLite file."""

    def setUp(self) -> None:
        super().setUp()
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.url = f"sqlite:///{self.directory}/jobs.sqlite"


class _OnServer(test_fixtures.OpportunisticDBTestMixin, DatabaseTestCase):
    SKIP_ON_UNAVAILABLE_DB = os.environ.get("CI") != "true"

    def setUp(self) -> None:
        super().setUp()
        url = enginefacade.writer.get_engine().url
        self.url = url.render_as_string(hide_password=False)


class MariaDB(_OnServer):
    """The tests on MariaDB or MySQL."""

    FIXTURE = test_fixtures.MySQLOpportunisticFixture


class PostgreSQL(_OnServer):
    """The tests on PostgreSQL."""

    FIXTURE = test_fixtures.PostgresqlOpportunisticFixture


# A mixin of tests is no TestCase, as it would run without a database.
if TYPE_CHECKING:
    Mixin = DatabaseTestCase
else:
    Mixin = object


class JobsMixin(Mixin):
    """A database with the newest schema, its stores, and direct access.

    :ivar engine: the engine of the stores.
    """

    def setUp(self) -> None:
        super().setUp()
        self.use(self.new_stores())
        migration.upgrade(self.engine)

    def insert(self, *rows: dict[str, Any]) -> list[str]:
        """Insert rows into the table, without the stores."""
        with self.engine.begin() as connection:
            connection.execute(sa.insert(JOBS), list(rows))
        return [values["id"] for values in rows]

    def insert_one(self, **changes: Any) -> str:
        return self.insert(row(**changes))[0]

    def change(self, job_id: str, **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(
                sa.update(JOBS).where(JOBS.c.id == job_id).values(values)
            )

    def read(self, job_id: str) -> dict[str, Any]:
        """Return all columns of a row."""
        with self.engine.connect() as connection:
            found = connection.execute(
                sa.select(
                    *(column.label(column.key) for column in JOBS.c)
                ).where(JOBS.c.id == job_id)
            )
            return dict(found.one()._mapping)

    def all_ids(self) -> set[str]:
        with self.engine.connect() as connection:
            return set(connection.scalars(sa.select(JOBS.c.id)))
