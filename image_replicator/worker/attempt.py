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

"""Running one attempt to copy an image, and telling how it ended."""

import dataclasses
from typing import Final

from keystoneauth1 import session as ksa_session
from oslo_config import cfg
from oslo_log import log as logging

from image_replicator import exception
from image_replicator import metadata
from image_replicator.db import owned_jobs
from image_replicator.errors import ErrorCode
from image_replicator.images import connections
from image_replicator.jobs import Claim
from image_replicator.jobs import Job
from image_replicator.worker import access
from image_replicator.worker import availability
from image_replicator.worker import buffer
from image_replicator.worker import nearest
from image_replicator.worker import outcome
from image_replicator.worker import rate
from image_replicator.worker import retry
from image_replicator.worker import transfer

LOG = logging.getLogger(__name__)

#: The outcome of an attempt beyond the last one that the operator allows.
_EXHAUSTED: Final = outcome.Failed(
    ErrorCode.ATTEMPTS_EXHAUSTED,
    "Every worker that began the copy was lost before it came to an end.",
)


def fallback(job: Job, ended: outcome.Outcome) -> outcome.Failed:
    """Return the outcome to write when the true one cannot be written.

    Its message has no text from outside, so no database refuses it. The code
    of a failure is kept, as is the time of the next attempt.

    :param ended: the true outcome.
    """
    if not isinstance(ended, outcome.Failed):
        return _unexpected_failure(job)
    return dataclasses.replace(ended, message=_only_in_log(job))


def _unexpected_failure(job: Job) -> outcome.Failed:
    """Return the outcome of a job that failed by an unexpected exception.

    The exception itself is only logged, as users must not see all of it.
    """
    return outcome.Failed(ErrorCode.INTERNAL_ERROR, _only_in_log(job))


def _only_in_log(job: Job) -> str:
    return (
        "The copy failed for a reason that only the worker's log tells; "
        f"look for request {job.request_id} there."
    )


class Attempts:
    """Makes the worker's copies, and maps each one's end to an outcome.

    It has the parts that the copies of one worker share: kept connections, and
    the limit of the bandwidth.

    :param conf: of the image replicator.
    :param database: the availability of the database.
    :param access: opens the image services for a job.
    :param sources: finds where the bytes of images can be read.
    :param session: has the worker's own credentials.
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        owned: owned_jobs.OwnedJobs,
        database: availability.DatabaseAvailability,
        access: access.AccessControl,
        sources: nearest.NearestSource,
        session: ksa_session.Session,
    ) -> None:
        self._owned = owned
        self._sources = sources
        self._database = database
        self._access = access
        self._connections = connections.Pool(session)
        self._rules = metadata.rules_from(conf)
        self._options = conf.transfer
        self._memory = buffer.Buffer(
            conf.worker.buffer_size, conf.transfer.window_size
        )
        self._bandwidth = rate.Limiter(conf.worker.bandwidth_limit)
        self._retries = retry.Policy(
            max_attempts=conf.worker.max_attempts,
            delay=conf.worker.retry_delay,
            max_delay=conf.worker.retry_max_delay,
        )

    def new(self, job: Job, claim: Claim) -> transfer.Transfer:
        """Return the copy of a job, which has not begun yet.

        :param claim: the worker's claim of the job.
        """
        own = self._connections.take()
        self._memory.join()
        return transfer.Transfer(
            job,
            claim,
            owned=self._owned,
            database=self._database,
            open_access=lambda: self._access.open(job, own.session),
            connections=own,
            rules=self._rules,
            options=self._options,
            memory=self._memory,
            bandwidth=self._bandwidth,
            sources=self._sources,
        )

    def run(self, copy: transfer.Transfer) -> outcome.Outcome:
        """Run a copy to its end; no exception leaves it.

        :returns: how it ended. A failure says when the next attempt is due.
        """
        attempt = copy.job.attempts
        if attempt > self._retries.max_attempts:
            return _EXHAUSTED
        ended = _run(copy)
        self._forget_trusts_gone(copy)
        if isinstance(ended, outcome.Failed):
            seconds = self._retries.seconds_to_wait(ended.code, attempt)
            return dataclasses.replace(ended, retry_in=seconds)
        return ended

    def _forget_trusts_gone(self, copy: transfer.Transfer) -> None:
        """Forget the trusts that the copy found to be gone.

        A failure is logged: the next copy finds the same, and how this one
        ended must be written.
        """
        try:
            if copy.access:
                self._access.forget_trusts_gone(copy.access)
        except Exception:
            LOG.exception("Job %s: its trusts stay known", copy.job.id)

    def close(self, copy: transfer.Transfer) -> None:
        """Take back what a copy that has ended was given."""
        self._memory.leave()
        self._connections.give_back(copy.release())


def _run(copy: transfer.Transfer) -> outcome.Outcome:
    """Run a copy, and map the exception that ends it to an outcome."""
    job = copy.job
    LOG.info(
        "Job %s: attempt %d, copying image %s from %s to %s",
        job.id,
        job.attempts,
        job.source_image_id,
        job.source_region_id,
        job.destination_region_id,
    )
    try:
        return copy.run()
    except transfer.Stopped as stopped:
        LOG.info("Job %s: the copy was stopped, as %s", job.id, stopped)
        return stopped.reason
    except exception.ClaimLost:
        LOG.warning("Job %s was found to be another's", job.id)
        return outcome.StopReason.CLAIM_LOST
    except exception.TransferError as error:
        LOG.warning("Job %s: %s: %s", job.id, error.code, error.message)
        return outcome.Failed(error.code, error.message)
    except Exception:
        LOG.exception("Job %s: failed for an unforeseen reason", job.id)
        return _unexpected_failure(job)
