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

"""Tests of the order of the images to read from, and of the waits."""

import testtools

from image_replicator import nearness
from image_replicator.nearness import Replica
from image_replicator.nearness import Rival
from image_replicator.nearness import Route

SOURCE = Replica(region_id="far", image_id="source")
NEAR = Replica(region_id="here", image_id="near", tenant_id="a")
OTHER = Replica(region_id="there", image_id="other", tenant_id="a")
ALL = (SOURCE, OTHER, NEAR)

FAST, SLOW = 1e8, 1e7


def route(latency: float, rate: float = FAST) -> Route:
    return Route(latency=latency, rate=rate)


class TestOrder(testtools.TestCase):
    def order(self, **routes: Route) -> list[str]:
        found = nearness.in_order(ALL, routes, "here")
        return [replica.image_id for replica in found]

    def test_nothing_is_known(self) -> None:
        self.assertEqual(["near", "source", "other"], self.order())

    def test_the_latency_decides(self) -> None:
        self.assertEqual(
            ["near", "other", "source"],
            self.order(far=route(0.2), there=route(0.1), here=route(0.01)),
        )
        self.assertEqual(
            ["near", "source", "other"],
            self.order(far=route(0.1), there=route(0.2), here=route(0.01)),
        )

    def test_the_destination_region_is_left_for_a_much_nearer_one(
        self,
    ) -> None:
        self.assertEqual(
            ["near", "source", "other"],
            self.order(far=route(0.1), here=route(0.19)),
        )
        self.assertEqual(
            ["source", "near", "other"],
            self.order(far=route(0.1), here=route(0.21)),
        )

    def test_a_region_that_was_not_measured_is_far(self) -> None:
        self.assertEqual(
            ["near", "other", "source"], self.order(there=route(0.1))
        )

    def test_a_rate_that_is_not_far_lower_does_not(self) -> None:
        self.assertEqual(
            ["near", "source", "other"],
            self.order(far=route(0.1), here=route(0.01, FAST / 7)),
        )

    def test_a_region_that_crawls_comes_later(self) -> None:
        self.assertEqual(
            ["source", "near", "other"],
            self.order(
                far=route(0.1),
                here=route(0.01, FAST / 9),
                there=route(0.2, FAST / 99),
            ),
        )

    def test_of_two_as_near_the_source_comes_first(self) -> None:
        twin = Replica(region_id="far", image_id="twin", tenant_id="a")
        found = nearness.in_order((twin, SOURCE), {}, "here")
        self.assertEqual([SOURCE, twin], found)


class TestWaits(testtools.TestCase):
    SIZE = 1_000_000_000

    def wait(
        self,
        *rivals: Rival,
        far: Route | None = None,
        near: Route | None = None,
    ) -> nearness.Wait | None:
        return nearness.wait_for(rivals, "far", self.SIZE, far, near)

    @staticmethod
    def rival(
        name: str = "first",
        copied: float = 0.0,
        rate: float | None = None,
        age: float = 1.0,
        **values: object,
    ) -> Rival:
        given = {"is_running": True, "read_region_id": "far", **values}
        return Rival(
            job_id=name,
            bytes_copied=int(copied * TestWaits.SIZE),
            bytes_per_second=None if rate is None else int(rate),
            age=age,
            **given,  # type: ignore[arg-type]
        )

    def test_nobody_runs(self) -> None:
        self.assertIsNone(self.wait())
        self.assertIsNone(self.wait(self.rival(is_running=False)))

    def test_the_first_is_waited_for(self) -> None:
        wait = self.wait(self.rival(rate=FAST, copied=0.5))
        self.assertEqual(nearness.Wait(job_id="first", seconds=5.0), wait)

    def test_the_one_that_has_come_furthest(self) -> None:
        wait = self.wait(
            self.rival("a", rate=FAST, copied=0.2),
            self.rival("b", rate=FAST, copied=0.9),
        )
        self.assertEqual(nearness.Wait(job_id="b", seconds=1.0), wait)

    def test_each_wait_is_short_and_none_is_too_short(self) -> None:
        wait = self.wait(self.rival(rate=SLOW))
        self.assertEqual(nearness.Wait(job_id="first", seconds=10.0), wait)
        wait = self.wait(self.rival(rate=FAST, copied=1.0))
        self.assertEqual(nearness.Wait(job_id="first", seconds=0.5), wait)

    def test_a_known_way_tells_before_the_copy_does(self) -> None:
        wait = self.wait(self.rival(), far=route(0.1, FAST))
        self.assertEqual(nearness.Wait(job_id="first", seconds=10.0), wait)

    def test_nothing_is_known_for_a_while(self) -> None:
        wait = self.wait(self.rival(age=9.0))
        self.assertEqual(nearness.Wait(job_id="first", seconds=0.5), wait)
        self.assertIsNone(self.wait(self.rival(age=11.0)))

    def test_one_that_has_stopped_is_not_waited_for(self) -> None:
        self.assertIsNone(self.wait(self.rival(rate=0.0)))

    def test_one_that_has_become_slow_is_not_either(self) -> None:
        self.assertIsNone(
            self.wait(self.rival(rate=SLOW), far=route(0.1, FAST))
        )

    def test_a_slow_way_within_the_region(self) -> None:
        rival = self.rival(rate=FAST, copied=0.5)
        self.assertIsNone(self.wait(rival, near=route(0.01, SLOW)))
        others = [self.rival(is_running=False)] * 20
        self.assertIsNotNone(self.wait(rival, *others, near=route(0.01, SLOW)))

    def test_another_reads_a_nearer_copy_already(self) -> None:
        self.assertIsNone(
            self.wait(self.rival(rate=FAST), self.rival(read_region_id="here"))
        )
        self.assertIsNotNone(
            self.wait(self.rival(rate=FAST), self.rival(read_region_id=None))
        )
