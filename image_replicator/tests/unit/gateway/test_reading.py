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

"""A reading keeps what is needed, and no more than its window."""

import threading
from collections.abc import Iterator
from typing import Any

import testtools

from image_replicator.gateway import encoding
from image_replicator.gateway import reading
from image_replicator.gateway import source
from image_replicator.gateway import window

PATIENCE = 20


class Data:
    """The data of an image, each byte of which is the chunk's number.

    :ivar given: the chunks that were read
    """

    def __init__(self, chunks: int, size: int = 10) -> None:
        self.size = chunks * size
        self._chunk = size
        self.given = 0
        self.closed = threading.Event()

    def chunks(self) -> Iterator[bytes]:
        for number in range(self.size // self._chunk):
            self.given += 1
            yield bytes([number]) * self._chunk

    def close(self) -> None:
        self.closed.set()


class TestWindow(testtools.TestCase):
    def test_chunks(self) -> None:
        kept = window.Window(100)
        for chunk in (b"0123", b"4567", b"89"):
            kept.append(chunk)
        self.assertEqual((100, 110, 10), (kept.start, kept.end, len(kept)))
        for offset, end, expected in (
            (100, 110, b"0123"),
            (101, 110, b"123"),
            (101, 103, b"12"),
            (104, 105, b"4"),
            (108, 999, b"89"),
            (109, 110, b"9"),
        ):
            self.assertEqual(expected, kept.chunk(offset, end))
        for offset, end in ((99, 110), (110, 120), (105, 105)):
            self.assertRaises(LookupError, kept.chunk, offset, end)

    def test_drop(self) -> None:
        kept = window.Window(100)
        kept.append(b"0123")
        kept.append(b"4567")
        self.assertFalse(kept.drop(103))
        self.assertTrue(kept.drop(104))
        self.assertEqual((104, 4), (kept.start, len(kept)))
        self.assertEqual(b"567", kept.chunk(105, 200))
        self.assertTrue(kept.drop(999))
        self.assertFalse(kept.drop(999))
        kept.append(b"89")
        self.assertEqual(b"89", kept.chunk(108, 110))


class TestReading(testtools.TestCase):
    def begin(self, data: Any, first: int = 0, size: int = 50) -> None:
        self.data = data
        self.reading = reading.Reading(data, first, size)
        self.addCleanup(self.reading.close)

    def request(self, first: int) -> reading.Request:
        request = self.reading.begin(first)
        assert request
        return request

    def chunk(
        self, request: reading.Request, end: int, keep: bool = False
    ) -> bytes:
        return self.reading.chunk(request, end, keep=keep)

    def wait_for(self, given: int) -> None:
        """Wait until so many chunks are read, and see that no more are."""
        waited = threading.Event()
        for _each in range(PATIENCE * 20):
            if self.data.given >= given:
                break
            waited.wait(0.05)
        waited.wait(0.1)
        self.assertEqual(given, self.data.given)

    def test_it_reads_no_further_than_its_window(self) -> None:
        self.begin(Data(20))
        request = self.request(0)
        self.reading.start()
        # One more chunk is read, and waits for room.
        self.wait_for(6)
        self.assertEqual(bytes(10), self.chunk(request, 200))
        self.wait_for(6)

    def test_what_is_still_needed_stays(self) -> None:
        self.begin(Data(20))
        slow, fast = self.request(0), self.request(10)
        self.reading.start()
        for number in range(1, 5):
            self.assertEqual(bytes([number]) * 10, self.chunk(fast, 200))
        further = threading.Thread(target=self.chunk, args=(fast, 200))
        further.start()
        self.addCleanup(further.join)
        self.wait_for(6)
        self.assertTrue(further.is_alive())
        self.assertEqual(bytes(10), self.chunk(slow, 20))
        self.assertEqual(bytes([1]) * 10, self.chunk(slow, 20))
        self.reading.end(slow)
        further.join(PATIENCE)
        self.assertFalse(further.is_alive())

    def test_a_piece_that_is_kept_stays_whole(self) -> None:
        self.begin(Data(20))
        kept = self.request(0)
        self.reading.start()
        for number in range(5):
            self.assertEqual(
                bytes([number]) * 10, self.chunk(kept, 50, keep=True)
            )
        late = self.request(0)
        self.assertEqual(bytes(10), self.chunk(late, 10))

    def test_a_late_request_finds_what_was_delivered(self) -> None:
        """Bytes are dropped only when room is needed."""
        self.begin(Data(20))
        request = self.request(0)
        self.reading.start()
        for _number in range(4):
            self.chunk(request, 200)
        self.reading.end(request)
        self.assertEqual(bytes(10), self.chunk(self.request(0), 10))

    def test_one_for_what_was_dropped_is_refused(self) -> None:
        self.begin(Data(20))
        request = self.request(0)
        self.reading.start()
        for _number in range(20):
            self.chunk(request, 200)
        self.assertIsNone(self.reading.begin(0))
        self.assertIsNotNone(self.reading.begin(199))

    def test_one_far_ahead_waits_for_nobody(self) -> None:
        self.begin(Data(20))
        self.reading.start()
        far = self.request(150)
        self.assertEqual(bytes([15]) * 10, self.chunk(far, 160))
        self.assertIsNone(self.reading.begin(0))

    def test_but_not_while_another_is_answered(self) -> None:
        self.begin(Data(20))
        self.request(0)
        self.assertIsNone(self.reading.begin(150))
        self.assertIsNotNone(self.reading.begin(40))

    def test_the_bytes_before_the_first_are_dropped(self) -> None:
        self.begin(Data(20), first=35)
        self.reading.start()
        self.assertIsNone(self.reading.begin(34))
        request = self.request(35)
        self.assertEqual(bytes([3]) * 5, self.chunk(request, 200))
        self.assertEqual(bytes([4]) * 10, self.chunk(request, 200))

    def test_its_end_is_told(self) -> None:
        self.begin(Data(9))
        request = self.request(0)
        self.reading.start()
        self.chunk(request, 90)
        self.reading.close()
        self.assertTrue(self.data.closed.wait(PATIENCE))
        self.assertIsNone(self.reading.begin(0))
        late = reading.Request(80, 80)
        self.assertRaises(
            source.Lost, self.reading.chunk, late, 90, keep=False
        )


class TestLevel(testtools.TestCase):
    """The level of compression follows the link."""

    def setUp(self) -> None:
        super().setUp()
        self.now = 0.0
        self.encoder = encoding.Encoder(self._clock)

    def _clock(self) -> float:
        self.now += 0.5
        return self.now

    def _send(self, seconds: float) -> int:
        self.assertIsNotNone(self.encoder.encode([bytes(65536)]))
        self.encoder.sent(seconds)
        return self.encoder.level

    def test_a_slow_link_is_worth_more_work(self) -> None:
        self.assertEqual(
            [2, 3, 4, 5, 6, 6], [self._send(5.0) for _each in range(6)]
        )

    def test_a_fast_one_less(self) -> None:
        self._send(5.0)
        self._send(5.0)
        self.assertEqual([3, 2, 1, 1], [self._send(t) for t in (1, 0.1, 0, 0)])
