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

"""The body of an upload: whole or not at all."""

import hashlib
import random
from typing import Any

import fixtures
import testtools

from image_replicator import exception
from image_replicator.errors import ErrorCode
from image_replicator.tests.unit.worker import sources
from image_replicator.worker import parallel_reader
from image_replicator.worker import rate
from image_replicator.worker import stream
from image_replicator.worker import tuner

DATA = random.Random(3).randbytes(200_000)
CHUNK = 10_000


class TestImageStream(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        for name in ("_LEAST_PIECE", "_FIRST_PIECE"):
            self.useFixture(
                fixtures.MonkeyPatch(
                    f"{parallel_reader.__name__}.{name}", 5000
                )
            )
        self.source = sources.Source(DATA)
        self.waits: list[float] = []
        self.aborted = 0

    def _abort(self) -> None:
        self.aborted += 1

    def _stream(self, streams: int = 1, **kwargs: Any) -> stream.ImageStream:
        self.tuner = tuner.Tuner(streams, max(streams, 8), 0.0)
        data = stream.ImageStream(
            self.source.begin,
            kwargs.get("size", len(DATA)),
            tuner=self.tuner,
            window=50_000,
            chunk_size=CHUNK,
            limits=kwargs.get("limits", [rate.Limiter(0)]),
            wait=kwargs.get("wait", self.waits.append),
            abort=self._abort,
            hasher=kwargs.get("hasher"),
        )
        self.addCleanup(data.close)
        return data

    def test_all_bytes_whatever_the_streams(self) -> None:
        for streams in (1, 4):
            data = self._stream(streams)
            self.assertEqual(DATA, b"".join(data))
            self.assertEqual(len(DATA), data.bytes_copied)
            self.assertEqual(0, self.aborted)

    def test_its_size_is_known_before(self) -> None:
        self.assertEqual(len(DATA), len(self._stream()))

    def test_a_chunk_counts_once_the_next_is_asked_for(self) -> None:
        data = self._stream()
        chunks = iter(data)
        next(chunks)
        self.assertEqual(0, data.bytes_copied)
        next(chunks)
        self.assertEqual(CHUNK, data.bytes_copied)

    def test_every_byte_is_hashed(self) -> None:
        for streams in (1, 4):
            hasher = hashlib.sha512()
            list(self._stream(streams, hasher=hasher))
            self.assertEqual(hashlib.sha512(DATA).digest(), hasher.digest())

    def test_the_number_of_streams_may_change_at_any_chunk(self) -> None:
        for seed in range(50):
            chance = random.Random(seed)
            self.source.breaks = [chance.randrange(9999) for _ in range(9)]
            data = self._stream(chance.choice((1, 3)))
            passed = bytearray()
            for chunk in data:
                passed += chunk
                if chance.random() < 0.3:
                    self.tuner.streams = chance.choice((1, 2, 5))
                if chance.random() < 0.1:
                    self.source.refusals = [ErrorCode.SOURCE_BUSY]
            self.assertEqual(DATA, passed, f"{seed}")
            self.assertEqual(len(DATA), data.bytes_copied)
        self.assertEqual(0, self.source.unclosed)

    def test_a_source_that_has_no_ranges_any_more(self) -> None:
        for streams in (1, 4):
            self.source.ranged = True
            self.source.breaks = [45_000] * 9
            passed = bytearray()
            for chunk in self._stream(streams):
                passed += chunk
                self.source.ranged = False
                self.source.breaks = []
            self.assertEqual(DATA, passed)
            self.assertEqual(1, self.tuner.streams)

    def test_what_one_stream_learned_is_handed_on(self) -> None:
        self.useFixture(
            fixtures.MonkeyPatch(f"{stream.__name__}._FIRST_MEASUREMENT", 0.0)
        )
        began = self.useFixture(
            fixtures.MockPatchObject(
                parallel_reader,
                "ParallelReader",
                wraps=parallel_reader.ParallelReader,
            )
        ).mock
        data = self._stream()
        for _chunk in data:
            self.tuner.streams = 4
        handed_on = began.call_args.kwargs
        self.assertGreater(handed_on["latency"], 0.0)
        self.assertGreater(handed_on["rate"], 0.0)

    def test_a_single_stream_that_is_too_slow_gets_company(self) -> None:
        self.useFixture(
            fixtures.MonkeyPatch(f"{stream.__name__}._FIRST_MEASUREMENT", 0.0)
        )
        data = self._stream()
        grown = []

        def observe(rate: float, waiting: float, busy: Any = None) -> None:
            grown.append(waiting)
            self.tuner.streams = 4

        self.tuner.observe = observe  # type: ignore[method-assign]
        self.assertEqual(DATA, b"".join(data))
        self.assertGreater(len(self.source.asked), 4)

    def test_a_source_without_ranges_is_read_alone(self) -> None:
        self.source.ranged = False
        for streams in (1, 4):
            self.assertEqual(DATA, b"".join(self._stream(streams)))
            self.assertEqual(1, self.tuner.streams)

    def test_an_error_of_the_source_is_its_own(self) -> None:
        for streams in (1, 4):
            self.source.refusals = [ErrorCode.SOURCE_FORBIDDEN]
            error = self.assertRaises(
                exception.TransferError, list, self._stream(streams)
            )
            self.assertEqual(ErrorCode.SOURCE_FORBIDDEN, error.code)

    def test_an_upload_that_takes_no_more_ends_the_readers(self) -> None:
        data = self._stream(4)
        next(iter(data))
        data.close()
        self.assertEqual(1, self.aborted)

    def test_it_keeps_to_the_narrowest_limit(self) -> None:
        limits = [rate.Limiter(10**6, lambda: 0.0), rate.Limiter(0)]
        list(self._stream(limits=limits))
        self.assertAlmostEqual(
            (len(DATA) - CHUNK) / 10**6, max(self.waits), places=6
        )

    def test_it_can_be_stopped_before_each_chunk(self) -> None:
        waits = iter([None, None])

        def stop(seconds: float) -> None:
            next(waits)

        passed: list[bytes] = []
        for chunk in self._until_stopped(self._stream(wait=stop)):
            passed.append(chunk)
        self.assertEqual(DATA[: 2 * CHUNK], b"".join(passed))

    def _until_stopped(self, data: stream.ImageStream) -> Any:
        try:
            yield from data
        except RuntimeError:
            # A StopIteration, as it comes out of a generator.
            return

    def test_an_image_without_bytes(self) -> None:
        self.assertEqual([], list(self._stream(size=0)))
        self.assertEqual([], self.source.asked)
