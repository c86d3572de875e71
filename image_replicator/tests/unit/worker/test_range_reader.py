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

"""Reading a range over connections that break."""

import itertools
import random
import types
from typing import Any

import fixtures
import testtools

from image_replicator import exception
from image_replicator.errors import ErrorCode
from image_replicator.tests.unit.worker import sources
from image_replicator.worker import range_reader

DATA = random.Random(1).randbytes(10_000)


class TestRangeReader(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.source = sources.Source(DATA)
        self.addCleanup(lambda: self.assertEqual(0, self.source.unclosed))
        self.waits: list[float] = []
        self.failures: list[ErrorCode] = []

    def _reader(
        self, first: int = 0, end: int = len(DATA), **kwargs: Any
    ) -> range_reader.RangeReader:
        return range_reader.RangeReader(
            self.source.begin,
            len(DATA),
            first,
            end,
            chunk_size=1000,
            wait=self.waits.append,
            on_failure=lambda error: self.failures.append(error.code),
            skip=kwargs.get("skip", True),
        )

    def _assert_fails(
        self, code: ErrorCode, reading: range_reader.RangeReader
    ) -> None:
        error = self.assertRaises(exception.TransferError, list, reading)
        self.assertEqual(code, error.code)

    def test_all_of_it(self) -> None:
        reading = self._reader()
        self.assertEqual(DATA, b"".join(reading))
        self.assertEqual(len(DATA), reading.offset)
        self.assertEqual([(0, len(DATA) - 1)], self.source.asked)

    def test_a_part_of_it(self) -> None:
        self.assertEqual(DATA[10:2345], b"".join(self._reader(10, 2345)))
        self.assertEqual([(10, 2344)], self.source.asked)

    def test_a_broken_read_resumes_at_the_missing_byte(self) -> None:
        for broken_after in (1, 999, 1000, 1001, 9999):
            self.source.asked.clear()
            self.source.breaks = [broken_after]
            self.assertEqual(DATA, b"".join(self._reader()))
            self.assertEqual(
                (broken_after, len(DATA) - 1), self.source.asked[-1]
            )

    def test_whatever_comes_before_each_break(self) -> None:
        for size in (1, 2, 7, 333, 999, 1000, 1001, 5000, 9999, 10_000):
            first, end = 17, len(DATA) - 23
            self.source.breaks = [size] * len(DATA)
            self.assertEqual(
                DATA[first:end], b"".join(self._reader(first, end)), f"{size}"
            )
        self.assertEqual([], self.waits)

    def test_as_often_as_there_is_a_byte_in_between(self) -> None:
        self.source.breaks = [1] * 500
        self.assertEqual(DATA, b"".join(self._reader()))
        self.assertEqual(500, len(self.failures))
        self.assertEqual([], self.waits)

    def test_an_end_that_comes_too_early_is_a_break(self) -> None:
        first = self.source.begin(0, 4999)
        begins = [first]
        reading = self._reader()
        reading._begin = lambda *part: (
            begins.pop() if begins else self.source.begin(*part)
        )
        self.assertEqual(DATA, b"".join(reading))
        self.assertEqual((5000, len(DATA) - 1), self.source.asked[-1])

    def test_no_byte_in_between_is_tried_a_few_times(self) -> None:
        self.source.breaks = [100] + [0] * 100
        self._assert_fails(ErrorCode.SOURCE_READ_FAILED, self._reader())
        tries = len(self.source.asked)
        self.assertEqual(range_reader._MOST_FAILURES + 1, tries)
        self.assertEqual(
            [range_reader._FIRST_WAIT * 2**n for n in range(tries - 2)],
            self.waits,
        )

    def test_a_byte_in_between_begins_the_count_anew(self) -> None:
        nearly = [0] * (range_reader._MOST_FAILURES - 1)
        self.source.breaks = [*nearly, 1, *nearly, 1, *nearly]
        self.assertEqual(DATA, b"".join(self._reader()))
        self.assertEqual(
            [range_reader._FIRST_WAIT * 2**n for n in range(len(nearly))] * 3,
            self.waits,
        )

    def test_errors_other_than_the_sources_are_not_retried(self) -> None:
        def fall_over() -> None:
            raise ZeroDivisionError

        self.source.before_read = fall_over
        self.assertRaises(ZeroDivisionError, list, self._reader())
        self.assertEqual(1, len(self.source.asked))

    def test_errors_that_may_pass_are_retried(self) -> None:
        codes = [
            ErrorCode.SOURCE_BUSY,
            ErrorCode.SOURCE_UNAVAILABLE,
            ErrorCode.SOURCE_FAILED,
            ErrorCode.SOURCE_UNAUTHORIZED,
            ErrorCode.SOURCE_UNREACHABLE,
        ]
        self.source.refusals = list(codes)
        self.assertEqual(DATA, b"".join(self._reader()))
        self.assertEqual(codes, self.failures)

    def test_errors_that_do_not_pass_are_not_retried(self) -> None:
        for code in (ErrorCode.SOURCE_NOT_FOUND, ErrorCode.SOURCE_FORBIDDEN):
            self.source.asked.clear()
            self.source.refusals = [code]
            self._assert_fails(code, self._reader())
            self.assertEqual(1, len(self.source.asked))

    def test_waiting_may_stop_it(self) -> None:
        def stop(seconds: float) -> None:
            raise ZeroDivisionError

        self.source.refusals = [ErrorCode.SOURCE_BUSY] * 9
        reading = self._reader()
        reading._wait = stop
        self.assertRaises(ZeroDivisionError, list, reading)

    def test_another_size_is_found_out_before_a_byte(self) -> None:
        for total in (len(DATA) - 1, len(DATA) + 1):
            self.source.total = total
            self._assert_fails(ErrorCode.SOURCE_SIZE_DIFFERS, self._reader())

    def test_more_than_the_size_is_found_out(self) -> None:
        self.source.data += b"more"
        self.source.ranged = False
        passed: list[bytes] = []
        error = self.assertRaises(
            exception.TransferError, passed.extend, self._reader()
        )
        self.assertEqual(ErrorCode.SOURCE_SIZE_DIFFERS, error.code)
        self.assertEqual(DATA, b"".join(passed))

    def test_less_than_the_size_is_found_out_soon(self) -> None:
        for ranged in (True, False):
            self.source.ranged = ranged
            self.source.stored = 6543
            self.source.asked.clear()
            error = self.assertRaises(
                exception.TransferError, list, self._reader()
            )
            self.assertEqual(ErrorCode.SOURCE_SIZE_DIFFERS, error.code)
            self.assertIn("after 6543 bytes", error.message)
            self.assertEqual(3, len(self.source.asked))

    def test_data_that_ends_early_once_is_not_short(self) -> None:
        """A service that is restarted ends its answers without an error."""
        self.source.breaks = [0, 10, 0]
        self.source.stored = 6543
        reading = self._reader()
        passed = bytearray()
        for chunk in reading:
            passed += chunk
            if len(passed) == self.source.stored:
                self.source.stored = None
        self.assertEqual(DATA, passed)

    def test_a_silent_source_is_waited_for_so_long(self) -> None:
        self.assertEqual(
            7 * (30.0 + 60.0) + 7.75,
            range_reader.longest_silence(30.0, 60.0),
        )

    def test_a_source_without_ranges_is_skipped_through(self) -> None:
        self.source.ranged = False
        self.source.breaks = [2500]
        reading = self._reader()
        self.assertEqual(DATA, b"".join(reading))
        self.assertFalse(reading.ranged)
        self.assertEqual(2, len(self.source.asked))

    def test_one_that_breaks_before_what_is_missing_comes_no_further(
        self,
    ) -> None:
        self.source.ranged = False
        self.source.breaks = [2500] * 99
        self._assert_fails(ErrorCode.SOURCE_READ_FAILED, self._reader())
        self.assertEqual(
            range_reader._MOST_FAILURES + 1, len(self.source.asked)
        )

    def test_a_source_that_has_no_ranges_any_more(self) -> None:
        self.source.breaks = [2500]
        reading = self._reader(100)
        passed = bytearray()
        for chunk in reading:
            passed += chunk
            self.source.ranged = False
        self.assertEqual(DATA[100:], passed)

    def test_the_whole_of_a_source_without_ranges(self) -> None:
        self.source.ranged = False
        reading = self._reader(skip=False)
        self.assertEqual(DATA, b"".join(reading))

    def test_a_range_that_begins_elsewhere(self) -> None:
        """Earlier bytes are skipped; a range must not begin too late."""
        begins = [30, 60]
        reading = self._reader(50, 100)
        reading._begin = lambda _first, last: self.source.begin(
            begins.pop(), last
        )
        self.assertEqual(DATA[50:100], b"".join(reading))
        self.assertEqual([ErrorCode.SOURCE_READ_FAILED], self.failures)

    def test_nothing_at_all(self) -> None:
        self.assertEqual([], list(self._reader(10, 10)))
        self.assertEqual([], self.source.asked)

    def test_the_offset_counts_the_bytes_read_before_a_stop(self) -> None:
        reading = self._reader(5)
        chunks = iter(reading)
        passed = next(chunks) + next(chunks)
        chunks.close()
        self.assertEqual(5 + len(passed), reading.offset)
        self.assertEqual(0, self.source.unclosed)

    def test_it_knows_how_long_the_first_byte_took(self) -> None:
        now = itertools.count()
        clock = types.SimpleNamespace(monotonic=lambda: float(next(now)))
        self.useFixture(fixtures.MockPatchObject(range_reader, "time", clock))
        self.source.breaks = [100]
        reading = self._reader()
        self.assertEqual(0.0, reading.latency)
        list(reading)
        self.assertEqual(1.0, reading.latency)

    def test_a_part_of_a_source_without_ranges(self) -> None:
        self.source.ranged = False
        reading = self._reader(10, 20, skip=False)
        self.assertRaises(range_reader.NotRanged, list, reading)
