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

"""The number of streams that the tuner decides on."""

import testtools

from image_replicator.worker import tuner

#: Seconds to the first byte of a piece.
SOON = 0.01
LATE = 0.2


class TunerTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.now = 0.0

    def new_tuner(
        self, round_trip: float = 0.0, least: int = 1, most: int = 32
    ) -> tuner.Tuner:
        return tuner.Tuner(least, most, round_trip, clock=lambda: self.now)


class TestBeginning(TunerTestCase):
    def test_a_source_nearby_is_begun_with_one(self) -> None:
        self.assertEqual(1, self.new_tuner(0.02).streams)
        self.assertEqual(4, self.new_tuner(0.02, least=4).streams)

    def test_a_source_far_away_is_begun_with_many(self) -> None:
        self.assertEqual(20, self.new_tuner(0.07).streams)
        self.assertEqual(32, self.new_tuner(0.3).streams)
        self.assertEqual(8, self.new_tuner(0.3, most=8).streams)

    def test_what_an_earlier_copy_settled_on(self) -> None:
        for known, expected in ((None, 1), (1, 1), (13, 13), (99, 32)):
            tuned = tuner.Tuner(1, 32, 0.0, known)
            self.assertEqual(expected, tuned.streams)
        self.assertEqual(20, tuner.Tuner(1, 32, 0.07, 2).streams)

    def test_it_grows_fast_while_more_bring_much_more(self) -> None:
        tuned = self.new_tuner()
        tuned.observe(10.0, 0.9, 1.0, LATE)
        self.assertEqual(4, tuned.streams)
        tuned.observe(40.0, 0.9, 4.0, LATE)
        self.assertEqual(16, tuned.streams)
        tuned.observe(160.0, 0.9, 16.0, LATE)
        self.assertEqual(32, tuned.streams)

    def test_it_grows_slowly_once_more_bring_a_little_more(self) -> None:
        tuned = self.new_tuner()
        tuned.observe(10.0, 0.9, 1.0, LATE)
        tuned.observe(19.0, 0.9, 4.0, LATE)
        self.assertIs(False, tuned.fast)
        self.assertEqual(8, tuned.streams)

    def test_it_does_not_grow_fast_once_there_are_enough(self) -> None:
        tuned = self.new_tuner()
        tuned.observe(10.0, 0.9, 1.0, LATE)
        self.assertIs(True, tuned.fast)
        tuned.observe(40.0, 0.0, 4.0, LATE)
        self.assertIs(False, tuned.fast)
        tuned = self.new_tuner(most=4)
        tuned.observe(10.0, 0.9, 1.0, LATE)
        self.assertIs(False, tuned.fast)

    def test_a_single_stream_that_keeps_the_upload_busy_is_enough(
        self,
    ) -> None:
        tuned = self.new_tuner()
        tuned.observe(100.0, 0.4, 1.0, SOON)
        self.assertEqual(1, tuned.streams)


