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

"""The bytes that an upload holds back."""

import testtools

from image_replicator.worker import reserve

KIB = 1024


class TestReserve(testtools.TestCase):
    def _filled(self, silence: float, most: int = 1 << 20) -> reserve.Reserve:
        held = reserve.Reserve(silence, most)
        while not held.full:
            held.put(bytes(16 * KIB))
        return held

    def test_bytes_come_out_in_order_but_for_the_latest(self) -> None:
        held = reserve.Reserve(60.0, 4)
        passed = b""
        for chunk in (b"ab", b"cd", b"ef", b"ghi"):
            held.put(chunk)
            passed += b"".join(held.surplus())
        self.assertEqual(b"abcd", passed)
        self.assertEqual(5, held.held)
        self.assertEqual(b"efghi", b"".join(held.drain()))
        self.assertEqual(0, held.held)

    def test_it_is_full_when_it_holds_what_is_to_be_held_back(self) -> None:
        held = reserve.Reserve(60.0, 4)
        held.put(b"abc")
        self.assertIs(False, held.full)
        held.put(b"d")
        self.assertIs(True, held.full)

    def test_it_outlasts_the_longest_silence(self) -> None:
        for silence in (1.0, 60.0, 645.0, 4300.0):
            held = self._filled(silence)
            seconds = 0
            while held.trickle():
                seconds += 1
            self.assertGreaterEqual(seconds, silence, silence)

    def test_its_pieces_become_smaller(self) -> None:
        held = self._filled(645.0)
        sizes = []
        while piece := held.trickle():
            sizes.append(len(piece))
        self.assertEqual(sorted(sizes, reverse=True), sizes)
        self.assertGreater(sizes[0], KIB)
        self.assertEqual(1, sizes[-1])

    def test_it_is_small(self) -> None:
        for silence in (1.0, 645.0):
            self.assertLess(self._filled(silence).held, 145 * KIB)

    def test_nothing_comes_out_of_an_empty_one(self) -> None:
        held = reserve.Reserve(60.0, 4)
        self.assertEqual(b"", held.trickle())
        self.assertEqual([], list(held.drain()))

    def test_no_byte_is_lost_between_pieces(self) -> None:
        held = reserve.Reserve(60.0, 100)
        held.put(bytes(range(100)))
        held.put(bytes(range(100, 200)))
        passed = held.trickle() + held.trickle()
        passed += b"".join(held.surplus())
        self.assertEqual(bytes(range(200)), passed + b"".join(held.drain()))
