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

"""The worker process: claims jobs, runs their copies, writes how they end.

It has three kinds of threads. The thread that calls :meth:`Worker.run` claims
jobs and hands them out. Each copy runs in a thread of a pool; cancelations and
the removal of leftovers run in another thread. The heartbeat's thread renews
the leases. The threads share :class:`~.running.RunningJobs`, and an event that
wakes the claiming thread when a copy has ended.
"""

import concurrent.futures
import contextlib
import functools
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
from image_replicator import sealing
from image_replicator.conf import loading
from image_replicator.db import clock as db_clock
from image_replicator.db import errors
from image_replicator.db import stores
from image_replicator.images import clients as image_clients
from image_replicator.jobs import Claim
from image_replicator.jobs import Job
from image_replicator.jobs import WorkerDescription
from image_replicator.worker import access
from image_replicator.worker import attempt
from image_replicator.worker import availability
from image_replicator.worker import clock_check
from image_replicator.worker import duty
from image_replicator.worker import finalize
from image_replicator.worker import heartbeat
from image_replicator.worker import nearest
from image_replicator.worker import outcome
from image_replicator.worker import promotion
from image_replicator.worker import reaper
from image_replicator.worker import registration
from image_replicator.worker import running
from image_replicator.worker import sweeper
from image_replicator.worker import transfer

LOG = logging.getLogger(__name__)

#: Seconds before the next look for a job, right after one was found.
_SHORTEST_PAUSE: Final = 0.05


def new_worker_id(host: str) -> str:
    """Return an id that no other worker has or will have.

    Host and process id are for people. Process ids are used again, so a
    random part makes the id unique.
    """
    return f"{host}:{os.getpid()}:{uuidutils.generate_uuid()[:8]}"


