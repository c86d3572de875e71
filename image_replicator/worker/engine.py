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

"""The worker: takes jobs, runs their copies, and settles how they end.

Three kinds of threads. The one that calls :meth:`Engine.run` claims jobs and
hands them out. Each copy, and each cancelation, runs in a thread of a pool.
One more is the heartbeat: once a second it writes every copy's progress, which
renews the lease, and learns by that write what the user wants. They share the
tables of what is going on and an event that wakes the first; nothing else.
"""

import concurrent.futures
import contextlib
import dataclasses
import os
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from typing import Final

from keystoneauth1 import session as ksa_session
from oslo_config import cfg
from oslo_db import exception as db_exc
from oslo_log import log as logging
from oslo_utils import uuidutils

from image_replicator import context
from image_replicator import exception
from image_replicator import metadata
from image_replicator.conf import loading
from image_replicator.db import queue as db_queue
from image_replicator.errors import ErrorCode
from image_replicator.errors import Side
from image_replicator.images import connections as image_connections
from image_replicator.images import region
from image_replicator.jobs import Claim
from image_replicator.jobs import Job
from image_replicator.jobs import NewWorker
from image_replicator.worker import distance
from image_replicator.worker import heartbeat
from image_replicator.worker import maintenance
from image_replicator.worker import outage
from image_replicator.worker import rate
from image_replicator.worker import retry
from image_replicator.worker import settlement
from image_replicator.worker import transfer

LOG = logging.getLogger(__name__)


#: Seconds between two looks for a job right after one was found.
_SHORTEST_PAUSE: Final = 0.05


def new_worker_id(host: str) -> str:
    """Return an id that no other worker has or will have.

    Host and process are for people; process ids come back, so a random part
    makes the id unique.
    """
    return f"{host}:{os.getpid()}:{uuidutils.generate_uuid()[:8]}"


