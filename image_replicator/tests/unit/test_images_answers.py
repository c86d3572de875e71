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

"""The worker's errors for an image service's answers."""

import json
from typing import Final

import fixtures
from keystoneauth1 import exceptions as ksa_exc

from image_replicator import exception
from image_replicator.errors import ErrorCode
from image_replicator.errors import Recovery
from image_replicator.errors import Side
from image_replicator.images import answers
from image_replicator.tests.unit import glances
from image_replicator.tests.unit import test_images_client

ID = test_images_client.ID


class TestErrors(test_images_client.ClientTestCase):
    def test_the_code_says_which_side_it_was(self) -> None:
        source = glances.image_client(self.session, side=Side.SOURCE)
        self._assert_fails("source_not_found", source.show, ID)

    def test_the_message_holds_region_status_and_glance_s_words(self) -> None:
        page = (
            b"<html><head><title>400</title></head>\n<body>\n"
            b"<h1>Bad</h1>\nA disk of 1 &lt; 2 sectors.<br />"
        )
        self.glance.on("POST", "images", glances.saying(400, page))
        error = self._assert_fails(
            "destination_refused", self.images.create, {"id": ID}
        )
        self.assertEqual(
            "The image service of region ot2 answered 400 to creating the "
            "image: 400 Bad A disk of 1 < 2 sectors.",
            error.message,
        )

    def test_a_limit_and_a_right_are_told_in_our_words(self) -> None:
        """Glance's may name another project, or a file."""
        for status, words, told in (
            (413, b"Project 5ecre7 is full", "a limit of the project or of"),
            (
                413,
                b"Project 5ecre7 is over a limit for [Resource "
                b"image_size_total is over limit of 1 due to current usage 0 "
                b"and delta 5]",
                "the limit of image_size_total is 1, 0 are in use, and 5 more",
            ),
            (
                413,
                b"5ecre7: The limit has been exceeded on the number of "
                b"allowed image tags. Attempted: 129, Maximum: 128",
                "an image may have 128 tags, and this one has 129",
            ),
            (
                413,
                b"Image 5ecre7 exceeds the storage quota: The size of the "
                b"data 100 will exceed the limit. 7 bytes remaining.",
                "the image has 100 bytes, and 7 bytes are left",
            ),
            (
                413,
                b"The incoming image 5ecre7 is too large: The provided image "
                b"is too large.",
                "the image is larger than any may be",
            ),
            (403, b"5ecre7 may not", "its policy does not give the user"),
            (
                403,
                b"Attribute 'x_owner' is reserved by 5ecre7.",
                "the property x_owner is reserved for other roles",
            ),
        ):
            self.glance.on("POST", "images", glances.saying(status, words))
            error = self.assertRaises(
                exception.TransferError, self.images.create, {"id": ID}
            )
            self.assertIn(f"answered {status} to creating", error.message)
            self.assertIn(told, error.message)
            self.assertNotIn("5ecre7", error.message)

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

    def test_a_body_without_an_image_is_no_image_service(self) -> None:
        for body in (b"<html>", b"", b"{}", b"[]", b"1", b"[" * 9999):
            self.glance.on("GET", "image", glances.saying(200, body))
            error = self._assert_fails(
                "destination_not_image_service", self.images.show, ID
            )
            self.assertIn("it showed no image", error.message)

    def test_an_answer_that_lost_bytes_may_pass(self) -> None:
        for body in (b'{"id": "8c7f', b"", b'{"id": "\xff'):
            self.glance.on(
                "GET",
                "image",
                glances.saying(200, body, Content_Type="application/json"),
            )
            error = self._assert_fails(
                "destination_failed", self.images.show, ID
            )
            self.assertIn("not whole", error.message)

    def test_a_web_page_is_no_image_service_s(self) -> None:
        page = b"<h1>Welcome</h1>"
        for method, kind, call, arguments in (
            ("GET", "image", self.images.show, (ID,)),
            ("POST", "images", self.images.create, ({"id": ID},)),
            ("GET", "file", self.images.download, (ID, 0, 3)),
            ("PUT", "file", self.images.upload, (ID, b"data")),
        ):
            for status in (200, 404, 405):
                answer = glances.proxying(
                    status, page, Content_Type="text/html"
                )
                self.glance.on(method, kind, answer)
                error = self._assert_fails(
                    "destination_not_image_service", call, *arguments
                )
                self.assertIn(str(status), error.message)
                self.assertIn("Welcome", error.message)

    def test_a_redirect_is_told_by_host_and_path(self) -> None:
        for status in (301, 302, 303, 307, 308):
            answer = glances.proxying(
                status, Location="https://u:secret@sso.example/in?k=secret"
            )
            self.glance.on("POST", "images", answer)
            error = self._assert_fails(
                "destination_not_image_service",
                self.images.create,
                {"id": ID},
            )
            # Certainly no image was created, so none must be deleted.
            self.assertIsInstance(error, answers.Refused)
            self.assertEqual(
                "Another service stands where the image service of region "
                "ot2 should be: it redirected creating the image to "
                "sso.example/in.",
                error.message,
            )

    def test_a_redirect_to_no_address(self) -> None:
        for target in ("http://[::1", "http://x:port/"):
            answer = glances.proxying(302, Location=target)
            self.glance.on("GET", "image", answer)
            self._assert_fails(
                "destination_not_image_service", self.images.show, ID
            )

    def test_a_proxy_s_limit_is_no_quota(self) -> None:
        answer = glances.proxying(413, b"<h1>413 Too Large</h1><hr>nginx")
        self.glance.on("PUT", "file", answer)
        error = self._assert_fails(
            "destination_upload_limited", self.images.upload, ID, b"data"
        )
        self.assertEqual(
            "A proxy before the image service of region ot2 answered 413 to "
            "uploading the image: 413 Too Large nginx",
            error.message,
        )

    def test_the_error_of_a_possible_proxy_names_it(self) -> None:
        self.glance.on("GET", "image", glances.proxying(504, b"Time-out"))
        error = self._assert_fails("destination_failed", self.images.show, ID)
        self.assertEqual(
            "The image service of region ot2, or a proxy before it, answered "
            "504 to showing the image: Time-out",
            error.message,
        )

    def test_a_proxy_s_404_does_not_say_that_an_image_is_gone(self) -> None:
        self.glance.on("DELETE", "image", glances.proxying(404))
        self._assert_fails(
            "destination_not_image_service",
            self.images.remove,
            ID,
            exists=True,
        )

    def test_the_token_is_not_repeated(self) -> None:
        def echo(handler: glances.Handler) -> None:
            handler.answer(400, str(handler.headers).encode())

        self.glance.on("GET", "image", echo)
        error = self._assert_fails("destination_refused", self.images.show, ID)
        self.assertIn("X-Auth-Token", error.message)
        self.assertNotIn(glances.TOKEN, error.message)

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

    def test_only_uuids_are_used_in_paths(self) -> None:
        for image_id in ("", "..", f"{ID}/file", "0f5c9d4e/../x"):
            self.assertRaises(ValueError, self.images.show, image_id)
        self.assertEqual([], self.glance.seen)


