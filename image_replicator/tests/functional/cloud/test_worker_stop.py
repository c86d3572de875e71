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

"""A worker that is told to stop leaves no half-done job or image."""

import signal
from typing import Any

from devcloud import process
from devcloud import proxy
from image_replicator.tests.functional.cloud import base

UPLOAD = proxy.Direction.UPLOAD
DATA = bytes(range(256)) * 65536

#: Bytes per second at which a copy lasts as long as a test. Glance would end a
#: held upload after some seconds.
SLOW = len(DATA) // base.PATIENCE


class TestStop(base.CloudTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.before = set(self.images_in("ot2"))

    def _begin(self) -> str:
        image = self.cloud.images("ot1").create(DATA)
        return self.ask_for_copy(image["id"])

    def _begin_a_slow_copy(
        self, **options: Any
    ) -> tuple[proxy.Proxy, process.Process, str]:
        """Return the proxy that slows a copy, the worker, and the job."""
        relay = self.relay("ot2")
        relay.throttle(SLOW, UPLOAD)
        worker = self.start_worker(
            worker={"graceful_timeout": base.HOLD, **options}
        )
        job_id = self._begin()
        self.assertTrue(relay.wait_for_bytes(SLOW, UPLOAD))
        return relay, worker, job_id

    def _assert_gone(self, worker: process.Process) -> None:
        self.assertEqual(0, worker.wait(base.PATIENCE))

    def _assert_given_back(self, job_id: str) -> None:
        """Check that the job waits again, as if it had not begun.

        A Glance on SQLite may still be busy with the upload and not remove the
        image. The job then names it for the next attempt.
        """
        row = self.job_row(job_id)
        self.assertEqual("replicate_requested", row.status)
        self.assertIsNone(row.worker_id)
        self.assertEqual(row.attempts, row.attempts_uncounted)
        self.assertEqual(0, row.bytes_copied)
        self.assertEqual(
            {row.reserved_image_id} - {None},
            set(self.images_in("ot2")) - self.before,
        )

    def test_an_idle_worker_is_gone_at_once(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            worker = self.start_worker(worker={"poll_interval": 600})
            self.wait_for_log(worker, "begins")
            worker.send_signal(number)
            self._assert_gone(worker)

    def test_no_job_is_taken_any_more(self) -> None:
        relay, worker, job_id = self._begin_a_slow_copy()
        worker.terminate()
        self.wait_for_log(worker, "Stopping; ")
        late = self._begin()
        relay.throttle(None)
        self._assert_gone(worker)
        self.assertEqual("replicated", self.job(job_id)["status"])
        self.assertEqual("replicate_requested", self.job(late)["status"])

    def test_a_copy_that_takes_too_long_is_given_back(self) -> None:
        relay, worker, job_id = self._begin_a_slow_copy(graceful_timeout=0.2)
        worker.terminate()
        self._assert_gone(worker)
        self._assert_given_back(job_id)
        relay.throttle(None)
        self.start_worker(worker={"max_attempts": 9})
        job = self.wait_for(job_id, "replicated", "error")
        self.assertEqual("replicated", job["status"])
        copies = self.cloud.images("ot2", "alice", "destination")
        self.assertEqual(DATA, copies.read(job["destination_image_id"]))

    def test_a_second_signal_stops_at_once(self) -> None:
        _relay, worker, job_id = self._begin_a_slow_copy()
        worker.terminate()
        self.wait_for_log(worker, "Stopping; ")
        worker.terminate()
        self._assert_gone(worker)
        self._assert_given_back(job_id)

    def test_an_interrupt_stops_at_once(self) -> None:
        _relay, worker, job_id = self._begin_a_slow_copy()
        worker.send_signal(signal.SIGINT)
        self._assert_gone(worker)
        self._assert_given_back(job_id)

    def test_a_worker_that_waits_for_its_database(self) -> None:
        port = self.useFixture(proxy.Proxy()).port  # which leads nowhere
        url = f"mysql+pymysql://nobody:secret@127.0.0.1:{port}/jobs"
        worker = self.start_worker(database={"connection": url})
        self.wait_for_log(worker, "The database does not serve us")
        worker.terminate()
        self._assert_gone(worker)
        self.assertNotIn("secret", worker.log_path.read_text())
