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

"""The cache of the problems of image services."""

import threading

import testtools

from image_replicator.errors import Kind
from image_replicator.images import availability
from image_replicator.images import probe

PATIENCE = 10
DOWN = probe.Problem(Kind.UNREACHABLE, "It is down.")


class TestAvailability(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.now = 100.0
        self.up = True
        self.asked: list[str] = []
        self.known = availability.Availability(
            self._ask, clock=lambda: self.now
        )

    def _ask(self, region: str) -> probe.Problem | None:
        self.asked.append(region)
        return None if self.up else DOWN

    def test_that_it_is_up_counts_for_a_while(self) -> None:
        self.assertIsNone(self.known.problem("ot2"))
        self.up = False
        self.now += 4.9
        self.assertIsNone(self.known.problem("ot2"))
        self.now += 0.2
        self.assertIs(DOWN, self.known.problem("ot2"))
        self.assertEqual(["ot2"] * 2, self.asked)

    def test_that_it_is_down_counts_for_a_moment(self) -> None:
        self.up = False
        self.assertIs(DOWN, self.known.problem("ot2"))
        self.up = True
        self.now += 0.9
        self.assertIs(DOWN, self.known.problem("ot2"))
        self.now += 0.2
        self.assertIsNone(self.known.problem("ot2"))

    def test_each_region_is_one_of_its_own(self) -> None:
        self.known.problem("ot2")
        self.up = False
        self.assertIs(DOWN, self.known.problem("ot3"))
        self.assertIsNone(self.known.problem("ot2"))

    def test_an_error_is_no_answer(self) -> None:
        def fail(region: str) -> None:
            if not self.up:
                raise RuntimeError

        known = availability.Availability(fail)
        self.up = False
        self.assertRaises(RuntimeError, known.problem, "ot2")
        self.up = True
        self.assertIsNone(known.problem("ot2"))


class TestManyThreads(testtools.TestCase):
    """One thread asks; the others use the last result, if there is one."""

    def setUp(self) -> None:
        super().setUp()
        self.now = 100.0
        self.asked = threading.Semaphore(0)
        self.answer = threading.Event()
        self.known = availability.Availability(
            self._ask, clock=lambda: self.now
        )
        self.answers: list[probe.Problem | None] = []

    def _ask(self, _region: str) -> None:
        self.asked.release()
        self.assertTrue(self.answer.wait(PATIENCE))

    def _start(self) -> threading.Thread:
        thread = threading.Thread(
            target=lambda: self.answers.append(self.known.problem("ot2")),
            daemon=True,
        )
        thread.start()
        return thread

    def test_threads_without_a_result_wait_for_the_first(self) -> None:
        threads = [self._start() for _ in range(5)]
        self.assertTrue(self.asked.acquire(timeout=PATIENCE))
        self.assertEqual([], self.answers)
        self.answer.set()
        for thread in threads:
            thread.join(PATIENCE)
        self.assertEqual([None] * 5, self.answers)
        self.assertFalse(self.asked.acquire(blocking=False))

    def test_threads_with_a_result_use_it_meanwhile(self) -> None:
        self.answer.set()
        self.known.problem("ot2")
        self.assertTrue(self.asked.acquire(timeout=PATIENCE))
        self.answer.clear()
        self.now += 60
        asking = self._start()
        self.assertTrue(self.asked.acquire(timeout=PATIENCE))
        self.assertIsNone(self.known.problem("ot2"))
        self.assertEqual([], self.answers)
        self.answer.set()
        asking.join(PATIENCE)
        self.assertEqual([None], self.answers)
