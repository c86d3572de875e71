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

"""Requests that are sent again after a kept connection was closed."""

import threading
from typing import Any

from image_replicator.tests.unit import glances
from image_replicator.tests.unit import test_images_client

ID = test_images_client.ID
OTHER_ID = ID.replace("0f", "1f")


class TestOnceMore(test_images_client.ClientTestCase):
    """The second request of each connection is not answered, but closed."""

    def setUp(self) -> None:
        super().setUp()
        self.glance = self.useFixture(glances.FakeGlance(hasty=True))
        self.session = glances.new_session(ot2=self.glance)
        self.images = glances.image_client(self.session)
        self.glance.add(ID, b"data")
        # From here on there is a kept connection.
        self.images.show(ID)
        self.glance.seen.clear()

    def _assert_closed_once(self, method: str, kind: str) -> None:
        self.assertEqual(1, self.glance.closed)
        self.assertEqual([(method, kind)], self.glance.seen)

    def test_showing(self) -> None:
        self.assertEqual(ID, self.images.show(ID)["id"])
        self._assert_closed_once("GET", "image")

    def test_changing(self) -> None:
        self.images.change(ID, protected=True)
        self._assert_closed_once("PATCH", "image")
        self.assertIs(True, self.glance.images[ID]["protected"])

    def test_removing(self) -> None:
        self.images.remove(ID, exists=True)
        self._assert_closed_once("DELETE", "image")
        self.assertEqual({}, self.glance.images)

    def test_listing(self) -> None:
        self.assertEqual([], list(self.images.list_tagged("any")))
        self.assertEqual(2, self.glance.count("GET", "images"))

    def test_reading(self) -> None:
        data = self.images.download(ID, 0, 3)
        self.addCleanup(data.close)
        self.assertEqual(b"data", data.read(100))
        self._assert_closed_once("GET", "file")

    def _assert_not_repeated(self, method: Any, *arguments: Any) -> None:
        self._assert_fails("destination_unreachable", method, *arguments)
        self.assertEqual(1, self.glance.closed)
        self.assertEqual([], self.glance.seen)

    def test_creating_is_not_repeated(self) -> None:
        """The first may have succeeded, so the second would conflict."""
        self._assert_not_repeated(self.images.create, {"id": OTHER_ID})
        self.assertNotIn(OTHER_ID, self.glance.images)

    def test_uploading_is_not_repeated(self) -> None:
        """The data that was sent cannot be read again."""
        self._assert_not_repeated(self.images.upload, ID, b"other")
        self.assertEqual(b"data", self.glance.images[ID]["_data"])


class TestTwice(test_images_client.ClientTestCase):
    """A service that closes new connections gets two requests."""

    def test_a_service_that_always_hangs_up(self) -> None:
        for method, kind in (("GET", "image"), ("DELETE", "image")):
            self.glance.on(method, kind, glances.hanging_up)
        self._assert_fails("destination_unreachable", self.images.show, ID)
        self.assertEqual(2, self.glance.count("GET", "image"))
        self._assert_fails(
            "destination_unreachable", self.images.remove, ID, exists=True
        )
        self.assertEqual(2, self.glance.count("DELETE", "image"))

    def test_one_that_is_slow_is_asked_once(self) -> None:
        done = threading.Event()
        self.addCleanup(done.set)
        self.glance.on("GET", "file", lambda _handler: done.wait(30))
        images = glances.image_client(self.session, read=0.1)
        self._assert_fails(
            "destination_unreachable", images.download, ID, 0, 3
        )
        self.assertEqual(1, self.glance.count("GET", "file"))
