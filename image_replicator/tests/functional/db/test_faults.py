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

"""A database that is missing, or wrong."""

import datetime
import socket
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from oslo_db import exception as db_exc
from oslo_db.sqlalchemy import test_fixtures

from image_replicator.db import migration
from image_replicator.db import stores
from image_replicator.tests.functional.db import base

load_tests = test_fixtures.optimize_module_test_loader()

SECRET = "do-not-tell"

METHODS: dict[str, Callable[[stores.Stores], Any]] = {
    "create": lambda stores: stores.jobs.create(base.new_job()),
    "get": lambda stores: stores.jobs.get("job"),
    "request_cancel": lambda stores: stores.jobs.request_cancel("job"),
    "claim_next": lambda stores: stores.queue.claim_next("worker"),
    "claim_canceled": lambda stores: stores.queue.claim_canceled("worker"),
    "purge": lambda stores: stores.jobs.purge(datetime.timedelta(0), 1),
    "versions": lambda stores: migration.versions(stores.database.engine),
    "upgrade": lambda stores: migration.upgrade(stores.database.engine),
}


class Faults(base.Mixin):
    """Each fault raises a DBError, whose message has no password."""

    def _assert_all_fail(
        self, url: sa.URL, error_type: type[Exception]
    ) -> None:
        stores = self.new_stores(url.render_as_string(hide_password=False))
        for name, method in METHODS.items():
            with base.telling(name):
                error = self.assertRaises(error_type, method, stores)
                self.assertNotIn(SECRET, str(error))

    def test_nobody_listens(self) -> None:
        with socket.socket() as taken:
            # The socket is bound but does not listen, so no server has the
            # port.
            taken.bind(("127.0.0.1", 0))
            url = sa.make_url(self.url).set(
                host="127.0.0.1",
                port=taken.getsockname()[1],
                password=SECRET,
            )
            self._assert_all_fail(url, db_exc.DBConnectionError)

    def test_there_is_no_such_database(self) -> None:
        url = sa.make_url(self.url).set(database="not_there")
        self._assert_all_fail(url, db_exc.DBNonExistentDatabase)

    def test_there_is_no_schema(self) -> None:
        stores = self.new_stores()
        for name, method in METHODS.items():
            if name not in ("versions", "upgrade"):
                with base.telling(name):
                    self.assertRaises(db_exc.DBError, method, stores)

    def test_it_comes_back(self) -> None:
        """A broken connection is replaced without an error."""
        stores = self.new_stores()
        migration.upgrade(stores.database.engine)
        job_id = stores.jobs.create(base.new_job())
        with stores.database.engine.connect() as connection:
            ours = connection.exec_driver_sql(self.who_am_i).scalar_one()
        with self.new_engine().begin() as connection:
            connection.exec_driver_sql(self.kill.format(ours))
        self.assertEqual(job_id, stores.jobs.get(job_id).id)

    who_am_i: str
    kill: str


class TestFaultsMariaDB(Faults, base.MariaDB):
    who_am_i = "SELECT CONNECTION_ID()"
    kill = "KILL {}"

    def test_it_does_not_let_us_in(self) -> None:
        url = sa.make_url(self.url).set(username="stranger", password=SECRET)
        self._assert_all_fail(url, db_exc.DBConnectionError)


class TestFaultsPostgreSQL(Faults, base.PostgreSQL):
    who_am_i = "SELECT pg_backend_pid()"
    kill = "SELECT pg_terminate_backend({}, 5000)"

    def test_it_does_not_let_us_in(self) -> None:
        url = sa.make_url(self.url).set(username="stranger", password=SECRET)
        self._assert_all_fail(url, db_exc.DBConnectionError)
