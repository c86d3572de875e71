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

"""Tests of the nearest source: the copies, and the ways to them."""

from typing import Any

import sqlalchemy as sa

from image_replicator.authority import Authority
from image_replicator.authority import Delegation
from image_replicator.authority import SealedToken
from image_replicator.db import models
from image_replicator.jobs import Claim
from image_replicator.jobs import Job
from image_replicator.nearness import Content
from image_replicator.nearness import Reach
from image_replicator.nearness import Replica
from image_replicator.nearness import Route
from image_replicator.tests.functional.db import base

SIZE = 1000
IMAGE = "11111111-1111-1111-1111-111111111111"
SOURCE = Replica(region_id="ot1", image_id=IMAGE)
CONTENT = Content(
    region_id="ot1",
    image_id=IMAGE,
    algorithm=base.VERIFICATION.algorithm,
    value=base.VERIFICATION.source,
)
TRUSTS = Authority(
    user_id="user", source_trust_id="of-source", destination_trust_id="there"
)
TOKEN = Authority(
    user_id="user",
    token=SealedToken(sealed="sealed", expires_at=base.LONG_AGO),
)


class NearestMixin(base.JobsMixin):
    def trust(self, tenant: str, **changes: Any) -> None:
        """Let the user have given a trust for a tenant."""
        values: dict[str, Any] = {
            "trust_id": f"for-{tenant}",
            "user_id": "user",
            "project_id": tenant,
            "roles": ("member",),
        }
        self.stores.delegations.add(Delegation(**values | changes))

    def ask(self, tenant: str, right: Authority = TRUSTS, **new: Any) -> str:
        """Ask for a copy of the image to a tenant."""
        values: dict[str, Any] = {
            "source_image_id": IMAGE,
            "destination_tenant_id": tenant,
            "image_size": SIZE,
        }
        return self.jobs.create(base.new_job(**values | new), authority=right)

    def claim(self) -> tuple[Job, Claim] | None:
        claimed: tuple[Job, Claim] | None = self.queue.claim_next("worker")
        return claimed

    def claimed(self) -> tuple[Job, Claim]:
        """Claim a job, which must be possible."""
        claimed = self.claim()
        assert claimed
        return claimed

    def copy(self, tenant: str, image_id: str, **new: Any) -> str:
        """Make a copy; return the id of its job."""
        job_id = self.ask(tenant, **new)
        _job, claim = self.claimed()
        self.owned.reserve_image(claim, image_id)
        self.owned.image_created(claim, image_id)
        self.owned.finish(claim, SIZE, 99, base.VERIFICATION)
        return job_id


