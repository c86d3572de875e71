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

"""Jobs that have waited in the background are looked for at intervals."""

import fixtures

from image_replicator.tests.unit.worker import test_worker
from image_replicator.worker import availability
from image_replicator.worker import promotion
from image_replicator.worker import worker


class TestPromotion(test_worker.WorkerProcessTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.now = 0.0

    def _found(self, *counts: int, patience: float = 3600) -> list[float]:
        """Look every second; return the times at which jobs were looked for.

        :param counts: the numbers of jobs that are found
        """
        left = list(counts)
        looked: list[float] = []

        def promote(asked: float, limit: int) -> int:
            self.assertEqual(patience, asked)
            looked.append(self.now)
            return left.pop(0) if left else 0

        self.useFixture(
            fixtures.MockPatchObject(self.stores.queue, "promote", promote)
        )
        self.now = 0.0
        duty = promotion.Promotion(
            self.stores.queue,
            availability.DatabaseAvailability(),
            patience,
            clock=lambda: self.now,
        )
        for second in range(125):
            self.now = float(second)
            duty.run()
        return looked

    def test_it_is_looked_for_now_and_then(self) -> None:
        self.assertEqual([0, 60, 120], self._found())

    def test_at_once_if_there_may_be_more(self) -> None:
        self.assertEqual(
            [0, 1, 2, 60, 61, 120], self._found(100, 100, 99, 100)
        )

    def test_sooner_with_less_patience(self) -> None:
        self.assertEqual([0, 40, 80, 120], self._found(patience=160))

    def test_a_worker_does_it(self) -> None:
        self.set(background_patience=0.0)
        impatient = worker.Worker(self.conf, self.stores, self.session)
        looked = self.disturb(self.stores.queue, "promote")
        self.worker = impatient
        self.start()
        self.wait_until(lambda: looked.call_count > 1, "a second look")
