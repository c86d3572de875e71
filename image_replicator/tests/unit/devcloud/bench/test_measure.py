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

"""The benchmark: turns, medians, ratios and aims."""

import testtools

from devcloud.bench import measure


class TestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.case = measure.Case("lan", "1 MiB")

    def _take_turns(self, turns: int) -> list[str]:
        """Let two subjects take turns; return their order."""
        ran: list[str] = []

        def subject(name: str, *seconds: float):
            values = iter(seconds)

            def run() -> dict[str, float]:
                ran.append(name)
                return {"s": next(values)}

            return run

        measure.take_turns(
            self.case,
            {
                "ours": subject("ours", 2, 6, 3),
                "theirs": subject("theirs", 1, 2, 3),
            },
            turns,
            lambda words: None,
        )
        return ran

    def test_the_order_changes_each_turn(self) -> None:
        self.assertEqual(
            ["ours", "theirs", "theirs", "ours", "ours", "theirs"],
            self._take_turns(3),
        )

    def test_a_ratio_is_taken_turn_by_turn(self) -> None:
        self._take_turns(3)
        self.case.compare("ours", "theirs", "s")
        (ratio,) = self.case.ratios
        self.assertEqual("ours / theirs, s", ratio.name)
        self.assertEqual([2, 3, 1], ratio.values)
        self.assertIsNone(ratio.met)

    def test_subjects_that_ran_unlike_often_are_not_compared(self) -> None:
        self.case.add("ours", {"s": 1})
        self.case.add("ours", {"s": 1})
        self.case.add("theirs", {"s": 1})
        self.assertRaises(ValueError, self.case.compare, "ours", "theirs", "s")

    def test_an_aim_is_met_by_the_median(self) -> None:
        for values, at_most, met in (
            ([1.0, 1.1, 9.0], True, True),
            ([1.0, 1.3, 1.4], True, False),
            ([0.1, 1.2, 1.3], False, True),
            ([0.1, 1.1, 9.0], False, False),
        ):
            ratio = measure.Ratio(
                "a / b", values, measure.Aim(1.2, at_most=at_most)
            )
            self.assertIs(met, ratio.met, str(values))

    def test_a_spread(self) -> None:
        self.assertEqual(
            measure.Spread(2.5, 1, 9),
            measure.Spread.of([9, 2, 1, 3]),
        )
