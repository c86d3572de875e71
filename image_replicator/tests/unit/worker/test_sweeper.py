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

"""Images that ended jobs left behind are removed at intervals."""

from oslo_utils import uuidutils

from image_replicator import exception
from image_replicator import jobs
from image_replicator.errors import ErrorCode
from image_replicator.tests.unit.worker import base
from image_replicator.worker import availability
from image_replicator.worker import sweeper


class TestLeftoverSweeper(base.WorkerTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.now = 0.0
        self.removed: list[str] = []
        self.refused: list[str] = []
        self.sweeper = sweeper.LeftoverSweeper(
            self.stores.leftovers,
            availability.DatabaseAvailability(),
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
        self.stores.leftovers.record_removed(job)

    def _leave(self) -> str:
        """Create a job in a final status that still has an image."""
        job_id = self.new_job(b"")
        _job, claim = self.claim()
        self.stores.owned.reserve_image(claim, uuidutils.generate_uuid())
        self.stores.owned.fail(claim, ErrorCode.SOURCE_BUSY, "The words.")
        return job_id

    def test_left_images_are_removed(self) -> None:
        left = {self._leave(), self._leave()}
        self.new_job()
        self.sweeper.run()
        self.assertEqual(left, set(self.removed))
        self.now = 300.0
        self.sweeper.run()
        self.assertEqual(2, len(self.removed))

    def test_it_is_looked_for_now_and_then(self) -> None:
        self.sweeper.run()
        self._leave()
        for now, expected in ((299.0, 0), (300.0, 1)):
            self.now = now
            self.sweeper.run()
            self.assertEqual(expected, len(self.removed))

    def test_images_that_stay_do_not_delay_the_others(
        self,
    ) -> None:
        left = [self._leave() for _ in range(5)]
        self.refused = left[:2]
        self.sweeper.run()
        self.assertEqual(set(left), set(self.removed))
        for job_id in left:
            row = self.stores.jobs.get(job_id)
            self.assertIs(
                job_id in self.refused, row.reserved_image_id is not None
            )
        self.assertEqual(2, self.logger.output.count("Not now."))
