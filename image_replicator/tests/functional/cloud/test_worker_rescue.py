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

"""Other workers take over the jobs of workers that die or are halted.

Leases are short, so that the tests do not wait long.
"""

import signal
from typing import Any

from devcloud import process
from devcloud import proxy
from image_replicator.tests.functional.cloud import base

#: The lease in seconds: long enough for a worker on a busy machine.
LEASE = 6


class TestRescue(base.HeldUploadTestCase):
    def _worker(self, **options: Any) -> process.Process:
        return self.start_worker(
            worker={"lease_time": 2, "max_attempts": 9, **options}
        )

    def _held_copy(self) -> tuple[process.Process, str]:
        """Return a worker in the middle of an upload, and its job."""
        worker = self._worker()
        return worker, self.hold_upload()

    def test_a_killed_worker_s_copy_is_done_by_another(self) -> None:
        worker, job_id = self._held_copy()
        (left,) = self.left_at_destination()
        worker.kill()
        self.relay_to_ot2.release()
        self._worker()
        self.assert_right(job_id)
        self.assertNotEqual(left, self.job(job_id)["destination_image_id"])
        self.assertGreaterEqual(self.job_row(job_id).attempts, 2)

    def test_a_killed_worker_s_job_can_be_canceled(self) -> None:
        worker, job_id = self._held_copy()
        worker.kill()
        self.relay_to_ot2.release()
        self.assertEqual(204, self.cancel(job_id).status_code)
        self._worker()
        self.wait_for(job_id, "canceled")
        self.wait_until_clean(job_id, self.before)

    def test_a_worker_that_stood_still_spoils_nothing(self) -> None:
        zombie, job_id = self._held_copy()
        zombie.send_signal(signal.SIGSTOP)
        self.addCleanup(zombie.send_signal, signal.SIGCONT)
        self.relay_to_ot2.release()
        self._worker()
        self.assert_right(job_id)
        done = self.job_row(job_id)
        zombie.send_signal(signal.SIGCONT)
        self.wait_for_log(zombie, "is not ours any more")
        self.assertEqual(done, self.job_row(job_id))
        self.assert_right(job_id)
        self.assertNotIn("Stopping", zombie.log_path.read_text())

    def test_a_worker_that_lives_keeps_its_job(self) -> None:
        # It is slowed, as Glance would end a held upload after some seconds.
        self.relay_to_ot2.throttle(
            len(base.DATA) / base.PATIENCE, proxy.Direction.UPLOAD
        )
        worker = self._worker(lease_time=LEASE)
        job_id = self.ask_for_copy(
            self.cloud.images("ot1").create(base.DATA)["id"]
        )
        self.wait_for(job_id, "replicating")
        other = self._worker(lease_time=LEASE)
        lease = self.job_row(job_id).lease_expires_at
        self.wait_until(
            lambda: (
                (self.job_row(job_id).lease_expires_at - lease).total_seconds()
                > LEASE
            ),
            "a lease that was renewed for as long as it lasts",
        )
        self.relay_to_ot2.throttle(None)
        self.assert_right(job_id)
        self.assertEqual(1, self.job_row(job_id).attempts)
        self.assertNotIn("no sign of life", other.log_path.read_text())
        self.assertTrue(worker.running)

    def test_a_job_that_costs_every_worker_ends_in_error(self) -> None:
        worker, job_id = self._held_copy()
        worker.kill()
        self.relay_to_ot2.release()
        self._worker(max_attempts=1)
        self.wait_for(job_id, "error")
        self.assertEqual("attempts_exhausted", self.job_row(job_id).error_code)
        self.wait_until_clean(job_id, self.before)