class Copies(NearestMixin):
    def choose(
        self, reach: Reach | None = None, destination: str = "ot2"
    ) -> list[Replica]:
        reach = reach or Reach(
            source_tenant_id="source",
            destination_tenant_id="B",
            user_id="user",
        )
        return self.stores.replicas.choose(
            CONTENT, reach, destination
        ).replicas

    def ids(self, *args: Any, **kwargs: Any) -> list[str]:
        return [each.image_id for each in self.choose(*args, **kwargs)]

    def test_the_source_if_there_is_no_copy(self) -> None:
        self.assertEqual([SOURCE], self.choose())
        self.ask("A")
        self.claimed()
        self.assertEqual([SOURCE], self.choose())

    def test_a_copy_that_the_user_can_read_comes_first(self) -> None:
        self.copy("A", "copy-a")
        self.assertEqual([SOURCE], self.choose())
        self.trust("A")
        found = Replica(
            region_id="ot2",
            image_id="copy-a",
            tenant_id="A",
            trust_id="for-A",
        )
        self.assertEqual([found, SOURCE], self.choose())

    def test_copies_of_its_own_tenants_need_no_further_right(self) -> None:
        self.copy("source", "copy-s")
        self.copy("B", "copy-b")
        for user_id in ("user", None):
            reach = Reach(
                source_tenant_id="source",
                destination_tenant_id="B",
                user_id=user_id,
            )
            found = self.choose(reach)
            self.assertEqual(
                {"copy-s", "copy-b", IMAGE}, {each.image_id for each in found}
            )
            self.assertEqual({None}, {each.trust_id for each in found})

    def test_what_nobody_else_may_know_of(self) -> None:
        self.copy("A", "copy-a")
        self.trust("A", user_id="another")
        self.trust("C")
        self.assertEqual([SOURCE], self.choose())

    def test_a_trust_that_has_expired_is_of_no_use(self) -> None:
        self.copy("A", "copy-a")
        self.trust("A", expires_at=base.LONG_AGO)
        self.assertEqual([SOURCE], self.choose())

    def test_a_token_reaches_no_further_tenant(self) -> None:
        self.copy("A", "copy-a")
        self.trust("A")
        reach = TOKEN.reach("source", "B")
        self.assertEqual([IMAGE], self.ids(reach))
        reach = TRUSTS.reach("source", "B")
        self.assertEqual(["copy-a", IMAGE], self.ids(reach))

    def test_another_image_with_the_data_counts_in_its_tenant(self) -> None:
        self.copy("B", "twin", source_image_id="another")
        self.assertEqual(["twin", IMAGE], self.ids())
        self.trust("A")
        self.copy("A", "not-this", source_image_id="another")
        self.assertEqual(["twin", IMAGE], self.ids())

    def test_other_data_does_not(self) -> None:
        self.copy("B", "copy-b")
        with self.engine.begin() as connection:
            connection.execute(
                sa.update(base.JOBS).values(verification_source="cd" * 64)
            )
        self.assertEqual([IMAGE], self.ids())

    def test_within_a_region_the_source_is_near(self) -> None:
        self.copy("B", "copy-b", destination_region_id="ot3")
        self.assertEqual([IMAGE], self.ids(destination="ot1"))

    def test_it_can_be_turned_off(self) -> None:
        self.copy("B", "copy-b")
        off = self.new_stores(transfer={"nearest_source": False})
        reach = Reach(source_tenant_id="source", destination_tenant_id="B")
        self.assertEqual(
            [SOURCE], off.replicas.choose(CONTENT, reach, "ot2").replicas
        )

    def test_the_nearest_by_measurement(self) -> None:
        self.copy("B", "there")
        self.copy("B", "between", destination_region_id="ot3")
        self.assertEqual(["there", IMAGE, "between"], self.ids())
        for region, latency in (("ot1", 0.2), ("ot3", 0.1), ("ot2", 0.01)):
            self.stores.routes.record(
                "ot2", region, Route(latency=latency, rate=1e8)
            )
        self.assertEqual(["there", "between", IMAGE], self.ids())


class Routes(NearestMixin):
    def rate(self, *rates: float) -> float:
        for rate in rates:
            self.stores.routes.record(
                "ot2", "ot1", Route(latency=0.5, rate=rate)
            )
        return float(self.stores.routes.to("ot2")["ot1"].rate)

    def test_one_is_known_to_new_workers(self) -> None:
        way = Route(latency=0.08, rate=1e8, streams=16)
        self.stores.routes.record("ot2", "ot1", way)
        known = self.new_stores().routes
        self.assertEqual({"ot1": way}, known.to("ot2"))
        self.assertEqual({}, known.to("ot1"))

    def test_a_low_rate_counts_less(self) -> None:
        self.assertEqual(1000.0, self.rate(1000.0))
        self.assertEqual(800.0, self.rate(200.0))
        self.assertEqual(5000.0, self.rate(5000.0))

    def test_a_long_latency_counts_less(self) -> None:
        for measured, expected in ((0.1, 0.1), (0.5, 0.2), (0.05, 0.05)):
            self.stores.routes.record(
                "ot2", "ot1", Route(latency=measured, rate=1e8)
            )
            latency = self.stores.routes.to("ot2")["ot1"].latency
            self.assertAlmostEqual(expected, latency)

    def test_an_old_one_is_forgotten(self) -> None:
        self.rate(1000.0)
        with self.engine.begin() as connection:
            connection.execute(
                sa.update(models.Route).values(measured_at=base.LONG_AGO)
            )
        self.assertEqual({}, self.stores.routes.to("ot2"))
        self.assertEqual(200.0, self.rate(200.0))


class Everything(Copies, Routes):
    """All tests."""


class TestNearestSQLite(Everything, base.SQLite):
    """The tests on SQLite."""


class TestNearestMariaDB(Everything, base.MariaDB):
    """The tests on MariaDB."""


class TestNearestPostgreSQL(Everything, base.PostgreSQL):
    """The tests on PostgreSQL."""