class TestMeanings(test_images_client.ClientTestCase):
    """Every answer in the table, and some others."""

    def setUp(self) -> None:
        super().setUp()
        self.glance.add(ID, b"data")

    def answer(self, request: answers.Request, answer: glances.Answer) -> None:
        """Set the answer to a request."""
        method, kind = _REQUESTS[request]
        self.glance.on(method, kind, answer)

    def send(self, request: answers.Request) -> None:
        """Send a request as a worker does."""
        match request:
            case answers.Request.SHOW:
                self.images.show(ID)
            case answers.Request.LIST:
                list(self.images.list_tagged("tag"))
            case answers.Request.CREATE:
                self.images.create({"id": ID})
            case answers.Request.RESERVE:
                self.glance.on("DELETE", "image", glances.saying(404))
                self.images.remove(ID, exists=False)
            case answers.Request.CHANGE:
                self.images.change(ID, protected=True)
            case answers.Request.DELETE:
                self.images.remove(ID, exists=True)
            case answers.Request.DOWNLOAD:
                self.images.download(ID, 0, 3).close()
            case answers.Request.UPLOAD:
                self.images.upload(ID, b"data")

    def test_each_answer_of_glance(self) -> None:
        shown = json.dumps({"id": ID, "status": "active", "images": []})
        for request, meanings in answers.MEANINGS.items():
            for status, kind in meanings.items():
                body = b"" if status == 204 else shown.encode()
                extent = f"bytes 0-{len(body) - 1}/{len(body)}"
                self.answer(
                    request,
                    glances.saying(status, body, Content_Range=extent),
                )
                if kind is None:
                    self.send(request)
                    continue
                word = ErrorCode.of(Side.DESTINATION, kind).word
                error = self._assert_fails(word, self.send, request)
                self.assertIn(f"{status} to {request.value}", error.message)
            self.answer(request, self.glance.behave)

    def test_statuses_that_glance_never_answers(self) -> None:
        for status, word in (
            (408, "destination_failed"),
            (418, "destination_refused"),
            (429, "destination_busy"),
            (502, "destination_failed"),
            (504, "destination_failed"),
            (507, "destination_failed"),
        ):
            for request in answers.Request:
                for by_proxy in (False, True):
                    answer = glances.saying(status, b"why", by_proxy)
                    self.answer(request, answer)
                    self._assert_fails(word, self.send, request)

    def test_the_formats_of_data_and_image_that_differ_are_final(self) -> None:
        self.answer(
            answers.Request.UPLOAD,
            glances.saying(415, b"Image content does not match disk_format"),
        )
        error = self._assert_fails(
            "destination_refused", self.send, answers.Request.UPLOAD
        )
        self.assertIs(Recovery.FINAL, error.code.recovery)
        self.assertIn("does not match disk_format", error.message)


_REQUESTS: Final = {
    answers.Request.SHOW: ("GET", "image"),
    answers.Request.LIST: ("GET", "images"),
    answers.Request.CREATE: ("POST", "images"),
    answers.Request.RESERVE: ("POST", "images"),
    answers.Request.CHANGE: ("PATCH", "image"),
    answers.Request.DELETE: ("DELETE", "image"),
    answers.Request.DOWNLOAD: ("GET", "file"),
    answers.Request.UPLOAD: ("PUT", "file"),
}


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
