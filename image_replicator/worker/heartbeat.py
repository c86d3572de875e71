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

"""A worker's signs of life, and what it learns by giving them."""

import contextlib
import threading
from collections.abc import Callable
from typing import Final
from typing import ParamSpec

from oslo_db import exception as db_exc
from oslo_log import log as logging

from image_replicator import exception
from image_replicator.db import queue as db_queue
from image_replicator.jobs import Claim
from image_replicator.jobs import JobStatus
from image_replicator.worker import maintenance
from image_replicator.worker import outage
from image_replicator.worker import transfer

LOG = logging.getLogger(__name__)

P = ParamSpec("P")

#: Seconds between two writes of a copy's progress: as often as the API's users
#: look, and often enough for the shortest lease.
INTERVAL: Final = 1.0


class Holding:
    """What a worker is doing; shared by its threads.

    By claim: a worker that was halted may have lost a job, and claim it anew
    while it is still busy with what it did by the claim that it lost.

    :ivar copies: the copies that run.
    :ivar cancelations: the claims of jobs that it cleans up.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.copies: dict[Claim, transfer.Transfer] = {}
        self.cancelations: set[Claim] = set()


class Heartbeat:
    """Renews the leases of all that a worker is doing.

    Each write of a copy's progress renews its lease, and brings back what the
    user wants.
    """

    def __init__(
        self,
        queue: db_queue.JobQueue,
        holding: Holding,
        outages: outage.Outages,
        rescue: maintenance.Rescue,
        presence: maintenance.Presence,
    ) -> None:
        self._queue = queue
        self._holding = holding
        self._outages = outages
        self._rescue = rescue
        self._presence = presence
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._beat, name="heartbeat", daemon=True
        )

    def start(self) -> None:
        """Begin to give signs of life, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Give the last one: the worker has ended in good order."""
        self._stopped.set()
        self._thread.join()
        with contextlib.suppress(db_exc.DBError):
            self._presence.end()

    def _beat(self) -> None:
        while not self._stopped.wait(INTERVAL):
            with contextlib.suppress(db_exc.DBError):
                self._beat_once()

    def _beat_once(self) -> None:
        """Renew all leases.

        :raises DBError: at the first that cannot be: the rest could not, too.
        """
        with self._holding.lock:
            running = list(self._holding.copies.values())
            canceling = list(self._holding.cancelations)
        for copy in running:
            surely(self._record_progress, copy)
        for claim in canceling:
            surely(self._renew, claim)
        holding = [copy.job.id for copy in running]
        holding += [claim.job_id for claim in canceling]
        surely(self._rescue.run, holding)
        surely(self._presence.run)

    def _renew(self, claim: Claim) -> None:
        with contextlib.suppress(exception.ClaimLost):
            # Also when the job was just canceled; settling finds out.
            self._outages.note(self._queue.renew, claim)

    def _record_progress(self, copy: transfer.Transfer) -> None:
        try:
            status = self._outages.note(
                self._queue.record_progress,
                copy.claim,
                copy.bytes_copied,
                copy.smoothed_rate(),
            )
        except exception.ClaimLost:
            # Also when the copy has just ended; then there is none to stop.
            copy.stop(transfer.StopReason.CLAIM_LOST)
            return
        if status is JobStatus.CANCEL_REQUESTED:
            copy.stop(transfer.StopReason.CANCELED)


def surely(duty: Callable[P, None], *args: P.args, **kw: P.kwargs) -> None:
    """Do a duty; what goes wrong must not end the rest.

    :raises DBError: as that would go wrong with the rest, too.
    """
    try:
        duty(*args, **kw)
    except db_exc.DBError:
        raise
    except Exception:
        LOG.exception("A duty of the worker failed; trying again")
