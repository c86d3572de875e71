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

"""The body of an upload is complete, or raises an error."""

import hashlib
import random
import threading
from typing import Any

import fixtures
import testtools

from image_replicator import exception
from image_replicator.errors import ErrorCode
from image_replicator.tests.unit.worker import base
from image_replicator.tests.unit.worker import sources
from image_replicator.worker import pieces
from image_replicator.worker import range_reader
from image_replicator.worker import rate
from image_replicator.worker import reserve
from image_replicator.worker import stream
from image_replicator.worker import tuner

DATA = random.Random(3).randbytes(200_000)
CHUNK = 10_000

#: The bytes that are held back.
HELD = 12_500


class StreamTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.useFixture(fixtures.FakeLogger())
        for module, name, value in (
            (pieces, "_LEAST_PIECE", 5000),
            (pieces, "_FIRST_PIECE", 5000),
            (range_reader, "_FIRST_WAIT", 0.0),
            (reserve, "_LEAST", HELD),
        ):
            self.useFixture(
                fixtures.MonkeyPatch(f"{module.__name__}.{name}", value)
            )
        self.source = sources.Source(DATA)
        self.waits: list[float] = []
        self.aborted = 0

    def _abort(self) -> None:
        self.aborted += 1

    def new_stream(
        self, streams: int = 1, **kwargs: Any
    ) -> stream.ImageStream:
        self.tuner = tuner.Tuner(streams, max(streams, 8), 0.0)
        data = stream.ImageStream(
            self.source.begin,
            kwargs.get("size", len(DATA)),
            tuner=self.tuner,
            window=lambda: 50_000,
            chunk_size=CHUNK,
            limits=kwargs.get("limits", [rate.Limiter(0)]),
            minimum=kwargs.get("minimum", rate.Minimum(0, 60.0)),
            silence=60.0,
            wait=kwargs.get("wait", self.waits.append),
            abort=self._abort,
            confirm=kwargs.get("confirm", lambda: None),
            hashers=kwargs.get("hashers", ()),
        )
        self.addCleanup(data.close)
        data.start()
        return data


class TestImageStream(StreamTestCase):
    def test_all_bytes_whatever_the_streams(self) -> None:
        for streams in (1, 4):
            data = self.new_stream(streams)
            self.assertIs(False, data.exhausted)
            self.assertEqual(DATA, b"".join(data))
            self.assertEqual(len(DATA), data.bytes_copied)
            self.assertIs(True, data.exhausted)
            self.assertEqual(0, self.aborted)

    def test_its_size_is_known_before(self) -> None:
        self.assertEqual(len(DATA), len(self.new_stream()))

    def test_a_chunk_counts_once_the_next_is_asked_for(self) -> None:
        data = self.new_stream()
        chunks = iter(data)
        next(chunks)
        self.assertEqual(0, data.bytes_copied)
        next(chunks)
        self.assertEqual(CHUNK, data.bytes_copied)

    def test_every_byte_is_hashed(self) -> None:
        for streams in (1, 4):
            hashers = (hashlib.sha512(), hashlib.md5())
            list(self.new_stream(streams, hashers=hashers))
            self.assertEqual(
                [hashlib.sha512(DATA).digest(), hashlib.md5(DATA).digest()],
                [hasher.digest() for hasher in hashers],
            )

    def test_the_number_of_streams_may_change_at_any_chunk(self) -> None:
        for seed in range(50):
            chance = random.Random(seed)
            self.source.breaks = [chance.randrange(9999) for _ in range(9)]
            data = self.new_stream(chance.choice((1, 3)))
            passed = bytearray()
            for chunk in data:
                passed += chunk
                if chance.random() < 0.3:
                    self.tuner.streams = chance.choice((1, 2, 5))
                if chance.random() < 0.1:
                    self.source.refusals = [ErrorCode.SOURCE_BUSY]
            self.assertEqual(DATA, passed, f"{seed}")
            self.assertEqual(len(DATA), data.bytes_copied)
            data.close()
        self.assertEqual(0, self.source.unclosed)

    def test_a_source_that_has_no_ranges_any_more(self) -> None:
        for streams in (1, 4):
            self.source.ranged = True
            self.source.asked.clear()
            passed = bytearray()
            for chunk in self.new_stream(streams):
                passed += chunk
                self.source.ranged = len(self.source.asked) < streams
            self.assertEqual(DATA, passed)

    def test_a_source_without_ranges_is_read_alone(self) -> None:
        self.source.ranged = False
        for streams in (1, 4):
            self.assertEqual(DATA, b"".join(self.new_stream(streams)))
            self.assertEqual(1, self.tuner.streams)

    def test_an_error_of_the_source_is_its_own(self) -> None:
        for streams in (1, 4):
            self.source.refusals = [ErrorCode.SOURCE_FORBIDDEN]
            error = self.assertRaises(
                exception.TransferError, list, self.new_stream(streams)
            )
            self.assertEqual(ErrorCode.SOURCE_FORBIDDEN, error.code)

    def test_an_upload_that_takes_no_more_ends_the_readers(self) -> None:
        data = self.new_stream(4)
        next(iter(data))
        data.close()
        self.assertEqual(1, self.aborted)

    def test_it_can_be_stopped_before_each_chunk(self) -> None:
        waits = iter([None] * 5)

        def stop(seconds: float) -> None:
            if next(waits, self) is self:
                raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, list, self.new_stream(wait=stop))

    def test_an_image_without_bytes(self) -> None:
        data = self.new_stream(size=0)
        data.fill()
        self.assertEqual([], list(data))
        self.assertIs(True, data.exhausted)
        self.assertEqual([], self.source.asked)