class TestTuner(TunerTestCase):
    """The number of streams after the begin."""

    def new_tuner(
        self, round_trip: float = 0.0, least: int = 1, most: int = 32
    ) -> tuner.Tuner:
        tuned = super().new_tuner(round_trip, least, most)
        tuned.fast = False
        return tuned

    def test_it_grows_while_more_bring_more(self) -> None:
        tuned = self.new_tuner()
        for streams, rate in (
            (2, 10.0),
            (4, 20.0),
            (8, 40.0),
            (16, 80.0),
            (32, 160.0),
            (32, 320.0),
        ):
            tuned.observe(rate, 0.9, tuned.streams, SOON)
            self.assertEqual(streams, tuned.streams)

    def test_it_goes_back_to_what_brought_as_much(self) -> None:
        tuned = self.new_tuner(0.07, most=64)
        tuned.observe(100.0, 0.9, 20, LATE)
        self.assertEqual(40, tuned.streams)
        self._disappoint(tuned, 105.0)
        self.assertEqual(20, tuned.streams)
        tuned.observe(100.0, 0.9, 20, LATE)
        self.assertEqual(20, tuned.streams)

    def test_where_bytes_come_soon_more_streams_must_bring_much_more(
        self,
    ) -> None:
        for latency, rate in ((SOON, 149.0), (LATE, 109.0)):
            tuned = self.new_tuner(least=2, most=80)
            tuned.observe(100.0, 0.9, 2, latency)
            self.assertEqual(4, tuned.streams)
            self._disappoint(tuned, rate, latency)
            self.assertEqual(2, tuned.streams)

    def test_a_second_one_pays_soon(self) -> None:
        tuned = self.new_tuner()
        tuned.observe(100.0, 0.9, 1, SOON)
        tuned.observe(111.0, 0.9, 2, SOON)
        self.assertEqual(4, tuned.streams)
        self._disappoint(tuned, 149.0, SOON)
        self.assertEqual(2, tuned.streams)

    def test_one_bad_moment_is_forgiven(self) -> None:
        tuned = self.new_tuner(0.07, most=80)
        tuned.observe(100.0, 0.9, 20, LATE)
        tuned.observe(50.0, 0.9, 40, LATE)
        self.assertEqual(40, tuned.streams)
        tuned.observe(200.0, 0.9, 40, LATE)
        self.assertEqual(80, tuned.streams)

    def test_growth_that_did_not_pay_is_tried_ever_later(self) -> None:
        tuned = self.new_tuner(0.07, most=40)
        tuned.observe(100.0, 0.9, 20, LATE)
        for seconds in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0):
            self._disappoint(tuned, 100.0)
            self.assertEqual(20, tuned.streams)
            self.now += seconds - 0.1
            tuned.observe(100.0, 0.9, 20, LATE)
            self.assertEqual(20, tuned.streams)
            self.now += 0.1
            tuned.observe(100.0, 0.9, 20, LATE)
            self.assertEqual(40, tuned.streams)

    def test_growth_that_paid_is_tried_again_soon(self) -> None:
        tuned = self.new_tuner(0.07, most=80)
        tuned.observe(100.0, 0.9, 20, LATE)
        self._disappoint(tuned, 100.0)
        self.now = 1.0
        tuned.observe(100.0, 0.9, 20, LATE)
        tuned.observe(200.0, 0.9, 40, LATE)
        self._disappoint(tuned, 200.0)
        self.assertEqual(40, tuned.streams)
        self.now = 2.0
        tuned.observe(200.0, 0.9, 40, LATE)
        self.assertEqual(80, tuned.streams)

    def _disappoint(
        self, tuned: tuner.Tuner, rate: float, latency: float = LATE
    ) -> None:
        """Let more streams give no higher rate until the tuner gives up."""
        tuned.observe(rate, 0.9, tuned.streams, latency)
        tuned.observe(rate, 0.9, tuned.streams, latency)

    def test_streams_without_work_end(self) -> None:
        tuned = self.new_tuner(0.07)
        tuned.observe(100.0, 0.0, 9.0, LATE)
        self.assertEqual(12, tuned.streams)
        tuned.observe(100.0, 0.0, 0.3, LATE)
        self.assertEqual(1, tuned.streams)

    def test_a_busy_source_gets_half(self) -> None:
        tuned = self.new_tuner(0.07, least=3)
        tuned.back_off()
        self.assertEqual(10, tuned.streams)
        self.now = 19.0
        tuned.observe(1.0, 0.9, 10, LATE)
        self.assertEqual(10, tuned.streams)
        for _ in range(9):
            tuned.back_off()
        self.assertEqual(3, tuned.streams)

    def test_a_source_without_ranges_gets_one(self) -> None:
        tuned = self.new_tuner(0.07, least=4)
        tuned.use_one_stream()
        tuned.observe(1.0, 0.9, 1, LATE)
        self.assertEqual(1, tuned.streams)

    def test_another_source_that_has_ranges_gets_more_again(self) -> None:
        tuned = self.new_tuner(0.07, least=4)
        tuned.use_one_stream()
        tuned.use_one_stream(False)
        self.assertEqual(4, tuned.streams)
        tuned.observe(1.0, 0.9, 4, LATE)
        self.assertLess(4, tuned.streams)
