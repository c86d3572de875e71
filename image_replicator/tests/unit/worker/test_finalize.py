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

"""The end of a copy is written, and its image removed if it failed."""

import dataclasses
from unittest import mock

import fixtures
from oslo_db import exception as db_exc

from image_replicator import exception
from image_replicator import jobs
from image_replicator import nearness
from image_replicator.errors import ErrorCode
from image_replicator.tests.unit import glances
from image_replicator.tests.unit.worker import base
from image_replicator.worker import finalize
from image_replicator.worker import outcome

IMAGE_ID = "0f5c9d4e-3a8a-4d0e-8a1e-0d6a4f3f2b10"
FAILED = outcome.Failed(ErrorCode.SOURCE_BUSY, "The words.")
EVIDENCE = jobs.Verification(
    algorithm="sha512", source="abc", destination="abc"
)
READ_FROM = nearness.Replica(region_id="ot1", image_id=IMAGE_ID)
REPLICATED = outcome.Replicated(EVIDENCE, 1000, READ_FROM)
ENDS = (
    REPLICATED,
    outcome.StopReason.CANCELED,
    outcome.StopReason.SHUTDOWN,
    FAILED,
)


class FinalizeTestCase(base.WorkerTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.finalizer = finalize.Finalizer(
            self.stores.owned,
            self.stores.leftovers,
            self.new_access_control(),
            retry_delay=0.0,
        )
        self.new_job()
        self.job, self.held = self.claim()

    def reserve(self) -> None:
        """Reserve an id for the job's image, which does not exist yet."""
        self.stores.owned.reserve_image(self.held, IMAGE_ID)

    def create(self, **properties: object) -> None:
        """Create the job's image."""
        self.reserve()
        self.destination.add(IMAGE_ID, b"", **properties)
        self.stores.owned.image_created(self.held, IMAGE_ID)

    def finalize(self, end: outcome.Outcome) -> jobs.Job:
        """Finalize, and return the row."""
        self.finalizer.finalize(self.job, self.held, end)
        return self.stores.jobs.get(self.job.id)

    def assert_clean(self, row: jobs.Job) -> None:
        self.assertEqual({}, self.destination.images)
        self.assertIsNone(row.reserved_image_id)
        self.assertIsNone(row.destination_image_id)


class TestEnds(FinalizeTestCase):
    def test_replicated(self) -> None:
        self.create()
        row = self.finalize(REPLICATED)
        self.assertEqual(("replicated", 100), (row.status, row.copy_progress))
        self.assertEqual(IMAGE_ID, row.destination_image_id)
        self.assertIn(IMAGE_ID, self.destination.images)
        self.assertEqual(1000, row.bytes_per_second)
        self.assertEqual(
            ("sha512", "abc", "abc"),
            (
                row.verification_algorithm,
                row.verification_source,
                row.verification_destination,
            ),
        )

    def test_failed(self) -> None:
        self.create()
        row = self.finalize(FAILED)
        self.assertEqual(
            ("error", "source_busy", "The words."),
            (row.status, row.error_code, row.error_message),
        )
        self.assert_clean(row)

    def test_the_database_goes_away_meanwhile(self) -> None:
        self.create()
        away = mock.Mock(side_effect=db_exc.DBConnectionError())
        with mock.patch.object(self.stores.authorities, "get", away):
            self.assertRaises(db_exc.DBConnectionError, self.finalize, FAILED)
        row = self.finalize(FAILED)
        self.assertEqual("source_busy", row.error_code)
        self.assert_clean(row)

    def test_canceled(self) -> None:
        self.create()
        self.stores.jobs.request_cancel(self.job.id)
        row = self.finalize(outcome.StopReason.CANCELED)
        self.assertEqual("canceled", row.status)
        self.assertIsNone(row.error_code)
        self.assert_clean(row)

    def test_given_back(self) -> None:
        self.create()
        row = self.finalize(outcome.StopReason.SHUTDOWN)
        self.assertEqual(
            ("replicate_requested", None, 0, 0),
            (
                row.status,
                row.worker_id,
                row.attempts,
                row.bytes_copied,
            ),
        )
        self.assert_clean(row)

    def test_lost(self) -> None:
        self.create()
        self.assertRaises(
            exception.ClaimLost, self.finalize, outcome.StopReason.CLAIM_LOST
        )
        row = self.stores.jobs.get(self.job.id)
        self.assertEqual("replicating", row.status)
        self.assertIn(IMAGE_ID, self.destination.images)

    def test_canceled_before_any_worker_had_it(self) -> None:
        self.finalize(outcome.StopReason.SHUTDOWN)
        self.stores.jobs.request_cancel(self.job.id)
        claimed = self.stores.queue.claim_canceled("another")
        assert claimed
        self.finalizer.finalize(*claimed, outcome.StopReason.CANCELED)
        row = self.stores.jobs.get(self.job.id)
        self.assertEqual("canceled", row.status)
        self.assertEqual([], self.destination.seen)


class TestCancelAtTheLastMoment(FinalizeTestCase):
    def test_the_user_s_wish_comes_before_any_end(self) -> None:
        for end in ENDS:
            self.new_job()
            self.job, self.held = self.claim()
            self.create(protected=True)
            self.stores.jobs.request_cancel(self.job.id)
            row = self.finalize(end)
            self.assertEqual("canceled", row.status)
            self.assert_clean(row)


class TestCleaning(FinalizeTestCase):
    def test_a_protected_image_is_removed(self) -> None:
        self.create(protected=True)
        self.assert_clean(self.finalize(FAILED))

    def test_an_image_that_is_gone_already_is_fine(self) -> None:
        self.create()
        self.destination.images.clear()
        self.assert_clean(self.finalize(FAILED))

    def test_there_was_no_image_yet(self) -> None:
        self.assert_clean(self.finalize(FAILED))
        self.assertEqual([], self.destination.seen)

    def test_an_image_whose_creation_was_not_answered(self) -> None:
        self.reserve()
        self.destination.add(IMAGE_ID, b"")
        self.assert_clean(self.finalize(FAILED))

    def test_a_creation_that_comes_after_all_is_over(self) -> None:
        self.reserve()
        self.assert_clean(self.finalize(FAILED))
        self.assertRaises(
            exception.TransferError,
            glances.image_client(self.session).create,
            {"id": IMAGE_ID},
        )

    def test_an_image_that_is_busy_is_removed_patiently(self) -> None:
        self.create()
        answers = [
            glances.saying(500),
            glances.saying(409),
            glances.saying(503),
        ]

        def busy(handler: glances.Handler) -> None:
            answer = answers.pop() if answers else self.destination.behave
            answer(handler)

        self.destination.on("DELETE", "image", busy)
        self.useFixture(
            fixtures.MonkeyPatch(
                f"{finalize.__name__}._PAUSES", (0.0, 0.0, 0.0)
            )
        )
        self.assert_clean(self.finalize(FAILED))

    def test_a_clean_up_that_breaks_does_not_hide_the_error(self) -> None:
        self.create()
        self.destination.on("DELETE", "image", glances.saying(400))
        self.destination.on("GET", "image", glances.saying(200, b"[]"))
        row = self.finalize(FAILED)
        self.assertEqual(
            ("error", "source_busy", "The words."),
            (row.status, row.error_code, row.error_message),
        )
        self.assertEqual(IMAGE_ID, row.reserved_image_id)

    def test_patience_has_an_end(self) -> None:
        self.create()
        self.destination.on("DELETE", "image", glances.saying(409))
        self.finalize(FAILED)
        self.assertEqual(
            len(finalize._PAUSES) + 1,
            self.destination.count("DELETE", "image"),
        )

    def test_a_refused_removal_is_not_repeated(self) -> None:
        self.create()
        for method in ("DELETE", "PATCH"):
            self.destination.on(method, "image", glances.saying(403))
        row = self.finalize(FAILED)
        self.assertEqual(IMAGE_ID, row.reserved_image_id)
        self.assertEqual(1, self.destination.count("DELETE", "image"))

    def test_an_image_that_stays_is_swept_later(self) -> None:
        self.create()
        self.destination.on("DELETE", "image", glances.saying(500, b"Broken"))
        row = self.finalize(FAILED)
        self.assertEqual(
            ("error", "source_busy"), (row.status, row.error_code)
        )
        self.assertEqual(IMAGE_ID, row.reserved_image_id)
        self.assertIn("Broken", self.logger.output)
        (left,) = self.stores.leftovers.find(10)
        self.assertRaises(
            exception.TransferError, self.finalizer.remove_leftover, left
        )
        self.destination.on("DELETE", "image", self.destination.behave)
        self.finalizer.remove_leftover(left)
        self.assert_clean(self.stores.jobs.get(self.job.id))
        self.assertEqual([], self.stores.leftovers.find(10))

    def test_the_next_attempt_removes_it_as_well(self) -> None:
        self.create()
        self.destination.on("DELETE", "image", glances.saying(500))
        row = self.finalize(dataclasses.replace(FAILED, retry_in=0.0))
        self.assertEqual("replicate_requested", row.status)
        self.assertEqual(IMAGE_ID, row.reserved_image_id)
        self.assertEqual([], self.stores.leftovers.find(10))

    def test_a_sweep_does_no_harm_to_a_job_that_is_run_again(self) -> None:
        self.create()
        self.destination.on("DELETE", "image", glances.saying(500))
        self.finalize(FAILED)
        self.destination.on("DELETE", "image", self.destination.behave)
        (left,) = self.stores.leftovers.find(10)
        self.stores.jobs.request_retry(self.job.id)
        _job, claim = self.claim()
        other = IMAGE_ID.replace("0f", "1f")
        self.stores.owned.reserve_image(claim, other)
        self.destination.add(other, b"")
        self.stores.owned.image_created(claim, other)
        self.finalizer.remove_leftover(left)
        row = self.stores.jobs.get(self.job.id)
        self.assertEqual(
            (other, other), (row.reserved_image_id, row.destination_image_id)
        )
        self.assertEqual([other], list(self.destination.images))

    def test_a_cancel_waits_for_a_destination_that_is_away(self) -> None:
        self.create()
        self.destination.on("DELETE", "image", glances.hanging_up)
        self.stores.jobs.request_cancel(self.job.id)
        row = self.finalize(outcome.StopReason.CANCELED)
        self.assertEqual(("canceling", None), (row.status, row.worker_id))
        self.assertEqual(IMAGE_ID, row.reserved_image_id)
        self.destination.on("DELETE", "image", self.destination.behave)
        claimed = self.stores.queue.claim_canceled("another")
        assert claimed
        self.finalizer.finalize(*claimed, outcome.StopReason.CANCELED)
        row = self.stores.jobs.get(self.job.id)
        self.assertEqual("canceled", row.status)
        self.assert_clean(row)

    def test_a_cancel_that_is_refused_is_an_error(self) -> None:
        self.create()
        for method in ("DELETE", "PATCH"):
            self.destination.on(method, "image", glances.saying(403))
        self.stores.jobs.request_cancel(self.job.id)
        row = self.finalize(outcome.StopReason.CANCELED)
        self.assertEqual(
            ("error", "cleanup_failed"), (row.status, row.error_code)
        )
        self.assertIn("answered 403", row.error_message or "")
        self.assertEqual(IMAGE_ID, row.reserved_image_id)

    def test_a_returned_job_names_the_image_that_it_left(self) -> None:
        self.create()
        self.destination.on("DELETE", "image", glances.saying(500))
        row = self.finalize(outcome.StopReason.SHUTDOWN)
        self.assertEqual("replicate_requested", row.status)
        self.assertEqual(IMAGE_ID, row.reserved_image_id)

    def test_a_cancel_that_broke_off_can_be_taken_up(self) -> None:
        self.create()
        self.stores.jobs.request_cancel(self.job.id)
        self.stores.owned.begin_cancel(self.held)
        row = self.finalize(outcome.StopReason.CANCELED)
        self.assertEqual("canceled", row.status)
        self.assert_clean(row)


class TestFence(FinalizeTestCase):
    def test_another_worker_s_image_is_not_touched(self) -> None:
        self.stores.owned.give_back(self.held)
        claimed = self.stores.queue.claim_next("another")
        assert claimed
        _job, self.held = claimed
        self.create()
        stale = dataclasses.replace(self.held, worker_id=base.WORKER)
        for end in ENDS:
            self.assertRaises(
                exception.ClaimLost,
                self.finalizer.finalize,
                self.job,
                stale,
                end,
            )
        self.assertEqual([], self.destination.seen)
        self.assertEqual(
            "replicating", self.stores.jobs.get(self.job.id).status
        )

    def test_an_end_is_written_once(self) -> None:
        self.create()
        self.finalize(REPLICATED)
        for end in ENDS:
            self.assertRaises(exception.ClaimLost, self.finalize, end)
        self.assertIn(IMAGE_ID, self.destination.images)
        self.assertEqual(
            "replicated", self.stores.jobs.get(self.job.id).status
        )