class Engine:
    """A worker process's work.

    :param conf: of the image replicator.
    :param session: with our own credentials.
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        queue: db_queue.JobQueue,
        session: ksa_session.Session,
    ) -> None:
        self._conf = conf
        self._queue = queue
        self._session = session
        self.worker_id = new_worker_id(conf.worker.host)
        self._settlement = settlement.Settlement(
            queue, self._images, conf.worker.retry_delay
        )
        self._retries = retry.Policy(
            max_attempts=conf.worker.max_attempts,
            delay=conf.worker.retry_delay,
            max_delay=conf.worker.retry_max_delay,
        )
        self._outages = outage.Outages()
        self._sweep = maintenance.Sweep(
            queue,
            self._outages,
            self._settlement.sweep,
            conf.worker.retry_max_delay,
        )
        self._holding = heartbeat.Holding()
        self._heartbeat = heartbeat.Heartbeat(
            queue,
            self._holding,
            self._outages,
            maintenance.Rescue(
                queue, self._outages, self.worker_id, conf.worker.lease_time
            ),
            maintenance.Presence(
                queue,
                self._outages,
                _description(conf, self.worker_id),
                conf.worker.lease_time / 4,
            ),
        )
        self._bandwidth = rate.Limiter(conf.worker.bandwidth_limit)
        self._distances = distance.Distances()
        self._connections = image_connections.Pool(session)
        self._window = min(
            conf.transfer.window_size,
            conf.worker.buffer_size // conf.worker.concurrency,
        )
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._stopping_now = threading.Event()

    # What a signal asks for.

    def stop(self) -> None:
        """Claim no more, and let running copies end in graceful_timeout."""
        self._stopping.set()
        self._wake.set()

    def stop_now(self) -> None:
        """Stop running copies at once, clean up, and give the jobs back."""
        self._stopping_now.set()
        self.stop()

    # The claiming thread.

    def run(self) -> None:
        """Work until told to stop."""
        LOG.info("Worker %s begins", self.worker_id)
        self._heartbeat.start()
        try:
            self._work()
        finally:
            self._heartbeat.stop()
        LOG.info("Worker %s ends", self.worker_id)

    def _work(self) -> None:
        """Claim and hand out, and see the copies to their ends."""
        slots = self._conf.worker.concurrency
        cleaning = None
        with (
            _pool(slots, "copy") as copies,
            _pool(1, "clean") as cleaners,
        ):
            try:
                pause = 0.0
                while not self._stopping.is_set():
                    self._wake.clear()
                    if self._hand_out(copies, slots):
                        pause = 0.0
                    if cleaning is None or cleaning.done():
                        cleaning = cleaners.submit(self._clean_up)
                    # Where there was a job there soon is another.
                    pause = min(
                        self._conf.worker.poll_interval,
                        max(_SHORTEST_PAUSE, pause * 2),
                    )
                    self._wake.wait(pause)
            finally:
                self._wind_down()

    def _hand_out(self, pool: concurrent.futures.Executor, slots: int) -> bool:
        """Claim jobs as long as there is room for another copy.

        :returns: whether there was any.
        """
        found = False
        copies = self._holding.copies
        while not self._stopping.is_set() and len(copies) < slots:
            claimed = self._claim(self._queue.claim_next)
            if claimed is None:
                break
            found = True
            copy = self._new_transfer(*claimed)
            with self._holding.lock:
                copies[copy.claim] = copy
            pool.submit(self._run, copy)
        return found

    def _clean_up(self) -> None:
        """Do what needs no room for a copy."""
        with contextlib.suppress(db_exc.DBError):
            heartbeat.surely(self._cancel_waiting)
            heartbeat.surely(self._sweep.run)

    def _cancel_waiting(self) -> None:
        """Cancel what no worker owns."""
        while not self._stopping.is_set():
            claimed = self._claim(self._queue.claim_canceled)
            if claimed is None:
                return
            self._cancel(*claimed)

    def _cancel(self, job: Job, claim: Claim) -> None:
        with self._holding.lock:
            self._holding.cancelations.add(claim)
        try:
            with _logging_for(job):
                self._settle(job, claim, settlement.Outcome.CANCELED)
        finally:
            with self._holding.lock:
                self._holding.cancelations.remove(claim)

    def _claim(
        self, claim: Callable[[str], tuple[Job, Claim] | None]
    ) -> tuple[Job, Claim] | None:
        """Claim a job; None if there is none, or no database until the end."""
        try:
            return self._outages.wait_out(
                self._stopping, claim, self.worker_id
            )
        except Exception:
            if not self._stopping.is_set():
                LOG.exception("No job could be claimed; trying again")
                self._stopping.wait(outage.INTERVAL)
            return None

    def _wind_down(self) -> None:
        """Wait for running copies, and stop those that take too long."""
        self._stopping.set()
        LOG.info("Stopping; %d copies are running", len(self._holding.copies))
        deadline = time.monotonic() + self._conf.worker.graceful_timeout
        while self._holding.copies and time.monotonic() < deadline:
            if self._stopping_now.wait(0.1):
                break
        self._stopping_now.set()
        with self._holding.lock:
            for copy in self._holding.copies.values():
                copy.stop(transfer.StopReason.SHUTDOWN)

    # The copying threads.

    def _run(self, copy: transfer.Transfer) -> None:
        try:
            with _logging_for(copy.job):
                self._settle(copy.job, copy.claim, self._attempt(copy))
        finally:
            # First of all, so that a next copy has them.
            self._connections.give_back(copy.release())
            with self._holding.lock:
                del self._holding.copies[copy.claim]
            self._wake.set()

    def _attempt(self, copy: transfer.Transfer) -> settlement.End:
        """Run a copy, and tell how it ended and whether that is all."""
        attempt = copy.job.attempts_of_run
        if attempt > self._retries.max_attempts:
            return _SPENT
        end = _end_of(copy)
        if isinstance(end, settlement.Failed):
            wait = self._retries.seconds_to_wait(end.code, attempt)
            return dataclasses.replace(end, retry_in=wait)
        return end

    def _settle(self, job: Job, claim: Claim, end: settlement.End) -> None:
        """Write how a copy ended, however long the database is away."""
        try:
            self._outages.wait_out(
                self._stopping_now, self._settlement.settle, job, claim, end
            )
        except exception.ClaimLost:
            LOG.warning("Job %s is not ours any more", job.id)
        except Exception as error:
            if self._stopping_now.is_set() and isinstance(
                error, db_exc.DBError
            ):
                LOG.warning(
                    "Job %s: left to another worker, as the database is away",
                    job.id,
                )
                return
            LOG.exception("Job %s: its end could not be settled", job.id)
            unforeseen = _unforeseen(job)
            if end != unforeseen and not self._stopping_now.is_set():
                # Once more, so that the job does not look as if it ran.
                self._settle(job, claim, unforeseen)

    def _new_transfer(self, job: Job, claim: Claim) -> transfer.Transfer:
        own = self._connections.take()
        return transfer.Transfer(
            job,
            claim,
            queue=self._queue,
            outages=self._outages,
            source=self._images(
                job.source_region_id, Side.SOURCE, own.session
            ),
            destination=self._images(
                job.destination_region_id, Side.DESTINATION, own.session
            ),
            connections=own,
            rules=metadata.rules_from(self._conf),
            options=self._conf.transfer,
            window=self._window,
            bandwidth=self._bandwidth,
            distances=self._distances,
        )

    def _images(
        self,
        region_id: str,
        side: Side,
        session: ksa_session.Session | None = None,
    ) -> region.RegionImages:
        options = self._conf.transfer
        return region.RegionImages(
            session or self._session,
            region_id,
            self._conf.service_auth.valid_interfaces,
            side,
            region.Timeouts(
                connect=options.connect_timeout,
                read=options.read_timeout,
                upload_response=options.upload_response_timeout,
            ),
        )


def _end_of(copy: transfer.Transfer) -> settlement.End:
    """Run a copy, and tell how it ended."""
    job = copy.job
    LOG.info(
        "Job %s: attempt %d, copying image %s from %s to %s",
        job.id,
        job.attempts_of_run,
        job.source_image_id,
        job.source_region_id,
        job.destination_region_id,
    )
    try:
        return copy.run()
    except transfer.Stopped as stopped:
        LOG.info("Job %s: stopped, %s", job.id, stopped.reason.name)
        return _ENDS_OF_STOPPED[stopped.reason]
    except exception.ClaimLost:
        LOG.warning("Job %s was found to be another's", job.id)
        return settlement.Outcome.LOST
    except exception.TransferError as error:
        LOG.warning("Job %s: %s: %s", job.id, error.code, error.message)
        return settlement.Failed(error.code, error.message)
    except Exception:
        LOG.exception("Job %s: failed for an unforeseen reason", job.id)
        return _unforeseen(job)


def _unforeseen(job: Job) -> settlement.Failed:
    return settlement.Failed(
        ErrorCode.INTERNAL_ERROR,
        "The copy failed for a reason that only the worker's log tells; "
        f"look for request {job.request_id} there.",
    )


_ENDS_OF_STOPPED: Final = {
    transfer.StopReason.CANCELED: settlement.Outcome.CANCELED,
    transfer.StopReason.SHUTDOWN: settlement.Outcome.GIVEN_BACK,
    transfer.StopReason.CLAIM_LOST: settlement.Outcome.LOST,
}


#: Of a job that was begun as often as the operator allows.
_SPENT: Final = settlement.Failed(
    ErrorCode.ATTEMPTS_EXHAUSTED,
    "Every worker that began the copy was lost before it came to an end.",
)


def _pool(size: int, name: str) -> concurrent.futures.ThreadPoolExecutor:
    return concurrent.futures.ThreadPoolExecutor(size, thread_name_prefix=name)


def _description(conf: cfg.ConfigOpts, worker_id: str) -> NewWorker:
    return NewWorker(
        id=worker_id,
        host=conf.worker.host,
        version=loading.release(),
        concurrency=conf.worker.concurrency,
        destination_regions=",".join(conf.worker.destination_regions) or None,
    )


@contextlib.contextmanager
def _logging_for(job: Job) -> Iterator[None]:
    """Log under the id of the request that made the job."""
    context.RequestContext(request_id=job.request_id, overwrite=True)
    yield
