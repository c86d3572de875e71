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

"""Tests of the memory that pieces may use, by the distance of the source."""

import testtools
from oslo_utils import units

from image_replicator import exception
from image_replicator.images import download
from image_replicator.worker import pieces
from image_replicator.worker import range_reader

SIZE = units.Gi
WINDOW = 64 * units.Mi
STREAMS = 8


def _begin(_first: int, _last: int) -> download.Download:
    raise NotImplementedError


def _failed(error: exception.TransferError) -> None:
    raise error


class TestWindow(testtools.TestCase):
    def ahead(self, latency: float) -> int:
        """Return how far readers get when the upload takes nothing."""
        made = pieces.Pieces(
            SIZE, 0, held=0, window=lambda: WINDOW, clock=lambda: 0.0
        )
        made.latency = latency
        while made.has_room_for_next(STREAMS):
            first = made.taken
            end = first + made.next_size(STREAMS)
            reader = range_reader.RangeReader(
                _begin,
                SIZE,
                first,
                end,
                chunk_size=1,
                wait=lambda _seconds: None,
                on_failure=_failed,
                skip=False,
            )
            made.take(reader, end, single=False)
        return made.taken

    def test_a_far_source_fills_the_window(self) -> None:
        for latency in (0.1, 0.2):
            self.assertGreater(self.ahead(latency), WINDOW - 4 * units.Mi)
            self.assertLessEqual(self.ahead(latency), WINDOW)

    def test_one_whose_distance_is_not_known_may(self) -> None:
        self.assertGreater(self.ahead(0.0), WINDOW - 4 * units.Mi)

    def test_a_near_source_needs_less(self) -> None:
        most = 24 * units.Mi
        self.assertGreater(self.ahead(0.005), most - 4 * units.Mi)
        self.assertLessEqual(self.ahead(0.005), most)
