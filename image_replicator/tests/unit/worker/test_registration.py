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

"""A worker is in the list of workers while it runs."""

import dataclasses

import sqlalchemy as sa

from image_replicator import jobs
from image_replicator.db import models
from image_replicator.db import times
from image_replicator.tests.unit.worker import base
from image_replicator.worker import availability
from image_replicator.worker import registration


class TestRegistration(base.WorkerTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.now = 0.0
        self.worker = jobs.WorkerDescription(
            id=base.WORKER,
            host="here",
            version="1.2.3",
            concurrency=4,
            destination_regions="ot2,ot3",
        )
        self.registration = registration.Registration(
            self.stores.workers,
            availability.DatabaseAvailability(),
            self.worker,
            15,
            clock=lambda: self.now,
        )

    def _seen(self) -> list[jobs.RegisteredWorker]:
        return [listed.worker for listed in self.stores.workers.list()]

    def test_the_worker_is_shown_as_it_is(self) -> None:
        self.registration.run()
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
            self.registration.run()
            if self._seen():
                signs.append(second)
        self.assertEqual([0, 15, 30], signs)

    def _forget(self) -> None:
        with self.stores.database.engine.begin() as connection:
            connection.execute(sa.delete(models.Worker))

    def test_it_begins_once(self) -> None:
        self.registration.run()
        (first,) = self._seen()
        self.now = 15.0
        self.registration.run()
        (second,) = self._seen()
        self.assertEqual(first.started_at, second.started_at)

    def test_it_is_removed_at_the_end(self) -> None:
        self.registration.run()
        self.registration.unregister()
        self.assertEqual([], self._seen())

    def test_those_that_are_silent_for_a_day_are_forgotten(self) -> None:
        self.registration.run()
        for name, hours in (("quiet", 23), ("gone", 25)):
            other = dataclasses.replace(self.worker, id=name)
            self.stores.workers.register(other)
            with self.stores.database.engine.begin() as connection:
                connection.execute(
                    sa.update(models.Worker)
                    .where(models.Worker.id == name)
                    .values(seen_at=times.from_now(-3600 * hours))
                )
        self.now = 15.0
        self.registration.run()
        self.assertEqual(
            {base.WORKER, "quiet"}, {worker.id for worker in self._seen()}
        )
