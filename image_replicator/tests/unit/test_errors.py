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

"""The table of error codes."""

import json

import testtools

from image_replicator import errors
from image_replicator.errors import ErrorCode
from image_replicator.errors import Kind
from image_replicator.errors import Side

#: The width of the database's column for a code.
_LONGEST = 64


class TestTable(testtools.TestCase):
    def test_a_code_is_its_word(self) -> None:
        self.assertEqual("source_busy", str(ErrorCode.SOURCE_BUSY))
        self.assertEqual("internal_error", str(ErrorCode.INTERNAL_ERROR))
        for code in ErrorCode:
            self.assertEqual(code.name.lower(), code.word)
            self.assertLessEqual(len(code.word), _LONGEST)

    def test_a_code_is_found_by_side_and_kind(self) -> None:
        self.assertIs(
            ErrorCode.DESTINATION_GONE,
            ErrorCode.of(Side.DESTINATION, Kind.GONE),
        )
        for side, kind in (
            (Side.SOURCE, Kind.INTERNAL_ERROR),
            (Side.DESTINATION, Kind.NOT_ACTIVE),
        ):
            self.assertRaises(ValueError, ErrorCode.of, side, kind)

    def test_only_a_service_with_too_much_to_do_is_busy(self) -> None:
        self.assertEqual(
            [
                "source_busy",
                "source_unavailable",
                "destination_busy",
                "destination_unavailable",
            ],
            [code.word for code in ErrorCode if code.busy],
        )

    def test_rows_are_texts_in_words(self) -> None:
        rows = list(errors.rows())
        self.assertEqual(rows, json.loads(json.dumps(rows)))
        self.assertEqual(
            [code.word for code in ErrorCode], [*map(_code, rows)]
        )
        for row in rows:
            for text in (row["sentence"], row["remedy"]):
                self.assertRegex(text, r"^[A-Z][^{}]*\.$")

    def test_a_row_names_its_side(self) -> None:
        rows = {row["code"]: row for row in errors.rows()}
        self.assertEqual(
            {
                "code": "source_unreachable",
                "side": "source",
                "recovery": "transient",
                "sentence": "The source region's image service does not "
                "answer, or the connection broke.",
                "remedy": "Retry the job later; if it fails again, tell your "
                "operator.",
            },
            rows["source_unreachable"],
        )
        self.assertIsNone(rows["internal_error"]["side"])


def _code(row: dict[str, str]) -> str:
    return row["code"]
