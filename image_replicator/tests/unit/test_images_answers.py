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

"""What the worker makes of an image service's answers."""

import http

import fixtures
from keystoneauth1 import exceptions as ksa_exc

from image_replicator import exception
from image_replicator.errors import Side
from image_replicator.images import answers
from image_replicator.tests.unit import glances
from image_replicator.tests.unit import test_images_client

ID = test_images_client.ID


class TestErrors(test_images_client.ClientTestCase):
    def test_each_status_has_a_code_of_its_own(self) -> None:
        for status, kind in (
            (400, "refused"),
            (401, "unauthorized"),
            (403, "forbidden"),
            (404, "not_found"),
            (409, "conflict"),
            (410, "gone"),
            (413, "quota_exceeded"),
            (429, "busy"),
            (500, "failed"),
            (502, "failed"),
            (503, "unavailable"),
        ):
            self.glance.on("GET", "image", glances.saying(status))
            self._assert_fails(f"destination_{kind}", self.images.show, ID)

    def test_the_code_says_which_side_it_was(self) -> None:
        source = glances.image_client(self.session, side=Side.SOURCE)
        self._assert_fails("source_not_found", source.show, ID)

    def test_the_message_holds_region_status_and_glance_s_words(self) -> None:
        page = (
            b"<html><head><title>413</title></head>\n<body>\n"
            b"<h1>Too Large</h1>\nYour quota of 1 &lt; 2 is used up.<br />"
        )
        self.glance.on("POST", "images", glances.saying(413, page))
        error = self._assert_fails(
            "destination_quota_exceeded", self.images.create, {"id": ID}
        )
        self.assertEqual(
            "The image service of region ot2 answered 413 to creating the "
            "image: 413 Too Large Your quota of 1 < 2 is used up.",
            error.message,
        )

    def test_glance_s_words_are_shortened(self) -> None:
        self.glance.on("GET", "image", glances.saying(500, b"x" * 10**6))
        error = self._assert_fails("destination_failed", self.images.show, ID)
        self.assertLess(len(error.message), 500)

    def test_words_that_break_off_do_not_hide_the_status(self) -> None:
        cut = glances.saying(413, b"Quo", Content_Length=1000)
        self.glance.on("PUT", "file", cut)
        self._assert_fails(
            "destination_quota_exceeded", self.images.upload, ID, b"data"
        )

    def test_what_is_no_image_is_an_error(self) -> None:
        self.glance.on("GET", "image", glances.saying(200, b"<html>"))
        self._assert_fails("destination_failed", self.images.show, ID)

    def test_a_service_that_hangs_up(self) -> None:
        self.glance.on("GET", "image", glances.hanging_up)
        error = self._assert_fails(
            "destination_unreachable", self.images.show, ID
        )
        self.assertIn("ot2", error.message)
        self.assertNotIn(self.glance.url, error.message)

    def test_a_region_that_the_catalogue_does_not_have(self) -> None:
        images = glances.image_client(self.session, "ot3")
        error = self._assert_fails(
            "destination_not_in_catalogue", images.show, ID
        )
        self.assertIn("ot3", error.message)

    def test_a_keystone_that_is_down_is_not_the_image_service_s_fault(
        self,
    ) -> None:
        for failure in (ksa_exc.ConnectFailure, ksa_exc.Unauthorized):
            self.useFixture(
                fixtures.MockPatchObject(
                    self.session.auth, "get_token", side_effect=failure
                )
            )
            self._assert_fails("identity_unavailable", self.images.show, ID)

    def test_no_token_stands_in_a_message(self) -> None:
        def echo(handler: glances.Handler) -> None:
            handler.answer(http.HTTPStatus.FORBIDDEN, b"no")

        self.glance.on("GET", "image", echo)
        error = self._assert_fails(
            "destination_forbidden", self.images.show, ID
        )
        self.assertNotIn(glances.TOKEN, error.message)

    def test_what_is_no_uuid_gets_into_no_path(self) -> None:
        for image_id in ("", "..", f"{ID}/file", "0f5c9d4e/../x"):
            self.assertRaises(ValueError, self.images.show, image_id)
        self.assertEqual([], self.glance.seen)


class TestCreate(test_images_client.ClientTestCase):
    def test_the_image_is_as_it_was_given(self) -> None:
        self.images.create({"id": ID, "name": "☃", "owner": "b"})
        image = self.images.show(ID)
        self.assertEqual(("☃", "b"), (image["name"], image["owner"]))

    def test_only_a_refusal_says_that_there_is_no_image(self) -> None:
        for status in (400, 403, 413, 429):
            self.glance.on("POST", "images", glances.saying(status))
            self.assertRaises(answers.Refused, self.images.create, {"id": ID})
        for status in (408, 409, 500, 502, 503, 504):
            self.glance.on("POST", "images", glances.saying(status))
            error = self.assertRaises(
                exception.TransferError, self.images.create, {"id": ID}
            )
            self.assertNotIsInstance(error, answers.Refused)
