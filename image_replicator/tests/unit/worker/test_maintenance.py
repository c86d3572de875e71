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

"""What workers do beside copying, by a clock that the test sets."""

import dataclasses

import sqlalchemy as sa
import testtools
from oslo_utils import uuidutils

from image_replicator import exception
from image_replicator import jobs
from image_replicator.db import models
from image_replicator.errors import ErrorCode
from image_replicator.tests.unit.worker import base
from image_replicator.worker import maintenance
from image_replicator.worker import outage


class TestInterval(testtools.TestCase):
    def test_it_is_time_at_once_and_then_now_and_then(self) -> None:
        now = 7.0
        interval = maintenance.Interval(10.0, lambda: now)
        due = []
        for now in range(7, 60, 3):
            if interval.is_over():
                due.append(now)
        self.assertEqual([7, 19, 31, 43, 55], due)


class TestRescue(base.WorkerTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.now = 0.0
        self.rescue = maintenance.Rescue(
            self.repository,
            outage.Outages(),
            "another",
            60,
            clock=lambda: self.now,
        )

    def _rescued_at(self, now: float) -> bool:
        """Tell whether a job that can be rescued is, at this time."""
        self.now = now
        self.new_job()
        job, _claim = self.claim()
        with self.repository.engine.begin() as connection:
            connection.execute(
                sa.update(models.Job).values(lease_expires_at=job.created_at)
            )
        self.rescue.run([])
        rescued = self.repository.get(job.id).worker_id is None
        with self.repository.engine.begin() as connection:
            connection.execute(sa.delete(models.Job))
        return rescued

    def test_twice_within_the_time_of_a_lease(self) -> None:
        rescued = [now for now in range(0, 100, 5) if self._rescued_at(now)]
        self.assertEqual([0, 30, 60, 90], rescued)

    def test_it_says_from_whom(self) -> None:
        self.assertTrue(self._rescued_at(0))
        self.assertIn(base.WORKER, self.logger.output)


class TestPresence(base.WorkerTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.now = 0.0
        self.worker = jobs.NewWorker(
            id=base.WORKER,
            host="here",
            version="1.2.3",
            concurrency=4,
            destination_regions="ot2,ot3",
        )
        self.presence = maintenance.Presence(
            self.repository,
            outage.Outages(),
            self.worker,
            15,
            clock=lambda: self.now,
        )

    def _seen(self) -> list[jobs.Worker]:
        return [worker for worker, *_more in self.repository.workers()]

    def test_the_worker_is_shown_as_it_is(self) -> None:
        self.presence.run()
        (seen,) = self._seen()
        for field in dataclasses.fields(self.worker):
            self.assertEqual(
                getattr(self.worker, field.name), getattr(seen, field.name)
            )

    def test_it_gives_a_sign_now_and_then(self) -> None:
        signs = []
        for second in range(40):
            self.now = float(second)
            self._forget()
            self.presence.run()
            if self._seen():
                signs.append(second)
        self.assertEqual([0, 15, 30], signs)

    def _forget(self) -> None:
        with self.repository.engine.begin() as connection:
            connection.execute(sa.delete(models.Worker))

    def test_it_begins_once(self) -> None:
        self.presence.run()
        (first,) = self._seen()
        self.now = 15.0
        self.presence.run()
        (second,) = self._seen()
        self.assertEqual(first.started_at, second.started_at)

    def test_it_leaves(self) -> None:
        self.presence.run()
        self.presence.end()
        self.assertEqual([], self._seen())

    def test_those_that_are_silent_for_a_day_are_forgotten(self) -> None:
        self.presence.run()
        for name, hours in (("quiet", 23), ("gone", 25)):
            other = dataclasses.replace(self.worker, id=name)
            self.repository.show_sign_of_life(other)
            with self.repository.engine.begin() as connection:
                connection.execute(
                    sa.update(models.Worker)
                    .where(models.Worker.id == name)
                    .values(seen_at=models.from_now(-3600 * hours))
                )
        self.now = 15.0
        self.presence.run()
        self.assertEqual(
            {base.WORKER, "quiet"}, {worker.id for worker in self._seen()}
        )


class TestSweep(base.WorkerTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.now = 0.0
        self.removed: list[str] = []
        self.refused: list[str] = []
        self.sweep = maintenance.Sweep(
            self.repository,
            outage.Outages(),
            self._remove,
            300,
            clock=lambda: self.now,
        )

    def _remove(self, job: jobs.Job) -> None:
        self.removed.append(job.id)
        if job.id in self.refused:
            raise exception.TransferError(
                ErrorCode.DESTINATION_FAILED, "Not now."
            )
        self.repository.image_swept(job)

    def _leave(self) -> str:
        """Have a job that is over, and left an image."""
        job_id = self.new_job(b"")
        _job, claim = self.claim()
        self.repository.reserve_image(claim, uuidutils.generate_uuid())
        self.repository.fail(claim, ErrorCode.SOURCE_BUSY, "The words.")
        return job_id

    def test_what_is_left_is_removed(self) -> None:
        left = {self._leave(), self._leave()}
        self.new_job()
        self.sweep.run()
        self.assertEqual(left, set(self.removed))
        self.now = 300.0
        self.sweep.run()
        self.assertEqual(2, len(self.removed))

    def test_it_is_looked_for_now_and_then(self) -> None:
        self.sweep.run()
        self._leave()
        for now, expected in ((299.0, 0), (300.0, 1)):
            self.now = now
            self.sweep.run()
            self.assertEqual(expected, len(self.removed))

    def test_what_cannot_be_removed_does_not_stand_before_the_rest(
        self,
    ) -> None:
        left = [self._leave() for _ in range(5)]
        self.refused = left[:2]
        self.sweep.run()
        self.assertEqual(set(left), set(self.removed))
        for job_id in left:
            row = self.repository.get(job_id)
            self.assertIs(
                job_id in self.refused, row.reserved_image_id is not None
            )
        self.assertEqual(2, self.logger.output.count("Not now."))
