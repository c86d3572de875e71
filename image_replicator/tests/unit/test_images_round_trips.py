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

"""The round trips to services, measured by their connections."""

import socket
import struct
from typing import cast

import testtools

from image_replicator.images import connections
from image_replicator.images import round_trips
from image_replicator.tests.unit import glances

ID = "0f5c9d4e-3a8a-4d0e-8a1e-0d6a4f3f2b10"


class _Far:
    """A connection with a round trip of 80 ms."""

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        return struct.pack("=8B16I", *[1] * 8, *[7] * 15, 80_000)[:size]


class _Unknown:
    """A connection on a system without that figure."""

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        raise OSError("not available")


class TestRoundTrips(testtools.TestCase):
    def test_the_kernel_knows_it(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            near = socket.create_connection(server.getsockname())
            with near:
                seconds = round_trips.of_connection(near)
        assert seconds is not None
        self.assertTrue(0 < seconds < 0.1, seconds)

    def test_a_long_way(self) -> None:
        far = cast(socket.socket, _Far())
        self.assertEqual(0.08, round_trips.of_connection(far))

    def test_a_system_that_does_not_tell(self) -> None:
        unknown = cast(socket.socket, _Unknown())
        self.assertIsNone(round_trips.of_connection(unknown))

    def test_the_shortest_counts_for_each_service(self) -> None:
        known = round_trips.RoundTrips()
        for seconds in (0.5, 0.02, 0.1):
            known.update("glance.ot1", 443, seconds)
        known.update("glance.ot2", 9292, 0.3)
        self.assertEqual(0.02, known.shortest("https://glance.ot1/image"))
        self.assertEqual(0.3, known.shortest("http://glance.ot2:9292"))
        self.assertEqual(0.0, known.shortest("http://glance.ot1/image"))
        self.assertEqual(0.0, known.shortest(""))

    def test_it_is_known_from_the_first_request_on_to_all_copies(self) -> None:
        glance = self.useFixture(glances.FakeGlance())
        glance.add(ID, b"data")
        pool = connections.Pool(glances.new_session(ot2=glance))
        first, second = pool.take(), pool.take()
        for each in (first, second):
            self.addCleanup(each.close)
            self.assertEqual(0.0, each.round_trip(glance.url))
        first.session.get(f"{glance.url}/v2/images/{ID}")
        self.assertGreater(second.round_trip(glance.url), 0.0)
