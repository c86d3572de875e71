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

"""The worker's requests to an image service."""

from typing import Any

import testtools

from image_replicator import exception
from image_replicator.tests.unit import glances

ID = "0f5c9d4e-3a8a-4d0e-8a1e-0d6a4f3f2b10"


class ClientTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.glance = self.useFixture(glances.FakeGlance())
        self.session = glances.new_session(ot2=self.glance)
        self.images = glances.image_client(self.session)

    def _assert_fails(
        self, code: str, method: Any, *arguments: Any, **kwargs: Any
    ) -> exception.TransferError:
        error: exception.TransferError = self.assertRaises(
            exception.TransferError, method, *arguments, **kwargs
        )
        self.assertEqual(code, error.code.word)
        return error


class TestChange(ClientTestCase):
    def test_properties_get_new_values(self) -> None:
        self.images.create({"id": ID, "tags": ["a", "b"]})
        self.images.change(ID, tags=["b"], protected=True)
        image = self.images.show(ID)
        self.assertEqual((["b"], True), (image["tags"], image["protected"]))
        self.assertEqual(1, self.glance.count("PATCH", "image"))


class TestListTagged(ClientTestCase):
    def test_all_pages_of_shown_and_hidden_ones(self) -> None:
        for number in range(7):
            self.glance.add(
                ID.replace("0f", f"{number}f"),
                b"",
                tags=["the tag", "another"] if number else ["another"],
                os_hidden=number > 4,
            )
        listed = [image["id"] for image in self.images.list_tagged("the tag")]
        self.assertEqual(list(self.glance.images)[1:], listed)
        self.assertEqual(3, self.glance.count("GET", "images"))

    def test_one_that_is_half_deleted_is_none(self) -> None:
        self.glance.add(ID, b"", tags=["the tag"])
        self.glance.images[ID]["status"] = "deleted"
        self.assertEqual([], list(self.images.list_tagged("the tag")))

    def test_every_owner_s_images_are_asked_for(self) -> None:
        self.assertEqual([], list(self.images.list_tagged("ä b")))
        for request in self.glance.requests:
            self.assertIn("visibility=all", request.path)
            self.assertIn("tag=%C3%A4+b", request.path)

    def test_a_page_that_is_missing_is_an_error(self) -> None:
        self.glance.on("GET", "images", glances.saying(503))
        self._assert_fails(
            "destination_unavailable", list, self.images.list_tagged("a")
        )


class TestRemove(ClientTestCase):
    def test_an_image_is_gone(self) -> None:
        for exists in (True, False):
            image_id = ID.replace("0f", "1f" if exists else "2f")
            self.images.create({"id": image_id})
            self.images.remove(image_id, exists=exists)
            self.assertEqual({}, self.glance.images)

    def test_a_protected_image_is_gone(self) -> None:
        self.images.create({"id": ID})
        self.images.change(ID, protected=True)
        self.images.remove(ID, exists=True)
        self.assertEqual({}, self.glance.images)

    def test_one_that_is_gone_already_is_fine(self) -> None:
        self.images.create({"id": ID})
        for _ in range(2):
            self.images.remove(ID, exists=True)
            self.images.remove(ID, exists=False)
        self.assertEqual({}, self.glance.images)

    def test_one_that_exists_costs_one_request(self) -> None:
        self.glance.add(ID, b"")
        self.images.remove(ID, exists=True)
        self.assertEqual([("DELETE", "image")], self.glance.seen)

    def test_a_creation_that_comes_late_is_refused(self) -> None:
        self.images.remove(ID, exists=False)
        self._assert_fails(
            "destination_conflict", self.images.create, {"id": ID}
        )
        self.assertEqual({}, self.glance.images)

    def test_a_creation_that_comes_in_between_is_undone(self) -> None:
        def late(handler: glances.Handler) -> None:
            self.glance.add(ID, b"")
            self.glance.behave(handler)

        self.glance.on("POST", "images", late)
        self.images.remove(ID, exists=False)
        self.assertEqual({}, self.glance.images)

    def test_one_that_glance_left_half_deleted_is_as_good_as_gone(
        self,
    ) -> None:
        self.glance.add(ID, b"")
        self.glance.images[ID]["status"] = "deleted"
        self.glance.on("DELETE", "image", glances.saying(400, b"Deleted."))
        self.images.remove(ID, exists=True)
        self.glance.images[ID]["status"] = "active"
        self._assert_fails(
            "destination_refused", self.images.remove, ID, exists=True
        )

    def test_one_that_another_request_has_deleted_meanwhile_is_gone(
        self,
    ) -> None:
        self.glance.add(ID, b"")

        def deleted_by_another(handler: glances.Handler) -> None:
            del self.glance.images[ID]
            glances.saying(400, b"Deleted.")(handler)

        self.glance.on("DELETE", "image", deleted_by_another)
        self.images.remove(ID, exists=True)

    def test_one_that_cannot_be_removed_is_an_error(self) -> None:
        self.glance.add(ID, b"")
        self.glance.on("DELETE", "image", glances.saying(403))
        self.glance.on("PATCH", "image", glances.saying(403))
        self._assert_fails(
            "destination_forbidden", self.images.remove, ID, exists=True
        )
