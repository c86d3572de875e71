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

"""Several streams at once: everything, once, in order."""

import functools
import itertools
import random
import threading
import time
import types
from collections.abc import Callable
from typing import Any

import fixtures
import testtools

from image_replicator import exception
from image_replicator.errors import ErrorCode
from image_replicator.tests.unit.worker import base
from image_replicator.tests.unit.worker import sources
from image_replicator.worker import meter
from image_replicator.worker import parallel_reader
from image_replicator.worker import tuner

DATA = random.Random(2).randbytes(300_000)


def wait(seconds: float) -> None:
    """Do not."""


class ParallelReaderTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        for name, size in (("_LEAST_PIECE", 1000), ("_FIRST_PIECE", 7000)):
            self.useFixture(
                fixtures.MonkeyPatch(
                    f"{parallel_reader.__name__}.{name}", size
                )
            )
        self.source = sources.Source(DATA)
        self.addCleanup(lambda: self.assertEqual(0, self.source.unclosed))

    def new_reader(
        self, streams: int = 4, offset: int = 0, **kwargs: Any
    ) -> parallel_reader.ParallelReader:
        self.tuner = tuner.Tuner(streams, streams, 0.0)
        reading = parallel_reader.ParallelReader(
            self.source.begin,
            len(DATA),
            offset,
            tuner=self.tuner,
            window=kwargs.get("window", 50_000),
            chunk_size=kwargs.get("chunk_size", 777),
            wait=kwargs.get("wait", wait),
        )
        self.addCleanup(self.assert_over, reading)
        self.addCleanup(reading.close)
        return reading

    def assert_over(self, reading: parallel_reader.ParallelReader) -> None:
        self.assertTrue(reading._threads)
        self.assertFalse(any(t.is_alive() for t in reading._threads))

    def wait_until_idle(self, reading: parallel_reader.ParallelReader) -> None:
        """Wait until no reader reads."""
        self.wait_until(lambda: not reading._meter.busy)

    def wait_until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + base.PATIENCE
        while not holds():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.001)


class TestOrder(ParallelReaderTestCase):
    def test_everything_once_and_in_order(self) -> None:
        for seed in range(30):
            chance = random.Random(seed)
            self.source.asked.clear()
            self.source.breaks = [
                chance.randrange(1, 9000) for _ in range(chance.randrange(40))
            ]
            offset = chance.randrange(len(DATA))
            reading = self.new_reader(
                streams=chance.randrange(2, 12),
                offset=offset,
                window=chance.choice((500, 2_000, 30_000, 1_000_000)),
                chunk_size=chance.choice((100, 1000, 65536)),
            )
            self.assertEqual(DATA[offset:], b"".join(reading), f"{seed}")

    def _meet(self) -> None:
        """Let four readers read once all of them have begun."""
        together = threading.Barrier(4)
        reads = iter(range(1000))

        def meet() -> None:
            if next(reads) < 4:
                together.wait(base.PATIENCE)

        self.source.before_read = meet

    def test_several_read_at_once(self) -> None:
        self._meet()
        self.assertEqual(DATA, b"".join(self.new_reader(4)))

    def test_readers_do_not_end_their_first_pieces_together(self) -> None:
        self._meet()
        self.assertEqual(DATA, b"".join(self.new_reader(4)))
        sizes = [last - first + 1 for first, last in sorted(self.source.asked)]
        self.assertEqual([1750, 3500, 5250, 7000], sizes[:4])

    def test_no_more_is_in_memory_than_the_window(self) -> None:
        for window in (500, 5_000, 40_000):
            self._assert_bounded(self.new_reader(8, window=window), window)

    def _assert_bounded(
        self, reading: parallel_reader.ParallelReader, window: int
    ) -> None:
        self.source.sent = taken = 0

        def look() -> None:
            self.assertLessEqual(self.source.sent - taken, window)

        self.source.before_read = look
        for number, chunk in enumerate(reading):
            taken += len(chunk)
            if number % 50 == 0:
                # An upload that is slow: they read all that they may.
                self.wait_until_idle(reading)
            look()
        self.assertEqual(len(DATA), taken)

    def test_one_reader_is_left_to_whoever_reads_alone(self) -> None:
        reading = self.new_reader(4)
        passed = bytearray()
        for chunk in reading:
            passed += chunk
            self.tuner.use_one_stream()
        self.assertLess(len(passed), len(DATA))
        self.assertEqual(DATA[: len(passed)], passed)

    def test_more_readers_begin_when_there_shall_be_more(self) -> None:
        reading = self.new_reader(2)
        passed = bytearray()
        for chunk in reading:
            passed += chunk
            self.tuner.streams = 6
        self.assertEqual(DATA, passed)
        self.assertGreaterEqual(len(reading._threads), 6)


