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

"""Several readers at once return all bytes once and in order."""

import functools
import random
import threading
import time
import types
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import fixtures
import testtools

from image_replicator import exception
from image_replicator.errors import ErrorCode
from image_replicator.tests.unit.worker import base
from image_replicator.tests.unit.worker import sources
from image_replicator.worker import parallel_reader
from image_replicator.worker import pieces
from image_replicator.worker import range_reader
from image_replicator.worker import tuner

DATA = random.Random(2).randbytes(300_000)


class ParallelReaderTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.logger = self.useFixture(fixtures.FakeLogger())
        for module, name, value in (
            (pieces, "_LEAST_PIECE", 1000),
            (pieces, "_FIRST_PIECE", 7000),
            (pieces, "_SINGLE_AHEAD", 20_000),
            (range_reader, "_FIRST_WAIT", 0.0),
        ):
            self.useFixture(
                fixtures.MonkeyPatch(f"{module.__name__}.{name}", value)
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
            held=kwargs.get("held", 0),
            tuner=self.tuner,
            window=kwargs.get("window", lambda: 50_000),
            chunk_size=kwargs.get("chunk_size", 777),
            clock=kwargs.get("clock", time.monotonic),
        )
        self.addCleanup(self.assert_over, reading)
        self.addCleanup(reading.close)
        reading.start()
        return reading

    def assert_over(self, reading: parallel_reader.ParallelReader) -> None:
        self.assertTrue(reading._threads)
        self.assertFalse(any(t.is_alive() for t in reading._threads))

    def chunks(
        self, reading: parallel_reader.ParallelReader
    ) -> Iterator[bytes]:
        """Yield chunks as an upload reads them."""
        while (chunks := reading.read(base.PATIENCE)) is not None:
            self.assertTrue(chunks, "nothing came")
            for chunk in chunks:
                yield chunk
                reading.passed_on(len(chunk))

    def all_of(self, reading: parallel_reader.ParallelReader) -> bytes:
        return b"".join(self.chunks(reading))

    def wait_until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + base.PATIENCE
        while not holds():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.001)


class TestOrder(ParallelReaderTestCase):
    def test_everything_once_and_in_order(self) -> None:
        for seed in range(40):
            chance = random.Random(seed)
            self.source.asked.clear()
            self.source.breaks = [
                chance.randrange(1, 9000) for _ in range(chance.randrange(40))
            ]
            offset = chance.randrange(len(DATA))
            reading = self.new_reader(
                streams=chance.randrange(1, 12),
                offset=offset,
                window=functools.partial(
                    chance.choice, (500, 2_000, 30_000, 1_000_000)
                ),
                chunk_size=chance.choice((100, 1000, 65536)),
            )
            self.assertEqual(DATA[offset:], self.all_of(reading), f"{seed}")

    def test_several_read_at_once(self) -> None:
        together = threading.Barrier(4)
        met = threading.Event()

        def meet() -> None:
            if len(self.source.asked) > 1 and not met.is_set():
                together.wait(base.PATIENCE)
                met.set()

        self.source.before_read = meet
        self.assertEqual(DATA, self.all_of(self.new_reader(4)))
        self.assertTrue(met.is_set())

    def test_readers_do_not_end_their_first_pieces_together(self) -> None:
        # The clock stands still, so that no rate is known.
        still = types.SimpleNamespace(monotonic=lambda: 0.0)
        self.useFixture(fixtures.MockPatchObject(range_reader, "time", still))
        reading = self.new_reader(
            4, window=lambda: 10**6, clock=still.monotonic
        )
        self.assertEqual(DATA, self.all_of(reading))
        sizes = [last - first + 1 for first, last in sorted(self.source.asked)]
        # The first reader asks for all bytes, and ends where the others begin.
        self.assertEqual([3500, 5250, 7000], sizes[1:4])

    def test_no_more_is_in_memory_than_the_window(self) -> None:
        for streams in (1, 8):
            for window in (2_000, 5_000, 40_000):
                self._assert_bounded(
                    self.new_reader(streams, window=lambda most=window: most),
                    window,
                )

    def test_a_window_that_shrinks(self) -> None:
        """No more is read until what is in memory fits again."""
        sizes = [40_000]
        reading = self.new_reader(8, window=lambda: sizes[0])
        chunks = self.chunks(reading)
        taken = len(next(chunks))
        self.wait_until(lambda: self.source.sent > 20_000)
        sizes[0] = 4_000
        for chunk in chunks:
            taken += len(chunk)
            if taken > 45_000:
                break
        most = 0

        def look() -> None:
            nonlocal most
            most = max(most, self.source.sent - taken)

        self.source.before_read = look
        for chunk in chunks:
            taken += len(chunk)
        self.assertEqual(len(DATA), taken)
        self.assertLessEqual(most, 4_000 + 777)

    def _assert_bounded(
        self, reading: parallel_reader.ParallelReader, window: int
    ) -> None:
        self.source.sent = taken = 0

        def look() -> None:
            # A single reader may be in the middle of a chunk.
            self.assertLessEqual(self.source.sent - taken, window + 777)

        self.source.before_read = look
        for number, chunk in enumerate(self.chunks(reading)):
            if number % 50 == 0:
                # The upload is slow, so the readers fill the window.
                time.sleep(0.005)
            look()
            taken += len(chunk)
        self.assertEqual(len(DATA), taken)

    def test_bytes_that_are_held_back_take_room(self) -> None:
        reading = self.new_reader(1, offset=50_000, held=15_000)
        self.wait_until(lambda: self.source.sent >= 5_000)
        time.sleep(0.02)
        self.assertLess(self.source.sent, 5_000 + 2 * 777)
        self.assertEqual(DATA[50_000:], self.all_of(reading))


