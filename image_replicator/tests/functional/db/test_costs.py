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

"""Frequent calls take the same work with few and with many jobs."""

import functools
from collections.abc import Callable
from typing import Any

import fixtures
import sqlalchemy as sa
from oslo_db.sqlalchemy import test_fixtures

from image_replicator import exception
from image_replicator.db import claim_order
from image_replicator.db import idempotency
from image_replicator.db import jobs as db_jobs
from image_replicator.db import listing
from image_replicator.db import models
from image_replicator.errors import ErrorCode
from image_replicator.jobs import Claim
from image_replicator.jobs import FINAL
from image_replicator.jobs import Job
from image_replicator.jobs import Priority
from image_replicator.tests.functional.db import base
from image_replicator.tests.functional.db import effort
from image_replicator.tests.functional.db import population

load_tests = test_fixtures.optimize_module_test_loader()

#: The numbers of jobs that are over and wait at first.
OVER, WAITING = 1000, 200
MANY = 5000

Calls = dict[str, Callable[[], Any]]

#: More slots than are needed.
LIMITS = {"region-0": 1000, "*": 1000}


def _claim(job_id: str) -> Claim:
    return Claim(job_id=job_id, worker_id="worker-1", claim_number=1)


class Costs(effort.Effort):
    """Tests of the work of each call with few jobs and with many.

    It may grow by a small part of the growth of a full scan.
    """

    def setUp(self) -> None:
        super().setUp()
        self.useFixture(
            fixtures.MonkeyPatch(f"{claim_order.__name__}.COUNTED", 50)
        )
        self._insert(
            *population.over(0, OVER),
            *population.waiting(0, WAITING),
            *population.running(),
        )
        self.note_statistics()

    def test_many_jobs_that_are_over(self) -> None:
        calls = self._steady_calls() | self._calls_for_all()
        self._check(calls, population.over(OVER, MANY))

    def test_many_jobs_that_wait(self) -> None:
        self._check(self._steady_calls(), population.waiting(WAITING, MANY))

    def test_many_jobs_that_wait_and_that_the_server_does_not_expect(
        self,
    ) -> None:
        self.statistics = None
        self._check(self._steady_calls(), population.waiting(WAITING, MANY))

    def test_many_jobs_of_a_tenant_that_is_passed_by(self) -> None:
        """Check this with no other tenant's job, and with one behind them."""
        with self.engine.begin() as connection:
            connection.execute(
                sa.update(base.JOBS).values(source_tenant_id="big")
            )
        last = self.insert_one(
            source_tenant_id="small",
            destination_region_id="region-9",
            turn=10**9,
        )
        calls: Calls = {
            "to find nothing": lambda: self.assertIsNone(
                self.queue.claim_next("worker", {"big", "small"})
            ),
            "to find another's": self._with(
                last,
                lambda _id: self.assertEqual(
                    last, self.queue.claim_next("worker", {"big"})[0].id
                ),
            ),
        }
        more = population.waiting(WAITING, MANY)
        for row in more:
            row["source_tenant_id"] = "big"
        self._check(calls, more)

    def test_many_jobs_in_the_background(self) -> None:
        self._check(self._steady_calls(), self._background())

    def test_many_jobs_in_the_background_of_other_tenants(self) -> None:
        """They make the search for an interactive one no longer."""
        with self.engine.begin() as connection:
            connection.execute(
                sa.update(base.JOBS).values(source_tenant_id="big")
            )
        last = self.insert_one(
            source_tenant_id="small", destination_region_id="region-9"
        )
        calls: Calls = {
            "to find another's": self._with(
                last,
                lambda _id: self.assertEqual(
                    last, self.queue.claim_next("worker", {"big"})[0].id
                ),
                turn=10**9,
            ),
        }
        self._check(calls, self._background())

    def _background(self) -> list[dict[str, Any]]:
        """Return many jobs in the background that are still patient."""
        rows = population.waiting(WAITING, MANY)
        for row in rows:
            row["turn"] += claim_order.BACKGROUND
            row["tier"] = claim_order.BACKGROUND_TIER
            row["background_since"] = base.LONG_AGO + 9999 * population.DAY
        return rows

    def test_pages(self) -> None:
        self._check(self._pages(), population.over(OVER, MANY), part=5)

    def _insert(self, *rows: dict[str, Any]) -> None:
        """Insert jobs, each with a user's right and trust of its own."""
        self.insert(*rows)
        rights = [population.right(row["id"]) for row in rows]
        with self.engine.begin() as connection:
            for model, values in (
                (models.Authority, [right for right, _trust in rights]),
                (models.Delegation, [trust for _right, trust in rights]),
            ):
                connection.execute(sa.insert(model), values)

    def _check(
        self,
        calls: Calls,
        more: list[dict[str, Any]],
        part: int = 20,
    ) -> None:
        everything = self.effort(self._read_everything)
        before = {name: self.effort(call) for name, call in calls.items()}
        self._insert(*more)
        self.note_statistics()
        allowed = (self.effort(self._read_everything) - everything) / part
        after = {name: self.effort(call) for name, call in calls.items()}
        self.assertEqual(
            {},
            {
                name: (before[name], after[name])
                for name in calls
                if after[name] - before[name] > allowed
            },
        )

    def _read_everything(self) -> None:
        with self.engine.connect() as connection:
            connection.execute(
                sa.select(base.JOBS).where(base.JOBS.c.error_message == "none")
            ).all()

    def _pages(self) -> Calls:
        pages = [
            listing.Page(
                limit=10,
                tenant_id=tenant_id,
                descending=descending,
                marker=self._marker(number),
            )
            for tenant_id in ("tenant-1", None)
            for descending in (True, False)
            for number in (None, 10, OVER // 2, OVER - 10)
        ]
        return {
            str(page): functools.partial(self.jobs.list, page)
            for page in pages
        }

    def _marker(self, number: int | None) -> Job | None:
        if number is None:
            return None
        status = sorted(FINAL)[number % 3]
        job: Job = self.jobs.get(f"{status}-{number:05}")
        return job

    def _calls_for_all(self) -> Calls:
        """Return the calls that may read all active jobs of a tenant."""
        return {
            "count": lambda: self._create(at_most=10**6),
        }

    def _steady_calls(self) -> Calls:
        return {
            **self._users_calls(),
            **self._claims(),
            **self._workers_calls(),
            **self._fleets_calls(),
            **self._operators_calls(),
            **self._calls_for_rights(),
        }

    def _calls_for_rights(self) -> Calls:
        authorities = self.stores.authorities
        delegations = self.stores.delegations
        job_id = "replicate_requested-00010"
        user_id, trust_id = f"user-{job_id}", f"trust-{job_id}"
        return {
            "look for a trust": lambda: delegations.find(
                user_id, "project", ["member"]
            ),
            "look for unused trusts": lambda: delegations.unused(
                user_id, 1.0, 2
            ),
            "forget a trust": lambda: delegations.remove_unused(trust_id, 1.0),
            "show a right": lambda: authorities.get(job_id),
            "sweep rights": lambda: authorities.sweep(10, job_id),
        }

    def _create(self, at_most: int = 0, **changes: Any) -> None:
        changes = {
            "source_tenant_id": "tenant-1",
            "destination_region_id": "region-1",
        } | changes
        self.jobs.create(base.new_job(**changes), at_most)

    def _users_calls(self) -> Calls:
        placed = [
            self.jobs.get(f"replicate_requested-{number:05}")
            for number in (5, 100)
        ]
        return {
            "show": lambda: self.jobs.get("error-00001"),
            "create": self._create,
            "create in the background": lambda: self._create(
                priority=Priority.BACKGROUND
            ),
            "create many": lambda: self.jobs.create_all(
                [
                    db_jobs.Creation(base.new_job(source_tenant_id="tenant-1"))
                    for _each in range(4)
                ]
            ),
            "look for a key": lambda: self.stores.idempotency_keys.find(
                idempotency.Key(project_id="p", value="v", digest="d")
            ),
            "create the first": lambda: self._create(source_tenant_id="new"),
            "create elsewhere": lambda: self._create(
                destination_region_id="new"
            ),
            "cancel what waits": self._with(
                "replicate_requested-00050", self.jobs.request_cancel
            ),
            "cancel what runs": self._with(
                "replicating-00001", self.jobs.request_cancel
            ),
            "create too many": lambda: self.assertRaises(
                exception.TooManyJobs, self._create, at_most=5
            ),
            "places in the queue": lambda: self.jobs.queue_positions(placed),
            "another run": self._with("error-00001", self.jobs.request_retry),
        }

    def _claims(self) -> Calls:
        some = ["region-1", "region-2"]
        return {
            "claim": self._claim(),
            "claim of some regions": self._claim(destination_regions=some),
            "claim of none": self._claim(destination_regions=["none"]),
            "claim with limits": self._claim(max_copies_per_region=LIMITS),
            "claim without room": self._claim(max_copies_per_region={"*": 1}),
            "claim of some regions with limits": self._claim(
                destination_regions=some, max_copies_per_region=LIMITS
            ),
            "cancel": lambda: self.queue.claim_canceled("worker"),
            "promote": lambda: self.queue.promote(3600, 10),
        }

    def _claim(self, **worker: Any) -> Callable[[], Any]:
        stores = self.new_stores(**worker)
        # The statements of our engine are measured.
        for part in (
            stores.queue,
            stores.queue._slots,
            stores.queue._transitions,
        ):
            part._database = self.stores.database
        return lambda: stores.queue.claim_next("worker")

    def _workers_calls(self) -> Calls:
        writes: dict[str, Callable[[str], Any]] = {
            "reserve": lambda job_id: self.owned.reserve_image(
                _claim(job_id), "image"
            ),
            "progress": lambda job_id: self.owned.record_progress(
                _claim(job_id), 9, 1
            ),
            "renew": lambda job_id: self.owned.renew(_claim(job_id)),
            "give back": lambda job_id: self.owned.give_back(_claim(job_id)),
            "retry": lambda job_id: self.owned.retry(
                _claim(job_id), 1, ErrorCode.SOURCE_BUSY, "It was busy."
            ),
            "finish": lambda job_id: self.owned.finish(
                _claim(job_id), 1000, 9, base.VERIFICATION
            ),
        }
        return {
            name: self._with("replicating-00005", write)
            for name, write in writes.items()
        }

    def _fleets_calls(self) -> Calls:
        left = self.jobs.get("error-00007")
        return {
            "rescue": lambda: self.queue.release_expired("worker", ["one"]),
            "rescue one": self._with(
                "replicating-00006",
                lambda _id: self.queue.release_expired("worker", []),
                lease_expires_at=base.LONG_AGO,
            ),
            "look for what was left": self._with(
                "error-00004",
                lambda _id: self.leftovers.find(10),
                reserved_image_id="left",
            ),
            "sweep": lambda: self.leftovers.record_removed(left),
        }

    def _operators_calls(self) -> Calls:
        known = [f"image-{number}" for number in (15, 16, 17)]
        return {
            "purge": lambda: self.jobs.purge(population.DAY, 10),
            "purge nothing": lambda: self.jobs.purge(
                9999 * population.DAY, 10
            ),
            "look at the fleet": self.workers.list,
            "know images": lambda: self.jobs.known_images(known),
        }

    def _with(
        self, job_id: str, call: Callable[[str], Any], **changes: Any
    ) -> Callable[[], Any]:
        """Return a call that finds the job in its first state."""
        row = self.read(job_id) | changes

        def prepared() -> None:
            self.change(job_id, **row)
            call(job_id)

        return prepared


class TestCostsSQLite(Costs, effort.SQLite):
    pass


class TestCostsAnalyzedSQLite(Costs, effort.AnalyzedSQLite):
    pass


class TestCostsMariaDB(Costs, effort.MariaDB):
    pass


class TestCostsPostgreSQL(Costs, effort.PostgreSQL):
    pass
