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

"""The round trips between us and the database's server."""

from collections.abc import AsyncGenerator
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from oslo_db.sqlalchemy import test_fixtures

from devcloud import carrier
from devcloud import proxy
from image_replicator.tests.functional.db import base

load_tests = test_fixtures.optimize_module_test_loader()


_PORTS = {"mysql": 3306, "postgresql": 5432}


class Trips(carrier.Behaviour):
    """Counts the times that a client waits for the server.

    :ivar count: of all connections.
    """

    def __init__(self) -> None:
        self._asking: set[carrier.Link] = set()
        self.count = 0

    async def apply(
        self,
        link: carrier.Link,
        direction: carrier.Direction,
        pieces: AsyncGenerator[bytes],
    ) -> AsyncGenerator[bytes]:
        """Send the bytes on, and count what begins a round trip."""
        async for piece in pieces:
            if direction is carrier.Direction.DOWNLOAD:
                self._asking.discard(link)
            elif link not in self._asking:
                self._asking.add(link)
                self.count += 1
            yield piece


class RoundTrips(base.JobsMixin):
    def setUp(self) -> None:
        super().setUp()
        self.trips = Trips()
        url = sa.make_url(self.url)
        port = url.port or _PORTS[url.get_backend_name()]
        relay = proxy.Proxy(port, behaviours=[self.trips])
        self.relay = self.useFixture(relay)
        relayed = url.set(host="127.0.0.1", port=relay.port)
        self.use(self.new_stores(relayed.render_as_string(False)))
        self.job_id = self.insert_one()

    def _trips(self, call: Callable[[], Any]) -> int:
        """Return the round trips of a call that was made before."""
        call()
        before = self.trips.count
        call()
        return self.trips.count - before

    def test_showing_a_job_takes_one(self) -> None:
        self.assertEqual(1, self._trips(lambda: self.jobs.get(self.job_id)))

    def test_other_queries_of_one_statement(self) -> None:
        stores = self.stores
        known = stores.delegations.find
        self.assertEqual(1, self._trips(lambda: known("user", "project", [])))
        self.assertEqual(
            1, self._trips(lambda: stores.authorities.get(self.job_id))
        )

    def test_a_transaction_takes_more(self) -> None:
        """This shows that the test counts."""

        def read() -> None:
            with self.stores.database.reader() as connection:
                connection.execute(sa.select(sa.literal(1)))

        self.assertLess(1, self._trips(read))

    def test_a_connection_that_was_cut_is_replaced(self) -> None:
        self.jobs.get(self.job_id)
        for _ in range(3):
            self.assertLess(0, self.relay.cut())
            self.assertEqual(self.job_id, self.jobs.get(self.job_id).id)


class TestRoundTripsMariaDB(RoundTrips, base.MariaDB):
    pass


class TestRoundTripsPostgreSQL(RoundTrips, base.PostgreSQL):
    pass