class TestLimits(StreamTestCase):
    def test_it_keeps_to_the_narrowest_limit(self) -> None:
        limits = [rate.Limiter(10**6, lambda: 0.0), rate.Limiter(0)]
        list(self.new_stream(limits=limits))
        self.assertAlmostEqual(
            (len(DATA) - CHUNK) / 10**6, max(self.waits), delta=0.01
        )

    def test_no_pause_is_long_enough_to_end_an_upload(self) -> None:
        """A low limit leads to small pieces, not to long pauses."""
        now = [0.0]

        def wait(seconds: float) -> None:
            self.waits.append(seconds)
            now[0] += seconds

        data = self.new_stream(
            limits=[rate.Limiter(1000, lambda: now[0])], wait=wait
        )
        self.assertEqual(DATA, b"".join(data))
        self.assertLessEqual(max(self.waits), 0.26)
        self.assertAlmostEqual(len(DATA) / 1000, now[0], delta=1.0)

    def test_a_source_that_is_too_slow_is_an_error(self) -> None:
        error = self.assertRaises(
            exception.TransferError,
            list,
            self.new_stream(minimum=rate.Minimum(10**12, 0.0)),
        )
        self.assertEqual(ErrorCode.SOURCE_TOO_SLOW, error.code)


class TestSilence(StreamTestCase):
    """The upload goes on while the source sends nothing."""

    def setUp(self) -> None:
        super().setUp()
        self.useFixture(
            fixtures.MonkeyPatch(f"{stream.__name__}._INTERVAL", 0.001)
        )
        self.gate = threading.Event()
        self.addCleanup(self.gate.set)

    def _hold_after(self, size: int) -> None:
        def hold() -> None:
            if self.source.sent >= size:
                self.gate.wait(base.PATIENCE)

        self.source.before_read = hold

    def test_it_sends_ever_smaller_pieces_of_what_it_holds_back(self) -> None:
        self._hold_after(50_000)
        data = self.new_stream()
        passed = b""
        sizes = []
        for chunk in data:
            passed += chunk
            if len(passed) > 50_000 - HELD:
                sizes.append(len(chunk))
            if len(sizes) == 40:
                self.gate.set()
        # The body is complete, although a part was sent early.
        self.assertEqual(DATA, passed)
        trickled = sizes[1:40]
        self.assertEqual(sorted(trickled, reverse=True), trickled)
        self.assertLess(trickled[-1], 200)

    def test_nothing_is_begun_before_there_is_something_in_hand(self) -> None:
        self._hold_after(0)
        data = self.new_stream()
        filled = threading.Thread(target=data.fill)
        filled.start()
        filled.join(0.05)
        self.assertTrue(filled.is_alive())
        self.gate.set()
        filled.join(base.PATIENCE)
        self.assertFalse(filled.is_alive())
        self.assertGreaterEqual(data._reserve.held, HELD)
        self.assertEqual(DATA, b"".join(data))

    def test_an_image_smaller_than_what_is_held_back(self) -> None:
        self.source.data = DATA[:100]
        self.source.total = 100
        data = self.new_stream(size=100)
        data.fill()
        self.assertEqual(DATA[:100], b"".join(data))


