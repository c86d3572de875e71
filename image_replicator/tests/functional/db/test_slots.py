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

"""The limit of copies to a region, on three databases."""

from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

from oslo_db.sqlalchemy import test_fixtures

from image_replicator.errors import ErrorCode
from image_replicator.jobs import Claim
from image_replicator.jobs import JobStatus
from image_replicator.tests.functional.db import base

load_tests = test_fixtures.optimize_module_test_loader()

PROCESSES = 4


class Limits(base.JobsMixin):
    def _limited(self, limits: dict[str, int], *regions: str) -> Any:
        return self.new_stores(
            max_copies_per_region=limits, destination_regions=regions
        )

    def _ask(self, *regions: str) -> None:
        for region in regions:
            self.jobs.create(base.new_job(destination_region_id=region))

    def _claim_all(self, stores: Any) -> dict[str, int]:
        """Claim all possible jobs; return the number of copies by region."""
        claimed: Counter[str] = Counter()
        while taken := stores.queue.claim_next("worker"):
            claimed[taken[0].destination_region_id] += 1
        return dict(claimed)

    def test_without_limits_there_are_no_places(self) -> None:
        self._ask(*["ot2"] * 12)
        self.assertEqual({"ot2": 12}, self._claim_all(self.stores))
        for job_id in self.all_ids():
            self.assertIsNone(self.read(job_id)["slot"])

    def test_limits_of_named_and_other_regions(self) -> None:
        self._ask(*["ot2", "ot3", "ot4"] * 4)
        cases = (
            ({"ot2": 2}, {"ot2": 2, "ot3": 4, "ot4": 4}),
            ({"ot2": 2, "*": 1}, {"ot2": 2, "ot3": 1, "ot4": 1}),
            ({"*": 3}, {"ot2": 3, "ot3": 3, "ot4": 3}),
            ({"ot5": 1}, {"ot2": 4, "ot3": 4, "ot4": 4}),
        )
        for limits, expected in cases:
            with base.telling(str(limits)):
                stores = self._limited(limits)
                self.assertEqual(expected, self._claim_all(stores))
                self._give_all_back()

    def _give_all_back(self) -> None:
        for job_id in self.all_ids():
            row = self.read(job_id)
            if row["status"] == JobStatus.REPLICATING:
                self.owned.give_back(
                    Claim(
                        job_id=job_id,
                        worker_id=row["worker_id"],
                        claim_number=row["claim_number"],
                    )
                )

    def test_a_worker_of_some_regions(self) -> None:
        self._ask(*["ot2", "ot3", "ot4"] * 4)
        stores = self._limited({"*": 1, "ot3": 2}, "ot2", "ot3")
        self.assertEqual({"ot2": 1, "ot3": 2}, self._claim_all(stores))

    def test_a_full_region_does_not_stand_before_another(self) -> None:
        self._ask(*["ot2"] * 30, "ot3")
        stores = self._limited({"ot2": 1})
        self.assertEqual({"ot2": 1, "ot3": 1}, self._claim_all(stores))

    def test_every_way_out_frees_the_place(self) -> None:
        stores = self._limited({"*": 1})
        for name, leave in _WAYS_OUT.items():
            with base.telling(name):
                self._forget()
                self._ask("ot2", "ot2")
                job, claim = stores.queue.claim_next("worker")
                self.assertEqual(0, job.slot)
                self.assertIsNone(stores.queue.claim_next("another"))
                leave(self, stores, claim)
                self.assertIsNone(self.read(claim.job_id)["slot"])
                self.assertEqual(0, stores.queue.claim_next("another")[0].slot)

    def _forget(self) -> None:
        with self.engine.begin() as connection:
            connection.execute(base.JOBS.delete())

    def test_a_copy_that_is_to_stop_still_has_its_place(self) -> None:
        stores = self._limited({"*": 1})
        self._ask("ot2", "ot2")
        _job, claim = stores.queue.claim_next("worker")
        stores.jobs.request_cancel(claim.job_id)
        self.assertIsNone(stores.queue.claim_next("another"))
        stores.owned.begin_cancel(claim)
        self.assertIsNotNone(stores.queue.claim_next("another"))

    def test_a_limit_that_was_lowered(self) -> None:
        self._ask(*["ot2"] * 9)
        self.assertEqual(
            {"ot2": 4}, self._claim_all(self._limited({"ot2": 4}))
        )
        running = [
            job_id
            for job_id in self.all_ids()
            if self.read(job_id)["slot"] is not None
        ]
        stores = self._limited({"ot2": 2})
        for job_id in running[:2]:
            self.assertEqual({}, self._claim_all(stores))
            stores.owned.finish(
                Claim(job_id=job_id, worker_id="worker", claim_number=1),
                1000,
                99,
                base.VERIFICATION,
            )
        self.assertEqual({}, self._claim_all(stores))
        stores.owned.finish(
            Claim(job_id=running[2], worker_id="worker", claim_number=1),
            1000,
            99,
            base.VERIFICATION,
        )
        self.assertEqual({"ot2": 1}, self._claim_all(stores))

    def test_places_that_the_release_before_has_left(self) -> None:
        """It ends and releases jobs without freeing their slots."""
        for status in JobStatus:
            for owner in ("old worker", None):
                if status is JobStatus.REPLICATING and owner is None:
                    continue
                with base.telling(f"{status} of {owner}"):
                    self._check_left_place(status, owner)

    def _check_left_place(self, status: JobStatus, owner: str | None) -> None:
        self._forget()
        self.insert_one(status=status, worker_id=owner, slot=0)
        self._ask("ot2")
        claimed = self._limited({"*": 1}).queue.claim_next("worker")
        copying = owner and status in (
            JobStatus.REPLICATING,
            JobStatus.CANCEL_REQUESTED,
        )
        self.assertEqual(not copying, claimed is not None)

    def test_a_place_that_was_taken_since_we_looked(self) -> None:
        """The database refuses a slot that another worker has just taken."""
        self._ask("ot2", "ot2")
        late = self._limited({"*": 1}).queue
        self.assertIsNotNone(self._limited({"*": 1}).queue.claim_next("quick"))
        # The first two reads are before the other worker's claim.
        looks: Iterator[set[int]] = iter([set(), set()])
        look = late._slots._taken
        late._slots._taken = lambda region: next(looks, look(region))
        self.assertIsNone(late.claim_next("late"))
        self.assertEqual(1, len(self._running()))

    def _running(self) -> list[str]:
        return [
            job_id
            for job_id in self.all_ids()
            if self.read(job_id)["status"] == JobStatus.REPLICATING
        ]

    def test_never_more_at_once(self) -> None:
        self._ask(*["ot2"] * 10, *["ot3"] * 10)
        limits = {"ot2": 2, "*": 1}
        told = Counter(
            base.contend(
                self.url, "crowd", PROCESSES, max_copies_per_region=limits
            )
        )
        self.assertEqual(
            set(), set(told) - {"ot2 1", "ot2 2", "ot3 1", "ot2 0", "ot3 0"}
        )
        for job_id in self.all_ids():
            row = self.read(job_id)
            self.assertIn(row["status"], ("replicated", "error"))
            self.assertIsNone(row["slot"])


