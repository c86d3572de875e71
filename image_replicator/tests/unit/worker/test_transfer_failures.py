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

"""Failures of a copy at the source and at the destination."""

import threading
import types

import fixtures

from image_replicator import exception
from image_replicator.tests.unit import glances
from image_replicator.tests.unit.worker import base
from image_replicator.tests.unit.worker import test_transfer
from image_replicator.worker import new_image
from image_replicator.worker import outcome
from image_replicator.worker import rate
from image_replicator.worker import transfer
from image_replicator.worker import upload

DATA = base.DATA

_check = rate.Minimum.check


def _check_at_once(self: rate.Minimum, size: int, seconds: float) -> None:
    """Check the rate as if a long time had passed."""
    _check(self, size, 3600.0)


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
        self.assert_fails("source_forbidden")

    def _send_first(self, *answers: glances.Answer) -> None:
        """Set the first answers to requests for data; then Glance answers."""
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

    def test_there_is_less_data_than_said(self) -> None:
        """The error is the source's, though the upload fails."""
        self.source.on(
            "GET",
            "file",
            glances.saying(200, DATA[:100_000], Content_Length=len(DATA)),
        )
        self.begin()
        self.assertIn(
            "after 100000 bytes", self.assert_fails("source_size_differs")
        )
        self.assertEqual("queued", self.image()["status"])
        self.assertEqual(3, self.source.count("GET", "file"))

    def test_the_source_is_too_slow(self) -> None:
        self.conf.set_override("min_rate", 1 << 60, "transfer")
        self.useFixture(
            fixtures.MockPatchObject(rate.Minimum, "check", _check_at_once)
        )
        self.begin()
        self.assert_fails("source_too_slow")

    def test_there_is_more_data_than_said(self) -> None:
        self.source.on("GET", "file", glances.saying(200, DATA + b"more"))
        self.begin()
        self.assert_fails("source_size_differs")


class TestDestinationFailures(test_transfer.TransferTestCase):
    def test_the_image_is_refused(self) -> None:
        """No image exists then, and the row names none."""
        self.destination.on("POST", "images", glances.saying(413, b"Too many"))
        self.begin()
        self.assert_fails("destination_quota_exceeded")
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
            message = self.assert_fails(code)
            # Glance's words for a limit or a right may name another project.
            self.assertEqual(status not in (403, 413), "why" in message)
            self.assertEqual(1, self.destination.count("PUT", "file"))

    def test_it_hangs_up_in_the_middle(self) -> None:
        def hang_up(handler: glances.Handler) -> None:
            handler.rfile.read(1000)

        self.destination.on("PUT", "file", hang_up)
        self.begin(DATA * 32)
        self.assert_fails("destination_unreachable")

    def test_the_source_is_left_alone_when_the_destination_fails(
        self,
    ) -> None:
        """The log has nothing on the requests that we broke off."""
        self.destination.on("POST", "images", glances.saying(413))
        self.source.on("GET", "file", glances.saying(503))
        self.begin()
        self.assert_fails("destination_quota_exceeded")
        self.assertNotIn("does not answer", self.logger.output)

    def test_it_cannot_be_protected(self) -> None:
        self.destination.on("PATCH", "image", glances.saying(403))
        self.begin(protected=True)
        self.assert_fails("destination_forbidden")


class TestLostAnswer(test_transfer.TransferTestCase):
    """The destination got all bytes, but its answer was lost."""

    def setUp(self) -> None:
        super().setUp()
        self.useFixture(
            fixtures.MonkeyPatch(f"{upload.__name__}._PAUSE", 0.001)
        )

    def _lose(
        self, answer: int | None, *statuses: str, data: bytes = DATA
    ) -> None:
        """Lose the answer to the upload.

        :param answer: the status that is sent instead; None closes the
            connection
        :param statuses: of the image at the first looks, before its real one
        """
        looks = list(statuses)

        def take(handler: glances.Handler) -> None:
            image = self.destination.images[handler.image_id]
            self.destination.fill(image, handler.body()[: len(data)])
            if answer:
                handler.answer(answer, by_proxy=answer in (408, 502, 504))

        def show(handler: glances.Handler) -> None:
            image = self.destination.images[handler.image_id]
            if looks:
                status = looks.pop(0)
                if status.isdecimal():
                    handler.answer(int(status))
                    return
                image["status"] = status
            elif image["status"] == "saving":
                image["status"] = "active"
            self.destination.behave(handler)

        self.destination.on("PUT", "file", take)
        self.destination.on("GET", "image", show)
        self.begin()

    def test_an_image_that_is_active_is_verified(self) -> None:
        for answer in (
            504,
            502,
            408,
            409,
            None,
        ):
            self.destination.images.clear()
            self._lose(answer)
            self.copy.run()
            self.assertEqual(DATA, self.image()["_data"])
            self.assertEqual([], self.image()["tags"])

    def test_an_image_that_is_being_saved_is_waited_for(self) -> None:
        self._lose(504, "saving", "502", "saving")
        self.copy.run()
        self.assertEqual("active", self.image()["status"])

    def test_a_failure_of_the_service_s_own_is_not_waited_for(self) -> None:
        """Glance on SQLite leaves images so when the database is locked."""
        self._lose(500, *["saving"] * 9)
        self.assert_fails("destination_failed")
        self.assertEqual(1, self.destination.count("GET", "image"))

    def test_an_image_that_is_not_the_same_is_not_right(self) -> None:
        self._lose(504, data=DATA[:-1])
        self.assert_fails("verification_failed")

    def test_an_image_without_data_is_uploaded_anew(self) -> None:
        for status in ("queued", "killed"):
            self._lose(504, "saving", status)
            self.assert_fails("destination_failed")

    def test_a_destination_that_shows_nothing_is_given_up(self) -> None:
        self._lose(504, *["502"] * 99)
        self.assert_fails("destination_failed")
        self._lose(504, "403")
        self.assert_fails("destination_failed")

    def test_it_is_not_waited_for_longer_than_for_an_answer(self) -> None:
        self.conf.set_override("upload_response_timeout", 1.0, "transfer")
        now = iter(range(1000))
        clock = types.SimpleNamespace(monotonic=lambda: next(now))
        self._lose(504, *["saving"] * 99)
        self.copy.access = self.copy._open_access()
        data = self.copy._new_stream(
            self.source_image(self.job.id), (), lambda: None
        )
        data.start()
        self.addCleanup(data.close)
        read_from = self.copy.read_from
        assert read_from
        image_id = new_image.NewImage(
            self.job,
            self.claimed,
            self.stores.owned,
            self.copy._call,
            self.copy._destination,
        ).create({}, read_from)
        self.assertRaises(
            exception.TransferError,
            upload.upload,
            self.copy._destination,
            image_id,
            data,
            patience=1.0,
            wait=lambda seconds: None,
            clock=clock.monotonic,
        )
        self.assertEqual(1, self.destination.count("GET", "image"))

    def test_a_refusal_is_one(self) -> None:
        self._lose(413)
        self.assert_fails("destination_quota_exceeded")
        self.assertEqual(0, self.destination.count("GET", "image"))

    def test_it_can_be_canceled_meanwhile(self) -> None:
        self._lose(504, *["saving"] * 9999)
        threading.Timer(
            0.05, self.copy.stop, [outcome.StopReason.CANCELED]
        ).start()
        self.assertRaises(transfer.Stopped, self.copy.run)
