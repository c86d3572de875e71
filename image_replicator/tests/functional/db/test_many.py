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

"""Many jobs of one request, and requests with a key: on three databases."""

import datetime
import json
from collections.abc import Sequence
from concurrent import futures
from typing import Any

import sqlalchemy as sa
from oslo_db.sqlalchemy import test_fixtures

from image_replicator import authority
from image_replicator import exception
from image_replicator.db import idempotency
from image_replicator.db import jobs as db_jobs
from image_replicator.db import models
from image_replicator.db import times
from image_replicator.jobs import JobStatus
from image_replicator.jobs import Present
from image_replicator.tests.functional.db import base
from image_replicator.tests.functional.db import contender

load_tests = test_fixtures.optimize_module_test_loader()

THREADS = 8
PROCESSES = 4

_RIGHT = authority.Authority(user_id="user", source_trust_id="trust")


def creations(*tenants: str, **changes: Any) -> list[db_jobs.Creation]:
    """Return jobs for one image to several tenants."""
    changes = {"source_image_id": "the same"} | changes
    return [
        db_jobs.Creation(
            base.new_job(destination_tenant_id=tenant, **changes), _RIGHT
        )
        for tenant in tenants
    ]


class Many(base.JobsMixin):
    def _tables(self) -> dict[str, list[Any]]:
        """Return all rows of the tables that a request writes."""
        with self.engine.connect() as connection:
            return {
                table.name: [
                    tuple(row) for row in connection.execute(sa.select(table))
                ]
                for table in models.Base.metadata.sorted_tables
            }

    def test_all_are_made_in_the_order_asked_for(self) -> None:
        made = self.jobs.create_all(creations("C", "A", "B"))
        self.assertEqual(
            ["C", "A", "B"], [job.destination_tenant_id for job in made]
        )
        self.assertEqual(
            [(None, "replicate_requested")] * 3,
            [(change.old, change.new) for change in self.changes],
        )
        for job in made:
            self.assertEqual(_RIGHT, self.stores.authorities.get(job.id))
        claimed = [self.queue.claim_next("worker")[0].id for _job in made]
        self.assertEqual([job.id for job in made], claimed)

    def test_their_turns_follow_each_other(self) -> None:
        self.jobs.create_all(creations("A", "B"))
        elsewhere = creations("A", "B", destination_region_id="ot3")
        turns = [
            job.turn
            for job in self.jobs.create_all([*creations("C", "D"), *elsewhere])
        ]
        self.assertEqual([2, 3, 0, 1], turns)

    def test_none_is_made_if_one_is_under_way(self) -> None:
        self.jobs.create_all(creations("B"))
        before = self._tables()
        for asked, place in (("AB", 1), ("ACB", 2), ("BA", 0)):
            error = self.assertRaises(
                exception.DuplicateJob,
                self.jobs.create_all,
                creations(*asked),
                once=self._once(asked),
            )
            self.assertEqual(place, error.place)
        self.assertEqual(before, self._tables())
        self.assertEqual(1, len(self.changes))

    def test_none_is_made_beyond_the_limit(self) -> None:
        self.jobs.create_all(creations("A"), 3)
        before = self._tables()
        error = self.assertRaises(
            exception.TooManyJobs,
            self.jobs.create_all,
            creations("B", "C", "D"),
            3,
            self._once("key"),
        )
        self.assertIn("1 active jobs and may have 3", error.message)
        self.assertEqual(before, self._tables())
        self.jobs.create_all(creations("B", "C"), 3)
        error = self.assertRaises(
            exception.TooManyJobs, self.jobs.create_all, creations("E"), 3
        )
        self.assertIn("as many as it may", error.message)

    def test_a_rehearsal_says_the_same_and_writes_nothing(self) -> None:
        self.jobs.create_all(creations("A"))
        before = self._tables()
        for at_most in (0, 2):
            (job,) = self.jobs.create_all(
                creations("B"), at_most, rehearsal=True
            )
            self.assertEqual("B", job.destination_tenant_id)
        self.assertRaises(
            exception.DuplicateJob,
            self.jobs.create_all,
            creations("B", "A"),
            rehearsal=True,
        )
        self.assertRaises(
            exception.TooManyJobs,
            self.jobs.create_all,
            creations("B", "C"),
            2,
            rehearsal=True,
        )
        self.assertEqual(before, self._tables())
        self.assertEqual(1, len(self.changes))

    def test_one_whose_image_is_there_is_over_at_once(self) -> None:
        present = Present(image_id="there", verification=base.VERIFICATION)
        new = base.new_job()
        made = self.jobs.create_all(
            [db_jobs.Creation(new, present=present), *creations("B")], 1
        )
        job = made[0]
        self.assertEqual(JobStatus.REPLICATED, job.status)
        self.assertTrue(job.skipped)
        self.assertEqual("there", job.destination_image_id)
        self.assertEqual(
            base.VERIFICATION.source, job.verification_destination
        )
        self.assertEqual(100, job.copy_progress)
        self.assertIsNotNone(job.finished_at)
        self.assertIsNone(self.stores.authorities.get(job.id))
        self.assertEqual(
            [(None, "replicated"), (None, "replicate_requested")],
            [(change.old, change.new) for change in self.changes],
        )
        # It holds back neither the same copy nor another job.
        self.assertEqual(made[1].id, self.queue.claim_next("worker")[0].id)
        self.jobs.create(new)

    # Requests with a key

    def _key(self, value: str, **changes: str) -> idempotency.Key:
        values = {"project_id": "source", "digest": "a digest"} | changes
        return idempotency.Key(value=value, **values)

    def _once(self, value: str, **changes: str) -> db_jobs.Once:
        return db_jobs.Once(self._key(value, **changes), json.dumps)

    def _find(self, value: str, **changes: str) -> Any:
        return self.stores.idempotency_keys.find(self._key(value, **changes))

    def test_a_key_is_remembered_with_its_answer(self) -> None:
        made = self.jobs.create_all(
            creations("A", "B"), once=self._once("key")
        )
        found = self._find("key")
        self.assertEqual("a digest", found.digest)
        self.assertEqual([job.id for job in made], json.loads(found.answer))
        for other in (
            self._key("KEY"),
            self._key("key", project_id="another"),
        ):
            self.assertIsNone(self.stores.idempotency_keys.find(other))

    def test_a_taken_key_comes_before_a_job_under_way(self) -> None:
        self.jobs.create_all(creations("A"), once=self._once("key"))
        before = self._tables()
        self.assertRaises(
            idempotency.KeyTaken,
            self.jobs.create_all,
            creations("A"),
            1,
            self._once("key"),
        )
        self.assertEqual(before, self._tables())

    def test_the_longest_key_and_answer_fit(self) -> None:
        key = "k" * 255
        answer = "é" * 255 * 64
        self.jobs.create_all(
            creations("A"), once=db_jobs.Once(self._key(key), lambda _: answer)
        )
        self.assertEqual(answer, self._find(key).answer)

    def _age(self, value: str, hours: float) -> None:
        with self.engine.begin() as connection:
            connection.execute(
                sa.update(models.IdempotencyKey)
                .where(models.IdempotencyKey.key == value)
                .values(created_at=times.from_now(-hours * 3600))
            )

    def test_a_key_is_good_for_another_request_after_a_day(self) -> None:
        for image_id in ("one", "two"):
            made = creations("A", source_image_id=image_id)
            self.jobs.create_all(made, once=self._once("key"))
            self._age("key", 23.9)
            self.assertIsNotNone(self._find("key"))
            self._age("key", 24.1)
            self.assertIsNone(self._find("key"))

    def test_old_keys_are_purged(self) -> None:
        for number in range(5):
            image = f"image-{number}"
            self.jobs.create_all(
                creations("A", source_image_id=image), once=self._once(image)
            )
        for number in range(3):
            self._age(f"image-{number}", 25 + number)
        keys = self.stores.idempotency_keys
        self.assertEqual(2, keys.purge(2))
        left = {row[1] for row in self._tables()["idempotency_keys"]}
        self.assertEqual({"image-0", "image-3", "image-4"}, left)
        self.assertEqual([1, 0], [keys.purge(2), keys.purge(2)])
        # The jobs stay; they have an age of their own.
        self.assertEqual(0, self.jobs.purge(datetime.timedelta(0), 9))
        self.assertEqual(5, len(self.all_ids()))

    def test_of_many_at_once_one_makes_the_jobs(self) -> None:
        def ask(_number: int) -> str:
            return contender.ask_once(self.stores, "A", "B")

        with futures.ThreadPoolExecutor(THREADS) as pool:
            told = list(pool.map(ask, range(THREADS)))
        self._check_one_set(told, THREADS)

    def test_of_many_processes_one_makes_the_jobs(self) -> None:
        self._check_one_set(
            base.contend(self.url, "order", PROCESSES), PROCESSES
        )

    def _check_one_set(self, told: Sequence[str], count: int) -> None:
        """Check that all were told of the same two jobs."""
        self.assertEqual(count, len(told))
        self.assertEqual(1, len(set(told)), str(told))
        self.assertEqual(self.all_ids(), set(json.loads(told[0])))
        self.assertEqual(2, len(self.all_ids()))


class TestManySQLite(Many, base.SQLite):
    pass


class TestManyMariaDB(Many, base.MariaDB):
    pass


class TestManyPostgreSQL(Many, base.PostgreSQL):
    pass
