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

"""A worker continues after errors, and no job is stuck."""

import threading
from typing import Any

import fixtures
from oslo_db import exception as db_exc

from image_replicator import jobs
from image_replicator.tests.unit import glances
from image_replicator.tests.unit.worker import base
from image_replicator.tests.unit.worker import test_worker
from image_replicator.worker import access
from image_replicator.worker import worker


class TestFaults(test_worker.WorkerProcessTestCase):
    """After any error the worker continues, and no job is stuck."""

    def test_a_database_that_is_away_when_a_job_is_looked_for(self) -> None:
        self.disturb(
            self.stores.queue,
            "claim_next",
            db_exc.DBConnectionError(),
            RuntimeError("unforeseen"),
        )
        job_id = self.new_job()
        self.start()
        self.wait_for(job_id, "replicated")

    def test_a_database_that_is_away_when_a_cancel_is_looked_for(self) -> None:
        self.disturb(
            self.stores.queue, "claim_canceled", db_exc.DBConnectionError()
        )
        job_id = self.new_job()
        self.stores.jobs.request_cancel(job_id)
        self.start()
        self.wait_for(job_id, "canceled")

    def test_a_database_that_is_away_when_progress_is_written(self) -> None:
        written = self.disturb(
            self.stores.owned,
            "record_progress",
            db_exc.DBConnectionError(),
            RuntimeError("unforeseen"),
        )
        gate = self.hold_upload()
        job_id = self.new_job()
        self.start()
        self.wait_until(lambda: written.call_count > 2, "a third try")
        gate.open()
        self.wait_for(job_id, "replicated")

    def test_a_database_that_is_away_when_a_copy_ends(self) -> None:
        self.disturb(
            self.stores.owned,
            "finish",
            db_exc.DBConnectionError(),
            db_exc.DBConnectionError(),
        )
        job_id = self.new_job()
        self.start()
        row = self.wait_for(job_id, "replicated", "error")
        self.assertEqual("replicated", row.status)
        self.assertEqual(1, self.destination.count("PUT", "file"))

    def test_progress_that_is_refused_stops_no_other_lease(self) -> None:
        gate = self.hold_upload()
        refused, other = self.new_job(), self.new_job()
        record = self.stores.owned.record_progress
        renewed = threading.Event()

        def refuse(claim: jobs.Claim, *args: Any) -> Any:
            if claim.job_id == refused:
                raise db_exc.DBDataError()
            renewed.set()
            return record(claim, *args)

        self.useFixture(
            fixtures.MockPatchObject(
                self.stores.owned, "record_progress", refuse
            )
        )
        self.start()
        self.assertTrue(renewed.wait(base.PATIENCE))
        gate.open()
        for job_id in (refused, other):
            self.wait_for(job_id, "replicated")

    def test_trusts_that_cannot_be_forgotten(self) -> None:
        """The end of the copy is written all the same."""
        self.disturb(
            access.AccessControl, "forget_trusts_gone", RuntimeError("no")
        )
        job_id = self.new_job()
        self.start()
        self.wait_for(job_id, "replicated")
        self.assertIn("its trusts stay known", self.logger.output)

    def test_a_copy_that_fails_for_an_unforeseen_reason(self) -> None:
        self.disturb(
            self.stores.owned, "image_created", RuntimeError("a secret")
        )
        job_ids = [self.new_job(), self.new_job()]
        self.set(concurrency=1)
        self.start()
        row = self.wait_for(job_ids[0], "error", "replicated")
        self.assertEqual("internal_error", row.error_code)
        self.assertIn("req-1", row.error_message or "")
        self.assertNotIn("a secret", row.error_message or "")
        self.assertIn("a secret", self.logger.output)
        self.wait_for(job_ids[1], "replicated")
        self.assertEqual(1, len(self.destination.images))

    def test_an_end_that_fails_for_an_unforeseen_reason(self) -> None:
        self.disturb(self.stores.owned, "finish", RuntimeError("unforeseen"))
        job_id = self.new_job()
        self.start()
        row = self.wait_for(job_id, "error", "replicated")
        self.assertEqual("internal_error", row.error_code)
        self.assertEqual({}, self.destination.images)

    def test_an_error_whose_words_are_refused_is_kept_without_them(
        self,
    ) -> None:
        self.destination.on("PUT", "file", glances.saying(415, b"No raw!"))
        self.disturb(
            self.stores.owned,
            "fail",
            db_exc.DBError(ValueError("cannot contain NUL")),
        )
        job_id = self.new_job()
        self.start()
        row = self.wait_for(job_id, "error")
        self.assertEqual("destination_refused", row.error_code)
        self.assertIn("req-1", row.error_message or "")
        self.assertNotIn("No raw!", row.error_message or "")
        self.assertIn("No raw!", self.logger.output)
        self.assertEqual({}, self.destination.images)

    def test_a_retry_whose_words_are_refused_is_a_retry(self) -> None:
        self.set(max_attempts=2, retry_delay=600, retry_max_delay=600)
        self.worker = worker.Worker(self.conf, self.stores, self.session)
        self.destination.on("PUT", "file", glances.saying(503))
        self.disturb(self.stores.owned, "retry", db_exc.DBDataError())
        job_id = self.new_job()
        self.start()
        self.wait_until(
            lambda: self.stores.jobs.get(job_id).error_code, "a failed attempt"
        )
        row = self.stores.jobs.get(job_id)
        self.assertEqual(
            ("replicate_requested", "destination_unavailable"),
            (row.status, row.error_code),
        )
        self.assertIsNotNone(row.retry_at)

    def test_an_end_that_always_fails_does_not_keep_the_place(self) -> None:
        self.set(concurrency=1)
        errors = [RuntimeError("unforeseen")] * 2
        self.disturb(self.worker._finalizer, "finalize", *errors)
        stuck, other = self.new_job(), self.new_job()
        self.start()
        self.wait_for(other, "replicated")
        self.assertEqual("replicating", self.stores.jobs.get(stuck).status)

    def test_a_job_that_was_lost_is_left_alone(self) -> None:
        gate = self.hold_upload()
        job_id = self.new_job(base.DATA * 128)
        self.start()
        self.assertTrue(gate.reached.wait(base.PATIENCE))
        held = jobs.Claim(
            job_id=job_id, worker_id=self.worker.worker_id, claim_number=1
        )
        self.disturb(self.stores.queue, "claim_next").side_effect = [
            None
        ] * 10**6
        self.stores.owned.give_back(held)
        self.wait_until(
            lambda: "stopped, as the job does not" in self.logger.output,
            "a stop",
        )
        self.worker.stop()
        self.assert_ends()
        row = self.stores.jobs.get(job_id)
        self.assertEqual("replicate_requested", row.status)
        # The next attempt must remove it.
        self.assertEqual(
            [row.reserved_image_id], list(self.destination.images)
        )
