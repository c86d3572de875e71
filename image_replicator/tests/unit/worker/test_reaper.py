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

"""Jobs whose lease has expired are released at intervals."""

import sqlalchemy as sa

from image_replicator.db import models
from image_replicator.tests.unit.worker import base
from image_replicator.worker import availability
from image_replicator.worker import reaper


class TestStalledJobReaper(base.WorkerTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.now = 0.0
        self.reaper = reaper.StalledJobReaper(
            self.stores.queue,
            availability.DatabaseAvailability(),
            "another",
            30,
            clock=lambda: self.now,
        )

    def _released_at(self, now: float) -> bool:
        """Return whether a run of the reaper at a time releases a job."""
        self.now = now
        self.new_job()
        job, _claim = self.claim()
        with self.stores.database.engine.begin() as connection:
            connection.execute(
                sa.update(models.Job).values(lease_expires_at=job.created_at)
            )
        self.reaper.run([])
        released = self.stores.jobs.get(job.id).worker_id is None
        with self.stores.database.engine.begin() as connection:
            connection.execute(sa.delete(models.Job))
        return released

    def test_it_looks_once_an_interval(self) -> None:
        released = [now for now in range(0, 100, 5) if self._released_at(now)]
        self.assertEqual([0, 30, 60, 90], released)

    def test_it_says_from_whom(self) -> None:
        self.assertTrue(self._released_at(0))
        self.assertIn(base.WORKER, self.logger.output)
