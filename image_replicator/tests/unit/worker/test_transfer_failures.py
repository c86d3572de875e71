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

"""One copy: how the source and the destination make it fail."""

from image_replicator import exception
from image_replicator.tests.unit import glances
from image_replicator.tests.unit.worker import base
from image_replicator.tests.unit.worker import test_transfer

DATA = base.DATA


class TestSourceFailures(test_transfer.TransferTestCase):
    def test_the_image_is_gone(self) -> None:
        self.begin()
        self.source.images.clear()
        self.assert_fails("source_not_found")
        self.assertEqual([], self.destination.seen)

    def test_the_image_is_not_active_any_more(self) -> None:
        for status in ("deactivated", "queued", "saving", "pending_delete"):
            self.begin()
            self.source_image(self.job.id)["status"] = status
            self.assertIn(status, self.assert_fails("source_not_active"))
        self.assertEqual([], self.destination.seen)

    def test_the_image_is_another_one_by_now(self) -> None:
        self.begin()
        self.source_image(self.job.id)["size"] += 1
        self.assert_fails("source_size_differs")
        self.assertEqual([], self.destination.seen)

    def test_the_image_is_shown_without_its_size(self) -> None:
        for size in (None, "9"):
            self.begin()
            self.source_image(self.job.id)["size"] = size
            self.assert_fails("source_size_unknown")
        self.begin()
        del self.source_image(self.job.id)["size"]
        self.assert_fails("source_size_unknown")
        self.assertEqual([], self.destination.seen)

    def test_the_image_has_a_property_that_forbids_it(self) -> None:
        self.begin(kernel_id="0f5c9d4e-3a8a-4d0e-8a1e-0d6a4f3f2b10")
        self.assertIn("kernel_id", self.assert_fails("metadata_refused"))
        self.assertEqual([], self.destination.seen)

    def test_the_operator_refuses_signed_images(self) -> None:
        self.new_job(img_signature="abc")
        self.prepare(signature="refuse")
        self.assertIn("img_signature", self.assert_fails("metadata_refused"))

    def test_the_data_is_refused(self) -> None:
        self.source.on("GET", "file", glances.saying(403, b"no download"))
        self.begin()
        self.assertIn("no download", self.assert_fails("source_forbidden"))

    def _send_first(self, *answers: glances.Answer) -> None:
        """Let the data be answered so at first, and then as Glance does."""
        left = list(answers)

        def answer(handler: glances.Handler) -> None:
            (left.pop(0) if left else self.source.behave)(handler)

        self.source.on("GET", "file", answer)

    def test_data_that_breaks_off_is_taken_up_again(self) -> None:
        """The upload stays open, and gets each byte once."""
        self._send_first(
            glances.hanging_up,
            glances.saying(200, DATA[:100_000], Content_Length=len(DATA)),
            glances.saying(503),
            glances.saying(500),
        )
        self.begin()
        self.copy.run()
        self.assertEqual(DATA, self.image()["_data"])
        self.assertEqual(1, self.destination.count("PUT", "file"))
        self.assertEqual(
            f"bytes=100000-{len(DATA) - 1}",
            self.source.requests[-1].headers["Range"],
        )

    def test_a_token_that_expires_while_data_is_read(self) -> None:
        self._send_first(glances.saying(401))
        self.begin()
        self.copy.run()
        self.assertEqual(DATA, self.image()["_data"])

    def test_the_data_always_breaks_off(self) -> None:
        """It is the source's fault, though the upload meets it."""
        self.source.on(
            "GET",
            "file",
            glances.saying(200, DATA[:100_000], Content_Length=len(DATA)),
        )
        self.begin()
        self.assert_fails("source_read_failed")
        self.assertEqual("queued", self.image()["status"])

    def test_there_is_more_data_than_said(self) -> None:
        self.source.on("GET", "file", glances.saying(200, DATA + b"more"))
        self.begin()
        self.assert_fails("source_size_differs")


class TestDestinationFailures(test_transfer.TransferTestCase):
    def test_the_image_is_refused(self) -> None:
        """Nothing is there then, and the row says so."""
        self.destination.on("POST", "images", glances.saying(413, b"Too many"))
        self.begin()
        self.assertIn(
            "Too many", self.assert_fails("destination_quota_exceeded")
        )
        row = self.stores.jobs.get(self.job.id)
        self.assertIsNone(row.reserved_image_id)

    def test_it_is_not_known_whether_there_is_an_image(self) -> None:
        for answer in (glances.hanging_up, glances.saying(502)):
            self.destination.on("POST", "images", answer)
            self.begin()
            self.assertRaises(exception.TransferError, self.copy.run)
            row = self.stores.jobs.get(self.job.id)
            self.assertIsNotNone(row.reserved_image_id)
            self.assertIsNone(row.destination_image_id)

    def test_the_data_is_refused(self) -> None:
        for status, code in (
            (401, "destination_unauthorized"),
            (403, "destination_forbidden"),
            (410, "destination_gone"),
            (413, "destination_quota_exceeded"),
            (415, "destination_refused"),
            (503, "destination_unavailable"),
            (307, "destination_not_image_service"),
        ):
            self.destination.seen.clear()
            self.destination.on("PUT", "file", glances.saying(status, b"why"))
            self.begin()
            self.assertIn("why", self.assert_fails(code))
            self.assertEqual(1, self.destination.count("PUT", "file"))

    def test_it_hangs_up_in_the_middle(self) -> None:
        def hang_up(handler: glances.Handler) -> None:
            handler.rfile.read(1000)

        self.destination.on("PUT", "file", hang_up)
        self.begin(DATA * 32)
        self.assert_fails("destination_unreachable")

    def test_it_cannot_be_protected(self) -> None:
        self.destination.on("PATCH", "image", glances.saying(403))
        self.begin(protected=True)
        self.assert_fails("destination_forbidden")
