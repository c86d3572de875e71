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

"""The rate of bytes, with a clock that the test sets."""

import testtools

from image_replicator import exception
from image_replicator.errors import ErrorCode
from image_replicator.worker import rate


class RateTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.now = 100.0

    def clock(self) -> float:
        return self.now


class TestSmoothed(RateTestCase):
    def test_it_is_not_known_at_once(self) -> None:
        self.assertIsNone(rate.Smoothed(self.clock).update(50))

    def test_a_steady_rate_is_itself(self) -> None:
        smoothed = rate.Smoothed(self.clock)
        for second in range(20):
            self.now = 100.0 + second
            latest = smoothed.update(second * 1000)
        self.assertEqual(1000, latest)

    def test_a_jump_shows_little_by_little(self) -> None:
        smoothed = rate.Smoothed(self.clock)
        smoothed.update(0)
        self.now += 1
        self.assertEqual(1000, smoothed.update(1000))
        self.now += 1
        latest = smoothed.update(1000) or 0
        self.assertTrue(900 < latest < 1000, latest)
        self.now += 1000
        self.assertEqual(0, smoothed.update(1000))

    def test_a_count_that_begins_anew(self) -> None:
        smoothed = rate.Smoothed(self.clock)
        smoothed.update(0)
        self.now += 1
        smoothed.update(1000)
        self.now += 1
        self.assertIsNone(smoothed.update(10))


class TestLimiter(RateTestCase):
    def test_no_limit_is_no_waiting(self) -> None:
        limiter = rate.Limiter(0, self.clock)
        self.assertEqual({0.0}, {limiter.reserve(10**9) for _ in range(9)})

    def test_over_time_no_more_goes_than_allowed(self) -> None:
        limiter = rate.Limiter(1000, self.clock)
        sent = 0
        while self.now < 200.0:
            self.now += limiter.reserve(100)
            sent += 100
        self.assertLessEqual(sent, 1000 * 100 + 1000)
        self.assertGreaterEqual(sent, 1000 * 100 - 1000)

    def test_all_that_share_it_wait_for_their_turns(self) -> None:
        limiter = rate.Limiter(1000, self.clock)
        self.now += 10
        self.assertEqual(
            [0.0, 0.25, 0.75, 1.25], [limiter.reserve(500) for _ in range(4)]
        )

    def test_a_long_pause_saves_up_little(self) -> None:
        limiter = rate.Limiter(1000, self.clock)
        self.now += 3600
        sent = 0
        while not limiter.reserve(100):
            sent += 100
        self.assertLessEqual(sent, 1000)

    def test_a_piece_takes_a_quarter_of_a_second(self) -> None:
        limiter = rate.Limiter(1000, self.clock)
        self.assertEqual(250, limiter.piece(10_000))
        self.assertEqual(100, limiter.piece(100))
        self.assertEqual(1, rate.Limiter(1, self.clock).piece(100))
        self.assertEqual(100, rate.Limiter(0, self.clock).piece(100))


class TestMinimum(testtools.TestCase):
    def test_a_source_that_sends_enough_is_waited_for(self) -> None:
        minimum = rate.Minimum(100, 60.0)
        for _second in range(1000):
            minimum.check(100, 1.0)

    def test_a_source_that_sends_too_little_is_an_error(self) -> None:
        minimum = rate.Minimum(100, 60.0)
        for _second in range(59):
            minimum.check(99, 1.0)
        error = self.assertRaises(
            exception.TransferError, minimum.check, 99, 1.0
        )
        self.assertEqual(ErrorCode.SOURCE_TOO_SLOW, error.code)
        self.assertIn("99 bytes per second", error.message)

    def test_a_moment_of_silence_is_made_up_for(self) -> None:
        minimum = rate.Minimum(100, 60.0)
        minimum.check(0, 59.0)
        minimum.check(6000, 1.0)
        minimum.check(0, 59.0)

    def test_only_waiting_for_the_source_counts(self) -> None:
        """A slow destination does not count as a slow source."""
        minimum = rate.Minimum(100, 60.0)
        for _hour in range(1000):
            minimum.check(1, 0.0)

    def test_no_minimum(self) -> None:
        rate.Minimum(0, 60.0).check(0, 1000.0)