class TestNumber(ParallelReaderTestCase):
    """The tuner decides on the number of readers."""

    def _decide(self, decide: Callable[[], int]) -> None:
        """Replace the tuner's decision by a function, at each chunk."""
        for name in ("_ADAPT_SECONDS", "_FAST_SECONDS", "_FIRST_SECONDS"):
            self.useFixture(
                fixtures.MonkeyPatch(f"{parallel_reader.__name__}.{name}", 0.0)
            )
        self.seen: list[tuple[float, float, float, float]] = []

        def observe(
            rate: float, waiting: float, busy: float, latency: float
        ) -> None:
            self.seen.append((rate, waiting, busy, latency))
            self.tuner.streams = decide()

        self.tuner.observe = observe  # type: ignore[method-assign]

    def test_the_first_bytes_come_before_other_requests(self) -> None:
        """Many requests at the begin would slow a cold source down."""
        reading = self.new_reader(8)
        self.wait_until(lambda: self.source.sent > 0)
        time.sleep(0.02)
        self.assertEqual(1, len(self.source.asked))
        self.assertEqual(DATA, self.all_of(reading))
        self.assertGreater(len(self.source.asked), 8)

    def _hold_the_others(self) -> tuple[threading.Event, threading.Event]:
        """Let only the first reader read, slowly.

        :returns: an event that is set once another reader waits, and one that
            lets all read
        """
        first: list[threading.Thread] = []
        waiting, gate = threading.Event(), threading.Event()
        self.addCleanup(gate.set)

        def hold() -> None:
            reader = threading.current_thread()
            if not first:
                first.append(reader)
            if reader is not first[0]:
                waiting.set()
                gate.wait(base.PATIENCE)
            elif not gate.is_set():
                time.sleep(0.001)

        self.source.before_read = hold
        return waiting, gate

    def test_readers_begin_as_those_before_them_have_had_a_byte(self) -> None:
        waiting, gate = self._hold_the_others()
        reading = self.new_reader(32, window=lambda: 60_000)
        chunks = self.chunks(reading)
        next(chunks)
        next(chunks)
        self.assertTrue(waiting.wait(base.PATIENCE))
        time.sleep(0.02)
        self.assertEqual(4, len(reading._threads))
        gate.set()
        for _chunk in chunks:
            pass
        self.assertGreater(len(reading._threads), 4)

    def test_the_first_reader_goes_on_while_others_begin(self) -> None:
        waiting, gate = self._hold_the_others()
        reading = self.new_reader(2, window=lambda: 10**6)
        chunks = self.chunks(reading)
        taken = 0
        while not waiting.is_set():
            taken += len(next(chunks))
        before = self.source.sent
        self.wait_until(lambda: self.source.sent > before)
        gate.set()

    def test_the_tuner_is_told_how_it_goes(self) -> None:
        reading = self.new_reader(4)
        self._decide(lambda: 4)
        self.assertEqual(DATA, self.all_of(reading))
        self.assertTrue(self.seen)
        for rate, waiting, busy, latency in self.seen:
            self.assertGreaterEqual(rate, 0)
            self.assertTrue(0 <= waiting <= 1.001, waiting)
            self.assertGreaterEqual(busy, 0)
            self.assertGreaterEqual(latency, 0)

    def test_it_grows_and_shrinks_at_any_chunk(self) -> None:
        for seed in range(30):
            chance = random.Random(seed)
            self.source.breaks = [chance.randrange(9000) for _ in range(30)]
            self.source.refusals = [ErrorCode.SOURCE_BUSY] * chance.randrange(
                5
            )
            reading = self.new_reader(
                chance.randrange(1, 9),
                window=functools.partial(chance.choice, (3_000, 60_000)),
            )
            self._decide(functools.partial(chance.randrange, 1, 9))
            self.assertEqual(DATA, self.all_of(reading), f"{seed}")

    def test_readers_that_are_too_many_end(self) -> None:
        reading = self.new_reader(8)
        alive = set()
        for number, _chunk in enumerate(self.chunks(reading)):
            if number > 50:
                self.tuner.streams = 2
            alive.add(sum(each.is_alive() for each in reading._threads))
        self.assertLessEqual(min(alive), 2)