class Worker:
    """One worker process.

    :param conf: of the image replicator.
    :param stores: of the jobs.
    :param session: has the worker's own credentials.
    :ivar worker_id: under which the worker claims its jobs.
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        stores: stores.Stores,
        session: ksa_session.Session,
    ) -> None:
        self._conf = conf
        self._stores = stores
        self.worker_id = new_worker_id(conf.worker.host)
        self._database = availability.DatabaseAvailability()
        self._running = running.RunningJobs()
        access_control = access.AccessControl(
            conf,
            stores.authorities,
            stores.delegations,
            image_clients.ImageClients(conf, session),
            session,
        )
        self._attempts = self._new_attempts(access_control, session)
        self._finalizer = finalize.Finalizer(
            stores.owned,
            stores.leftovers,
            access_control,
            conf.worker.retry_delay,
        )
        self._sweeper = sweeper.LeftoverSweeper(
            stores.leftovers,
            self._database,
            self._finalizer.remove_leftover,
            conf.worker.retry_max_delay,
        )
        self._duties = (
            *self._new_rights_duties(),
            promotion.Promotion(
                stores.queue, self._database, conf.worker.background_patience
            ).run,
        )
        self._clock_check = clock_check.ClockCheck(
            functools.partial(db_clock.read, stores.database),
            self._database,
            db_clock.tolerance(conf),
        )
        self._heartbeat = self._new_heartbeat()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._stopping_now = threading.Event()

    def _new_attempts(
        self,
        access_control: access.AccessControl,
        session: ksa_session.Session,
    ) -> attempt.Attempts:
        stores, options = self._stores, self._conf.transfer
        return attempt.Attempts(
            self._conf,
            stores.owned,
            self._database,
            access_control,
            nearest.NearestSource(stores.replicas, stores.routes, options),
            session,
        )

    def _new_rights_duties(self) -> tuple[Callable[[], None], ...]:
        """Return the duties that users' rights bring along."""
        conf, stores = self._conf, self._stores
        return (
            sweeper.AuthoritySweeper(
                stores.authorities, self._database, conf.worker.retry_max_delay
            ).run,
            registration.KeyRegistration(
                stores.key_holders,
                sealing.Sealer.from_conf(conf),
                self._database,
                conf.worker.host,
            ).run,
        )

    def _new_heartbeat(self) -> heartbeat.Heartbeat:
        options = self._conf.worker
        return heartbeat.Heartbeat(
            self._stores.owned,
            self._running,
            self._database,
            reaper.StalledJobReaper(
                self._stores.queue,
                self._database,
                self.worker_id,
                options.reaper_interval or options.lease_time / 2,
            ),
            registration.Registration(
                self._stores.workers,
                self._database,
                _description(self._conf, self.worker_id),
                options.registration_interval or options.lease_time / 4,
            ),
            options.progress_interval,
        )

    def stop(self) -> None:
        """Claim no more jobs, and give running copies graceful_timeout."""
        self._stopping.set()
        self._wake.set()

    def stop_now(self) -> None:
        """Stop running copies at once, and give their jobs back."""
        self._stopping_now.set()
        self.stop()

    # The claiming thread.

    def run(self) -> None:
        """Work until :meth:`stop` or :meth:`stop_now` is called."""
        LOG.info("Worker %s begins", self.worker_id)
        self._heartbeat.start()
        try:
            self._work()
        finally:
            self._heartbeat.stop()
        LOG.info("Worker %s ends", self.worker_id)

    def _work(self) -> None:
        """Claim jobs until a stop, then wait for the running copies."""
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
                    # Jobs come in bursts: after one, look again soon.
                    pause = min(
                        self._conf.worker.poll_interval,
                        max(_SHORTEST_PAUSE, pause * 2),
                    )
                    self._wake.wait(pause)
            finally:
                self._wind_down()

    def _hand_out(self, pool: concurrent.futures.Executor, slots: int) -> bool:
        """Claim jobs while there is room for another copy.

        :returns: whether there was a job.
        """
        found = False
        while not self._stopping.is_set() and self._running.copy_count < slots:
            claimed = self._claim(self._claim_next)
            if claimed is None:
                break
            found = True
            copy = self._attempts.new(*claimed)
            self._running.add_copy(copy)
            pool.submit(self._run_copy, copy)
        return found

    def _claim_next(self, worker_id: str) -> tuple[Job, Claim] | None:
        """Claim a job of a tenant that may have another copy run here."""
        at_most = _copies_per_tenant(self._conf.worker)
        return self._stores.queue.claim_next(
            worker_id, self._running.tenants_with(at_most)
        )

    def _clean_up(self) -> None:
        """Run the duties that need no room for a copy."""
        with contextlib.suppress(db_exc.DBError):
            duty.run_duty(self._cancel_unowned)
            duty.run_duty(self._sweeper.run)
            for run in self._duties:
                duty.run_duty(run)
            duty.run_duty(self._clock_check.run)

    def _cancel_unowned(self) -> None:
        """Cancel the jobs that a user wants canceled and no worker owns."""
        while not self._stopping.is_set():
            claimed = self._claim(self._stores.queue.claim_canceled)
            if claimed is None:
                return
            self._cancel(*claimed)

    def _cancel(self, job: Job, claim: Claim) -> None:
        self._running.add_cancelation(claim)
        try:
            with _logging_for(job):
                self._finalize(job, claim, outcome.StopReason.CANCELED)
        finally:
            self._running.remove_cancelation(claim)

    def _claim(
        self, claim: Callable[[str], tuple[Job, Claim] | None]
    ) -> tuple[Job, Claim] | None:
        """Claim a job; None if there is none, or if the worker stops."""
        try:
            return self._database.call_until_available(
                self._stopping, claim, self.worker_id
            )
        except Exception:
            if not self._stopping.is_set():
                LOG.exception("No job could be claimed; trying again")
                self._stopping.wait(availability.RETRY_INTERVAL)
            return None

    def _wind_down(self) -> None:
        """Wait for running copies, and stop those that take too long."""
        self._stopping.set()
        LOG.info("Stopping; %d copies are running", self._running.copy_count)
        deadline = time.monotonic() + self._conf.worker.graceful_timeout
        while self._running.copy_count and time.monotonic() < deadline:
            if self._stopping_now.wait(0.1):
                break
        self._stopping_now.set()
        for copy in self._running.copies():
            copy.stop(outcome.StopReason.SHUTDOWN)

    # The copying threads.

    def _run_copy(self, copy: transfer.Transfer) -> None:
        try:
            with _logging_for(copy.job):
                self._finalize(copy.job, copy.claim, self._attempts.run(copy))
        finally:
            # The connections are returned before the place, as the next copy
            # uses them.
            self._attempts.close(copy)
            self._running.remove_copy(copy)
            self._wake.set()

    def _finalize(
        self, job: Job, claim: Claim, ended: outcome.Outcome
    ) -> None:
        """Write how a job ended, however long the database is unavailable.

        If that fails for a lasting reason, such as a value that the database
        refuses, a fallback is written whose values it accepts. If that fails
        as well, the lease expires, and another worker claims the job.
        """
        for end in (ended, attempt.fallback(job, ended)):
            try:
                self._database.call_until_available(
                    self._stopping_now,
                    self._finalizer.finalize,
                    job,
                    claim,
                    end,
                )
                return
            except exception.ClaimLost:
                LOG.warning("Job %s is not ours any more", job.id)
                return
            except Exception as error:
                if errors.is_temporary(error):
                    LOG.warning(
                        "Job %s: left to another worker, as this one stops "
                        "and the database is unavailable",
                        job.id,
                    )
                    return
                LOG.exception("Job %s: its end could not be written", job.id)


def _pool(size: int, name: str) -> concurrent.futures.ThreadPoolExecutor:
    return concurrent.futures.ThreadPoolExecutor(size, thread_name_prefix=name)


def _copies_per_tenant(options: cfg.ConfigOpts.GroupAttr) -> int:
    """Return how many copies of one tenant may run at once."""
    share: int = options.concurrency * 3 // 4
    return options.max_copies_per_tenant or max(1, share)


def _description(conf: cfg.ConfigOpts, worker_id: str) -> WorkerDescription:
    return WorkerDescription(
        id=worker_id,
        host=conf.worker.host,
        version=loading.release(),
        concurrency=conf.worker.concurrency,
        destination_regions=",".join(conf.worker.destination_regions) or None,
    )


@contextlib.contextmanager
def _logging_for(job: Job) -> Iterator[None]:
    """Log under the id of the API request that created the job."""
    context.RequestContext(request_id=job.request_id, overwrite=True)
    yield