class TestNumber(ParallelReaderTestCase):
    """The tuner says how many readers there are."""

    def setUp(self) -> None:
        super().setUp()
        # It is asked at each chunk.
        for name in ("_ADAPT_SECONDS", "_ADAPT_LATENCIES"):
            self.useFixture(
                fixtures.MonkeyPatch(f"{parallel_reader.__name__}.{name}", 0.0)
            )
        self.seen: list[tuple[float, float, float]] = []

    def _observe(self, decide: Callable[[], int]) -> None:
        """Let a function decide in the tuner's place."""

        def observe(rate: float, waiting: float, busy: float) -> None:
            self.seen.append((rate, waiting, busy))
            self.tuner.streams = decide()

        self.tuner.observe = observe  # type: ignore[method-assign,assignment]

    def test_it_is_told_how_it_goes(self) -> None:
        ticks = itertools.count()
        clock = types.SimpleNamespace(monotonic=lambda: float(next(ticks)))
        self.useFixture(fixtures.MockPatchObject(meter, "time", clock))
        reading = self.new_reader(4)
        self._observe(lambda: 4)
        self.assertEqual(DATA, b"".join(reading))
        self.assertTrue(self.seen)
        for rate, waiting, busy in self.seen:
            self.assertGreaterEqual(rate, 0)
            self.assertTrue(0 <= waiting <= 1, waiting)
            self.assertGreaterEqual(busy, 0)

    def test_what_came_in_counts_though_it_waits_for_its_turn(self) -> None:
        look = meter.Meter.measure
        arrived: list[int] = []

        def note(self: meter.Meter, count: int, pause: float) -> Any:
            arrived.append(count)
            return look(self, count, pause)

        self.useFixture(fixtures.MockPatchObject(meter.Meter, "measure", note))
        reading = self.new_reader(4)
        for _chunk in reading:
            # All four have read their first pieces, and more.
            self.wait_until(lambda: self.source.sent > 25_000)
        # By then, no more than the first piece had been passed on.
        self.assertGreater(arrived[0], 20_000)
        self.assertEqual(len(DATA), arrived[-1])

    def test_it_grows_and_shrinks_at_any_chunk(self) -> None:
        for seed in range(20):
            chance = random.Random(seed)
            self.source.breaks = [chance.randrange(9000) for _ in range(30)]
            self.source.refusals = [ErrorCode.SOURCE_BUSY] * chance.randrange(
                5
            )
            number = functools.partial(chance.randrange, 2, 9)
            reading = self.new_reader(
                number(), window=chance.choice((3_000, 60_000))
            )
            self._observe(number)
            self.assertEqual(DATA, b"".join(reading), f"{seed}")

    def test_readers_that_are_too_many_end(self) -> None:
        reading = self.new_reader(8)
        alive = set()
        for _chunk in reading:
            self.tuner.streams = 2
            alive.add(sum(reader.is_alive() for reader in reading._threads))
        self.assertLessEqual(min(alive), 2)


class TestFaults(ParallelReaderTestCase):
    def test_what_one_reader_meets_ends_all(self) -> None:
        self.source.refusals = [ErrorCode.SOURCE_NOT_FOUND]
        error = self.assertRaises(
            exception.TransferError, list, self.new_reader(4)
        )
        self.assertEqual(ErrorCode.SOURCE_NOT_FOUND, error.code)

    def test_no_byte_behind_a_hole_is_passed_on(self) -> None:
        reading = self.new_reader(4)
        begin = self.source.begin

        def refuse_the_second(first: int, last: int) -> Any:
            if 0 < first < 10_000:
                raise exception.TransferError(
                    ErrorCode.SOURCE_NOT_FOUND, "Gone."
                )
            return begin(first, last)

        reading._begin = refuse_the_second
        passed: list[bytes] = []
        self.assertRaises(exception.TransferError, passed.extend, reading)
        self.assertLessEqual(sum(map(len, passed)), 10_000)

    def test_a_source_without_ranges_is_read_alone(self) -> None:
        self.source.ranged = False
        self.assertEqual([], list(self.new_reader(4)))
        self.assertEqual(1, self.tuner.streams)

    def test_a_source_that_has_no_ranges_any_more(self) -> None:
        """All that was in order before is passed on, and no byte more."""
        reading = self.new_reader(4)
        passed = bytearray()
        for chunk in reading:
            passed += chunk
            self.source.ranged = False
        self.assertLess(len(passed), len(DATA))
        self.assertEqual(DATA[: len(passed)], passed)
        self.assertEqual(1, self.tuner.streams)

    def test_what_waiting_raises_ends_all(self) -> None:
        def stop(seconds: float) -> None:
            raise ZeroDivisionError

        self.source.refusals = [ErrorCode.SOURCE_FAILED]
        reading = self.new_reader(4, wait=stop)
        self.assertRaises(ZeroDivisionError, list, reading)

    def test_a_busy_source_gets_fewer_readers(self) -> None:
        self.source.refusals = [ErrorCode.SOURCE_BUSY]
        reading = self.new_reader(8)
        self.tuner._least = 1
        self.assertEqual(DATA[:1], b"".join(reading)[:1])
        self.assertEqual(4, self.tuner.streams)

    def test_closing_ends_readers_that_wait_for_room(self) -> None:
        reading = self.new_reader(4, window=5000)
        next(iter(reading))
        self.wait_until_idle(reading)
        reading.close()
        self.assert_over(reading)

    def test_closing_ends_readers_that_wait_for_data(self) -> None:
        aborted = threading.Event()

        def hang() -> None:
            if aborted.wait(base.PATIENCE):
                raise exception.TransferError(
                    ErrorCode.SOURCE_FORBIDDEN, "Over."
                )

        self.source.before_read = hang
        reading = self.new_reader(4)
        reading._start_readers()
        while len(self.source.asked) < 4:
            time.sleep(0.001)
        reading.close(aborted.set)
        self.assert_over(reading)