class TestConfirmation(StreamTestCase):
    """The last bytes are sent only after a confirmation."""

    def setUp(self) -> None:
        super().setUp()
        self.useFixture(
            fixtures.MonkeyPatch(f"{stream.__name__}._INTERVAL", 0.001)
        )

    def test_the_upload_goes_on_until_it_is_there(self) -> None:
        """But it does not end, however long that takes."""
        gate = threading.Event()
        self.addCleanup(gate.set)
        data = self.new_stream(confirm=lambda: gate.wait(base.PATIENCE))
        passed = b""
        waited = 0

        def wait(seconds: float) -> None:
            nonlocal waited
            waited += 1
            if data._offset == len(DATA) and waited > 10_000:
                gate.set()

        data._wait = wait
        for chunk in data:
            if not gate.is_set():
                self.assertLess(len(passed) + len(chunk), len(DATA))
            passed += chunk
        self.assertTrue(gate.is_set())
        self.assertEqual(DATA, passed)

    def test_it_is_asked_for_a_little_earlier(self) -> None:
        self.useFixture(
            fixtures.MonkeyPatch(f"{stream.__name__}._LEAD", 1000.0)
        )
        offsets: list[int] = []
        data: stream.ImageStream = self.new_stream(
            confirm=lambda: offsets.append(data._offset)
        )
        self.assertEqual(DATA, b"".join(data))
        first, last = offsets
        self.assertLess(0, first)
        self.assertLess(first, len(DATA))
        self.assertEqual(len(DATA), last)

    def test_an_early_refusal_counts(self) -> None:
        self.useFixture(
            fixtures.MonkeyPatch(f"{stream.__name__}._LEAD", 1000.0)
        )
        answers = [exception.TransferError(ErrorCode.SOURCE_NOT_FOUND, "x")]

        def confirm() -> None:
            if answers:
                raise answers.pop()

        data = self.new_stream(confirm=confirm)
        self.assertRaises(exception.TransferError, b"".join, data)
        self.assertFalse(data.exhausted)

    def test_without_it_the_last_bytes_are_not_sent(self) -> None:
        def refuse() -> None:
            raise exception.TransferError(
                ErrorCode.DESTINATION_ACCESS_LOST, "gone"
            )

        data = self.new_stream(confirm=refuse)
        passed: list[bytes] = []
        error: exception.TransferError = self.assertRaises(
            exception.TransferError, lambda: passed.extend(data)
        )
        self.assertEqual(ErrorCode.DESTINATION_ACCESS_LOST, error.code)
        self.assertLess(len(b"".join(passed)), len(DATA))
        self.assertFalse(data.exhausted)

    def test_a_stop_does_not_wait_for_it(self) -> None:
        gate = threading.Event()
        self.addCleanup(gate.set)

        class Stopped(Exception):
            pass

        def wait(seconds: float) -> None:
            if data._offset == len(DATA):
                # A stop breaks the requests of the confirmation off.
                gate.set()
                raise Stopped

        data = self.new_stream(confirm=lambda: gate.wait(base.PATIENCE))
        data._wait = wait
        self.assertRaises(Stopped, b"".join, data)
