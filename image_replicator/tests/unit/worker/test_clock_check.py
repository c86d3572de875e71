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


import fixtures
import testtools

from image_replicator.db import clock
from image_replicator.worker import availability
from image_replicator.worker import clock_check


class TestClockCheck(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.logger = self.useFixture(fixtures.FakeLogger())
        self.now = 0.0
        self.found: clock.NodeClock | None = None
        self.looks = 0
        self.check = clock_check.ClockCheck(
            self._read,
            availability.DatabaseAvailability(),
            2.0,
            clock=lambda: self.now,
        )

    def _read(self) -> clock.NodeClock | None:
        self.looks += 1
        return self.found

    def _look(self, node: str, ahead: float) -> str:
        """Return the log of the next check of a clock."""
        logged = self.logger.output
        self.found = clock.NodeClock(node, ahead)
        self.check.run()
        self.now += 60
        return self.logger.output.removeprefix(logged)

    def test_clocks_within_the_tolerance(self) -> None:
        self.assertEqual("", self._look("one", 2.0))
        self.assertEqual("", self._look("two", -2.0))

    def test_a_clock_that_is_ahead(self) -> None:
        self.assertIn(
            "the clock of database node one is 2.1 s ahead of this machine's, "
            "and may be 2.0 s off",
            self._look("one", 2.1),
        )

    def test_a_clock_that_is_behind(self) -> None:
        self.assertIn("2.1 s behind this", self._look("one", -2.1))

    def test_each_node_is_told_once(self) -> None:
        self._look("one", 3.0)
        self.assertEqual("", self._look("one", 4.0))
        self.assertIn("node two", self._look("two", 3.0))

    def test_one_that_is_right_again(self) -> None:
        self._look("one", 3.0)
        self.assertIn("node one is right now", self._look("one", 0.0))
        self.assertEqual("", self._look("one", 0.0))
        self.assertIn("3.0 s ahead", self._look("one", 3.0))

    def test_no_cluster(self) -> None:
        self.check.run()
        self.assertEqual("", self.logger.output)
        self.assertEqual(1, self.looks)

    def test_now_and_then(self) -> None:
        self.check.run()
        self.now += 59
        self.check.run()
        self.assertEqual(1, self.looks)
        self.now += 1
        self.check.run()
        self.assertEqual(2, self.looks)
