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

"""A worker claims jobs, copies and cancels."""

import collections
import threading
from typing import Any
from unittest import mock

import fixtures

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
        """Let the next calls of a method raise errors.

        :param effects: the errors
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
        # The cancelation of a waiting job shows that the worker still looks
        # for jobs.
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
        self.destination.on("PUT", "file", glances.saying(415, b"No raw!"))
        job_id = self.new_job()
        self.start()
        row = self.wait_for(job_id, "error", "replicated")
        self.assertEqual("destination_refused", row.error_code)
        self.assertIn("No raw!", row.error_message or "")
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
