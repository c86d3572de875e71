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

"""A worker claims jobs, copies, cancels, and survives errors."""

import collections
import threading
from typing import Any
from unittest import mock

import fixtures
from oslo_db import exception as db_exc

from image_replicator import jobs
from image_replicator.tests.unit import glances
from image_replicator.tests.unit.worker import base
from image_replicator.worker import availability
from image_replicator.worker import worker


class WorkerProcessTestCase(base.WorkerTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.useFixture(
            fixtures.MonkeyPatch(
                f"{availability.__name__}.RETRY_INTERVAL", 0.05
            )
        )
        self.set(progress_interval=0.1)
        self.worker = worker.Worker(self.conf, self.stores, self.session)

    def start(self) -> None:
        """Start the worker; it is stopped when the test ends."""
        self.thread = threading.Thread(target=self.worker.run)
        self.thread.start()
        self.addCleanup(self.thread.join, base.PATIENCE)
        self.addCleanup(self.worker.stop_now)

    def assert_ends(self) -> None:
        self.thread.join(base.PATIENCE)
        self.assertFalse(self.thread.is_alive())

    def set(self, **options: Any) -> None:
        """Set options of ``[worker]``."""
        for name, value in options.items():
            self.conf.set_override(name, value, "worker")

    def disturb(self, target: Any, name: str, *effects: Any) -> mock.Mock:
        """Let a method raise errors in its next calls, and then work again.

        :param effects: errors that it raises
        """
        method = getattr(target, name)
        left = list(effects)

        def act(*args: Any, **kwargs: Any) -> Any:
            if left:
                raise left.pop(0)
            return method(*args, **kwargs)

        patched = self.useFixture(
            fixtures.MockPatchObject(target, name, side_effect=act)
        )
        double: mock.Mock = patched.mock
        return double

    def hold_upload(self) -> base.Gate:
        """Keep the destination from answering uploads."""
        gate = base.Gate(self)
        self.destination.on(
            "PUT", "file", gate.before(self.destination.behave)
        )
        return gate

    def assert_given_back(self, job_id: str) -> None:
        row = self.stores.jobs.get(job_id)
        self.assertEqual(
            ("replicate_requested", None, 0),
            (row.status, row.worker_id, row.attempts),
        )
        self.assertEqual({}, self.destination.images)


class TestWork(WorkerProcessTestCase):
    def test_jobs_are_done(self) -> None:
        job_ids = [self.new_job() for _ in range(6)]
        self.start()
        for job_id in job_ids:
            row = self.wait_for(job_id, "replicated", "error")
            self.assertEqual("replicated", row.status)
            self.assertEqual(1, row.attempts)
        self.assertEqual(6, len(self.destination.images))

    def test_two_workers_do_each_job_once(self) -> None:
        other = worker.Worker(self.conf, self.stores, self.session)
        self.assertNotEqual(self.worker.worker_id, other.worker_id)
        job_ids = [self.new_job(b"small") for _ in range(20)]
        self.start()
        self.worker = other
        self.start()
        for job_id in job_ids:
            row = self.wait_for(job_id, "replicated", "error")
            self.assertEqual(("replicated", 1), (row.status, row.attempts))
        self.assertEqual(20, self.destination.count("POST", "images"))
        self.assertEqual(20, len(self.destination.images))

    def _statuses(self, job_ids: list[str]) -> collections.Counter[str]:
        return collections.Counter(
            self.stores.jobs.get(job_id).status.value for job_id in job_ids
        )

    def test_one_tenants_slow_copies_leave_a_place_to_another(self) -> None:
        """By default a tenant has three of four places of a worker."""
        gate = self.hold_upload()
        first = [self.new_job() for _each in range(6)]
        self.start()
        self.wait_until(
            lambda: self.destination.count("PUT", "file") == 3, "three uploads"
        )
        late = self.new_job(source_tenant_id="another")
        self.wait_for(late, "replicating")
        self.assertEqual(3, self._statuses(first)["replicating"])
        gate.open()
        for job_id in (*first, late):
            self.wait_for(job_id, "replicated")

    def test_a_worker_of_one_place_has_it_for_any_tenant(self) -> None:
        self.set(concurrency=1)
        self.start()
        self.wait_for(self.new_job(), "replicated")

    def test_no_more_run_at_a_time_than_configured(self) -> None:
        self.set(concurrency=2, max_copies_per_tenant=2)
        gate = self.hold_upload()
        job_ids = [self.new_job() for _ in range(5)]
        self.start()
        self.wait_until(
            lambda: self.destination.count("PUT", "file") == 2, "two uploads"
        )
        # A waiting job that is canceled shows that the worker looks on.
        self.stores.jobs.request_cancel(job_ids[-1])
        self.wait_for(job_ids.pop(), "canceled")
        self.assertEqual(2, self.destination.count("PUT", "file"))
        gate.open()
        for job_id in job_ids:
            self.wait_for(job_id, "replicated")

    def test_a_free_place_is_taken_at_once(self) -> None:
        """The worker does not wait for its next look for jobs."""
        self.set(concurrency=1, poll_interval=600)
        job_ids = [self.new_job() for _ in range(3)]
        self.start()
        for job_id in job_ids:
            self.wait_for(job_id, "replicated")

    def test_a_failure_is_kept_with_its_reason(self) -> None:
        self.destination.on("PUT", "file", glances.saying(413, b"Quota!"))
        job_id = self.new_job()
        self.start()
        row = self.wait_for(job_id, "error", "replicated")
        self.assertEqual("destination_quota_exceeded", row.error_code)
        self.assertIn("Quota!", row.error_message or "")
        self.assertIsNone(row.destination_image_id)
        self.assertEqual({}, self.destination.images)

    def test_progress_is_written_while_a_copy_runs(self) -> None:
        gate = base.Gate(self)

        def take_half(handler: glances.Handler) -> None:
            size = int(handler.headers["Content-Length"])
            handler.rfile.read(size // 2)
            gate.wait()
            handler.rfile.read(size - size // 2)
            handler.answer(500)

        self.destination.on("PUT", "file", take_half)
        job_id = self.new_job(base.DATA * 128)
        self.start()
        self.wait_until(
            lambda: 0 < self.stores.jobs.get(job_id).copy_progress < 100,
            "progress",
        )
        gate.open()
        self.wait_for(job_id, "error")


class TestCancel(WorkerProcessTestCase):
    def test_a_running_copy(self) -> None:
        gate = self.hold_upload()
        job_id = self.new_job(base.DATA * 128)
        self.start()
        self.assertTrue(gate.reached.wait(base.PATIENCE))
        self.stores.jobs.request_cancel(job_id)
        row = self.wait_for(job_id, "canceled", "error", "replicated")
        self.assertEqual("canceled", row.status)
        self.assertIsNone(row.destination_image_id)
        self.assertEqual({}, self.destination.images)

    def test_a_waiting_job_when_there_is_no_free_place(self) -> None:
        self.set(concurrency=1)
        gate = self.hold_upload()
        running, waiting = self.new_job(), self.new_job()
        self.start()
        self.assertTrue(gate.reached.wait(base.PATIENCE))
        self.stores.jobs.request_cancel(waiting)
        self.wait_for(waiting, "canceled")
        self.assertEqual("replicating", self.stores.jobs.get(running).status)

    def test_a_copy_whose_last_byte_is_verified(self) -> None:
        """The verified image is removed as well."""

        def cancel(handler: glances.Handler) -> None:
            if self.stores.jobs.get(job_id).status == "replicating":
                self.stores.jobs.request_cancel(job_id)
            self.destination.behave(handler)

        self.destination.on("PATCH", "image", cancel)
        job_id = self.new_job(protected=True)
        self.start()
        row = self.wait_for(job_id, "canceled", "error", "replicated")
        self.assertEqual("canceled", row.status)
        self.assertIsNone(row.destination_image_id)
        self.assertEqual({}, self.destination.images)

    def test_a_copy_that_fails_at_the_same_time(self) -> None:
        def cancel(handler: glances.Handler) -> None:
            handler.body()
            self.stores.jobs.request_cancel(job_id)
            handler.answer(500)

        self.destination.on("PUT", "file", cancel)
        job_id = self.new_job()
        self.start()
        row = self.wait_for(job_id, "canceled", "error", "replicated")
        self.assertEqual("canceled", row.status)
        self.assertEqual({}, self.destination.images)


class TestFaults(WorkerProcessTestCase):
    """After any error the worker works on, and no job is stuck."""

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
        self.destination.on("PUT", "file", glances.saying(413, b"Quota!"))
        self.disturb(
            self.stores.owned,
            "fail",
            db_exc.DBError(ValueError("cannot contain NUL")),
        )
        job_id = self.new_job()
        self.start()
        row = self.wait_for(job_id, "error")
        self.assertEqual("destination_quota_exceeded", row.error_code)
        self.assertIn("req-1", row.error_message or "")
        self.assertNotIn("Quota!", row.error_message or "")
        self.assertIn("Quota!", self.logger.output)
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
        # It is the next one's to remove.
        self.assertEqual(
            [row.reserved_image_id], list(self.destination.images)
        )
