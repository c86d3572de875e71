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

"""How far away a region is."""

import testtools

from image_replicator.worker import distance


class TestDistances(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.distances = distance.Distances()

    def test_the_first_answer_says_how_far_it_is(self) -> None:
        self.assertEqual(0.2, self.distances.update("ot1", 0.2))

    def test_load_is_no_distance(self) -> None:
        self.distances.update("ot1", 0.02)

        self.assertEqual(0.02, self.distances.update("ot1", 0.5))

    def test_a_quicker_answer_tells_more(self) -> None:
        self.distances.update("ot1", 0.5)
        self.distances.update("ot1", 0.02)

        self.assertEqual(0.02, self.distances.update("ot1", 0.1))

    def test_each_region_has_its_own(self) -> None:
        self.distances.update("ot1", 0.02)

        self.assertEqual(0.5, self.distances.update("ot2", 0.5))