def _cancel(test: Limits, stores: Any, claim: Claim) -> None:
    stores.jobs.request_cancel(claim.job_id)
    stores.owned.begin_cancel(claim)
    stores.owned.finish_cancel(claim)


def _rescue(test: Limits, stores: Any, claim: Claim) -> None:
    test.change(claim.job_id, lease_expires_at=base.LONG_AGO)
    stores.queue.release_expired("another", [])


def _rescue_canceled(test: Limits, stores: Any, claim: Claim) -> None:
    stores.jobs.request_cancel(claim.job_id)
    _rescue(test, stores, claim)


_WAYS_OUT: dict[str, Callable[[Limits, Any, Claim], Any]] = {
    "finish": lambda test, stores, claim: stores.owned.finish(
        claim, 1000, 99, base.VERIFICATION
    ),
    "fail": lambda test, stores, claim: stores.owned.fail(
        claim, ErrorCode.DESTINATION_QUOTA_EXCEEDED, "Full."
    ),
    "retry": lambda test, stores, claim: stores.owned.retry(
        claim, 0, ErrorCode.SOURCE_BUSY, "Busy."
    ),
    "give_back": lambda test, stores, claim: stores.owned.give_back(claim),
    "cancel": _cancel,
    "rescue": _rescue,
    "rescue of a canceled one": _rescue_canceled,
}


class TestLimitsSQLite(Limits, base.SQLite):
    pass


class TestLimitsMariaDB(Limits, base.MariaDB):
    pass


class TestLimitsPostgreSQL(Limits, base.PostgreSQL):
    pass