class TestFaults(ParallelReaderTestCase):
    def test_an_error_of_one_reader_ends_all(self) -> None:
        self.source.refusals = [ErrorCode.SOURCE_NOT_FOUND]
        error = self.assertRaises(
            exception.TransferError, self.all_of, self.new_reader(4)
        )
        self.assertEqual(ErrorCode.SOURCE_NOT_FOUND, error.code)

    def test_no_byte_behind_a_hole_is_passed_on(self) -> None:
        begin = self.source.begin

        def refuse_the_second(first: int, last: int) -> Any:
            if 20_000 < first < 40_000:
                raise exception.TransferError(
                    ErrorCode.SOURCE_NOT_FOUND, "Gone."
                )
            return begin(first, last)

        self.source.begin = refuse_the_second  # type: ignore[method-assign]
        passed: list[bytes] = []
        self.assertRaises(
            exception.TransferError,
            passed.extend,
            self.chunks(self.new_reader(4)),
        )
        data = b"".join(passed)
        self.assertEqual(DATA[: len(data)], data)

    def test_a_source_without_ranges_is_read_by_one(self) -> None:
        self.source.ranged = False
        self.assertEqual(DATA, self.all_of(self.new_reader(4)))
        self.assertEqual(1, self.tuner.streams)
        self.assertEqual(1, len(self.source.asked))

    def test_a_source_that_has_no_ranges_any_more(self) -> None:
        """All bytes that were in order before are passed on, and no others."""
        passed = bytearray()
        for chunk in self.chunks(self.new_reader(4)):
            passed += chunk
            self.source.ranged = len(self.source.asked) < 4
        self.assertLess(len(passed), len(DATA))
        self.assertEqual(DATA[: len(passed)], passed)
        self.assertEqual(1, self.tuner.streams)

    def test_a_busy_source_gets_fewer_readers(self) -> None:
        reading = self.new_reader(8)
        self.tuner._least = 1
        chunks = self.chunks(reading)
        next(chunks)
        self.source.refusals = [ErrorCode.SOURCE_BUSY]
        for _chunk in chunks:
            if not self.source.refusals:
                break
        self.wait_until(lambda: self.tuner.streams == 4)

    def test_closing_ends_readers_that_wait_for_room(self) -> None:
        reading = self.new_reader(4, window=lambda: 5000)
        self.wait_until(lambda: self.source.sent >= 5000)
        reading.close()
        self.assert_over(reading)

    def test_closing_ends_a_reader_that_waits_for_data_without_a_word(
        self,
    ) -> None:
        aborted = threading.Event()

        def hang() -> None:
            if aborted.wait(base.PATIENCE):
                raise exception.TransferError(
                    ErrorCode.SOURCE_READ_FAILED, "Broke off."
                )

        self.source.before_read = hang
        reading = self.new_reader(4)
        self.wait_until(lambda: bool(self.source.asked))
        reading.close(aborted.set)
        self.assert_over(reading)
        self.assertEqual("", self.logger.output)

    def test_a_reader_that_has_ended_is_not_broken_off(self) -> None:
        reading = self.new_reader(1)
        self.all_of(reading)
        self.wait_until(lambda: not reading._threads[0].is_alive())
        reading.close(self.fail)
