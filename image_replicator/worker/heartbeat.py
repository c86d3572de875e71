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

"""The thread that renews the leases of the jobs a worker works on."""

import contextlib
import threading

from oslo_db import exception as db_exc

from image_replicator import exception
from image_replicator.db import owned_jobs
from image_replicator.jobs import Claim
from image_replicator.jobs import JobStatus
from image_replicator.worker import availability
from image_replicator.worker import duty
from image_replicator.worker import reaper as worker_reaper
from image_replicator.worker import registration as worker_registration
from image_replicator.worker import running as worker_running
from image_replicator.worker import transfer
from image_replicator.worker.outcome import StopReason


class Heartbeat:
    """Renews leases, and stops copies that are canceled or lost.

    Each write of a copy's progress renews its lease, and returns the job's
    status, by which the worker learns of a cancelation. The same thread runs
    the reaper and the registration.

    :param running: the worker's jobs.
    :param database: the availability of the database.
    :param seconds: between two writes of a copy's progress.
    """

    def __init__(
        self,
        owned: owned_jobs.OwnedJobs,
        running: worker_running.RunningJobs,
        database: availability.DatabaseAvailability,
        reaper: worker_reaper.StalledJobReaper,
        registration: worker_registration.Registration,
        seconds: float,
    ) -> None:
        self._owned = owned
        self._running = running
        self._database = database
        self._reaper = reaper
        self._registration = registration
        self._seconds = seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name="heartbeat", daemon=True
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and unregister the worker."""
        self._stopped.set()
        self._thread.join()
        with contextlib.suppress(db_exc.DBError):
            self._registration.unregister()

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds):
            # The availability has logged the error.
            with contextlib.suppress(db_exc.DBError):
                self._beat()

    def _beat(self) -> None:
        """Renew all leases, and run the other duties.

        :raises DBError: at the first write that fails; the writes after it
            would fail as well.
        """
        copies = self._running.copies()
        cancelations = self._running.cancelations()
        for copy in copies:
            duty.run_duty(self._record_progress, copy)
        for claim in cancelations:
            duty.run_duty(self._renew, claim)
        job_ids = [copy.job.id for copy in copies]
        job_ids += [claim.job_id for claim in cancelations]
        duty.run_duty(self._reaper.run, job_ids)
        duty.run_duty(self._registration.run)

    def _renew(self, claim: Claim) -> None:
        # The claim also ends when the cancelation has just been finalized;
        # where it was lost, finalizing finds that out.
        with contextlib.suppress(exception.ClaimLost):
            self._database.call(self._owned.renew, claim)

    def _record_progress(self, copy: transfer.Transfer) -> None:
        try:
            status = self._database.call(
                self._owned.record_progress,
                copy.claim,
                copy.bytes_copied,
                copy.smoothed_rate(),
                copy.read_from,
            )
        except exception.ClaimLost:
            # The claim also ends when the copy has just been finalized; a
            # stop has no effect then.
            copy.stop(StopReason.CLAIM_LOST)
            return
        if status is JobStatus.CANCEL_REQUESTED:
            copy.stop(StopReason.CANCELED)
