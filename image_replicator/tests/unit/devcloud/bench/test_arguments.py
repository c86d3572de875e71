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

"""The benchmark: the command line."""

import contextlib
import io

import testtools

from devcloud.bench import arguments

PARTS = ("lan", "wan", "api")


class TestArguments(testtools.TestCase):
    def _parse(self, *words: str):
        return arguments.parse(words, PARTS, "")

    def _refuse(self, *words: str) -> str:
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            self.assertRaises(SystemExit, self._parse, *words)
        return said.getvalue()

    def test_nothing_said_is_everything(self) -> None:
        options = self._parse()
        self.assertEqual([*PARTS], options.parts)
        self.assertEqual(5, options.pairs)
        self.assertEqual([1024, 4096], options.lan_sizes)
        self.assertEqual(4 << 30, options.largest_image)

    def test_a_short_run_is_small_where_nothing_else_is_said(self) -> None:
        options = self._parse("--short", "--wan-size", "100", "wan")
        self.assertEqual(2, options.pairs)
        self.assertEqual(100, options.wan_size)
        self.assertEqual(16, options.wan_other_size)
        # Both exist at once.
        self.assertEqual((100 + 16) << 20, options.largest_image)

    def test_a_part_is_run_once(self) -> None:
        self.assertEqual(
            ["wan", "lan"], self._parse(*"wan lan wan".split()).parts
        )

    def test_an_unknown_part_is_refused(self) -> None:
        self.assertIn("no such part: moon", self._refuse("moon"))

    def test_one_number_of_streams_cannot_be_compared(self) -> None:
        self.assertIn("--streams", self._refuse("--streams", "4"))
