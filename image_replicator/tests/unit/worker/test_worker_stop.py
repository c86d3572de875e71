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

"""A worker stops gracefully or at once, and its images are removed."""

import contextlib
import threading

import fixtures
from oslo_db import exception as db_exc

from image_replicator.tests.unit import glances
from image_replicator.tests.unit.worker import base
from image_replicator.tests.unit.worker import test_worker
from image_replicator.worker import availability


class TestStop(test_worker.WorkerProcessTestCase):
    def test_an_idle_worker_ends_at_once(self) -> None:
        self.set(poll_interval=600)
        self.start()
        self.wait_until(lambda: "begins" in self.logger.output, "a beginning")
        self.worker.stop()
        self.assert_ends()

    def test_a_running_copy_may_end(self) -> None:
        gate = self.hold_upload()
        running = self.new_job()
        self.start()
        self.assertTrue(gate.reached.wait(base.PATIENCE))
        self.worker.stop()
        late = self.new_job()
        self.wait_until(lambda: "Stopping; 1" in self.logger.output, "it")
        gate.open()
        self.assert_ends()
        self.assertEqual("replicated", self.stores.jobs.get(running).status)
        self.assert_untouched(late)

    def assert_untouched(self, job_id: str) -> None:
        row = self.stores.jobs.get(job_id)
        self.assertEqual(
            ("replicate_requested", None), (row.status, row.worker_id)
        )

    def test_a_copy_that_takes_too_long_is_given_back(self) -> None:
        self.set(graceful_timeout=0.1)
        gate = self.hold_upload()
        job_id = self.new_job(base.DATA * 128)
        self.start()
        self.assertTrue(gate.reached.wait(base.PATIENCE))
        self.worker.stop()
        self.assert_ends()
        self.assert_given_back(job_id)

    def test_there_is_no_waiting_when_it_is_urgent(self) -> None:
        gate = self.hold_upload()
        job_ids = [self.new_job(base.DATA * 128) for _ in range(3)]
        self.start()
        self.assertTrue(gate.reached.wait(base.PATIENCE))
        self.wait_until(
            lambda: self.destination.count("PUT", "file") == 3, "uploads"
        )
        self.worker.stop()
        self.worker.stop_now()
        self.assert_ends()
        for job_id in job_ids:
            self.assert_given_back(job_id)

    def test_a_copy_that_is_just_created_is_given_back(self) -> None:
        """An image whose creation was not answered cannot appear later."""
        gate = base.Gate(self)
        late = threading.Event()

        def create(handler: glances.Handler) -> None:
            if not gate.reached.is_set():
                gate.wait()
                with contextlib.suppress(OSError):
                    self.destination.behave(handler)
                late.set()
                return
            self.destination.behave(handler)

        self.destination.on("POST", "images", create)
        job_id = self.new_job()
        self.start()
        self.assertTrue(gate.reached.wait(base.PATIENCE))
        self.worker.stop_now()
        self.assert_ends()
        self.assert_given_back(job_id)
        gate.open()
        self.assertTrue(late.wait(base.PATIENCE))
        self.assertEqual({}, self.destination.images)

    def test_a_copy_that_is_verified_is_given_back(self) -> None:
        gate = base.Gate(self)
        self.destination.on(
            "GET", "image", gate.before(self.destination.behave)
        )
        job_id = self.new_job(protected=True)
        self.start()
        self.assertTrue(gate.reached.wait(base.PATIENCE))
        self.worker.stop_now()
        self.assert_ends()
        self.assert_given_back(job_id)

    def test_a_cancel_counts_while_the_worker_stops(self) -> None:
        gate = self.hold_upload()
        job_id = self.new_job(base.DATA * 128)
        self.start()
        self.assertTrue(gate.reached.wait(base.PATIENCE))
        self.worker.stop()
        self.stores.jobs.request_cancel(job_id)
        self.assert_ends()
        self.assertEqual("canceled", self.stores.jobs.get(job_id).status)
        self.assertEqual({}, self.destination.images)

    def test_a_database_that_is_away_does_not_keep_it(self) -> None:
        self.set(graceful_timeout=0.1)
        away = [db_exc.DBConnectionError()] * 10**6
        tried = self.disturb(self.stores.owned, "finish", *away)
        self.new_job()
        self.start()
        self.wait_until(lambda: tried.called, "an end")
        self.worker.stop()
        self.assert_ends()

    def test_a_database_that_never_came_does_not_keep_it(self) -> None:
        self.useFixture(
            fixtures.MonkeyPatch(
                f"{availability.__name__}.RETRY_INTERVAL", 600
            )
        )
        away = [db_exc.DBConnectionError()] * 2
        tried = self.disturb(self.stores.queue, "claim_next", *away)
        self.start()
        self.wait_until(lambda: tried.called, "a look for jobs")
        self.worker.stop()
        self.assert_ends()

    def test_a_claiming_thread_that_dies_takes_the_copies_along(self) -> None:
        self.set(graceful_timeout=0.1, concurrency=2, max_copies_per_tenant=2)
        gate = self.hold_upload()
        job_id = self.new_job(base.DATA * 128)
        new_transfer = self.disturb(self.worker._attempts, "new")
        self.start()
        self.assertTrue(gate.reached.wait(base.PATIENCE))
        self.assertTrue(new_transfer.called)
        self.useFixture(
            fixtures.MonkeyPatch("threading.excepthook", lambda _args: None)
        )
        new_transfer.side_effect = RuntimeError("unforeseen")
        self.new_job()
        self.assert_ends()
        self.assert_given_back(job_id)
