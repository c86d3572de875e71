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

"""The benchmark: the table and the JSON."""

import json

import testtools

from devcloud.bench import measure
from devcloud.bench import report


class TestReport(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.case = measure.Case("wan", "80 ms")
        for ours, theirs in ((3.0, 33.0), (4.0, 32.0)):
            self.case.add("ours", {"s": ours, "peak MiB": 123.456})
            self.case.add("a way with a name that is as long", {"s": theirs})
        self.case.compare(
            "a way with a name that is as long", "ours", "s", measure.Aim(10)
        )
        self.case.notes.append("A note. " * 20)

    def _table(self) -> str:
        return report.table({"date": "today"}, [self.case])

    def test_no_line_is_too_long(self) -> None:
        for line in self._table().splitlines():
            self.assertLessEqual(len(line), 79, line)

    def test_a_result_has_median_and_spread(self) -> None:
        (line,) = (
            line
            for line in self._table().splitlines()
            if line.startswith("  ours, s")
        )
        self.assertEqual(["3.50", "3.00", "4.00", "n=2"], line.split()[2:])

    def test_an_aim_is_told_with_whether_it_is_met(self) -> None:
        table = self._table()
        self.assertIn("wan: 80 ms: aimed at >= 10", table)
        # The ratios are 33 / 3 and 32 / 4.
        self.assertEqual(2, table.count("9.50    8.00   11.00  MISSED"))

    def test_json_has_every_value(self) -> None:
        document = json.loads(
            report.as_json({"date": "today"}, {"pairs": 2}, [self.case])
        )
        self.assertEqual({"pairs": 2}, document["options"])
        (case,) = document["cases"]
        self.assertEqual([3.0, 4.0], case["series"][0]["values"])
        (ratio,) = case["ratios"]
        self.assertEqual([11, 8], ratio["values"])
        self.assertEqual((">= 10", False), (ratio["aim"], ratio["met"]))
