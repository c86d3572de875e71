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

"""Measurements of a parallel read, on a clock that the test sets."""

import testtools

from image_replicator.worker import meter


class TestMeter(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.now = 100.0
        self.meter = meter.Meter(lambda: self.now)
        self.meter.restart(1000)

    def _wait(self, seconds: float) -> None:
        with self.meter.waiting():
            self.now += seconds

    def test_it_looks_when_enough_time_has_passed(self) -> None:
        self.now += 1.9
        self.assertIsNone(self.meter.measure(1500, 2.0))
        self.now += 0.1
        self.assertEqual((250.0, 0.0, 0.0), self.meter.measure(1500, 2.0))
        self.assertIsNone(self.meter.measure(1500, 2.0))

    def test_each_look_is_at_what_came_since_the_last(self) -> None:
        self._wait(1.0)
        self.meter.measure(2000, 1.0)
        self.now += 2.0
        self.assertEqual((50.0, 0.0, 0.0), self.meter.measure(2100, 1.0))

    def test_the_part_of_the_time_that_the_upload_waits(self) -> None:
        self._wait(1.0)
        self.now += 5.0
        self._wait(2.0)
        seen = self.meter.measure(1000, 1.0)
        assert seen
        self.assertAlmostEqual(3.0 / 8.0, seen[1])

    def test_waiting_that_is_given_up_counts(self) -> None:
        def give_up() -> None:
            with self.meter.waiting():
                self.now += 4.0
                raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, give_up)
        self.assertEqual((0.0, 1.0, 0.0), self.meter.measure(1000, 1.0))

    def test_how_many_streams_are_busy_on_average(self) -> None:
        self.meter.change_busy(1)
        self.now += 1.0
        self.meter.change_busy(1)
        self.now += 2.0
        self.meter.change_busy(-1)
        self.now += 1.0
        self.assertEqual(1, self.meter.busy)
        self.assertEqual((0.0, 0.0, 1.5), self.meter.measure(1000, 1.0))
        # Streams that began before are still busy.
        self.now += 1.0
        self.assertEqual((0.0, 0.0, 1.0), self.meter.measure(1000, 1.0))

    def test_a_measurement_that_is_begun_anew_forgets(self) -> None:
        self.meter.change_busy(3)
        self._wait(4.0)
        self.meter.restart(2000)
        self.now += 2.0
        self.assertEqual((500.0, 0.0, 3.0), self.meter.measure(3000, 1.0))
