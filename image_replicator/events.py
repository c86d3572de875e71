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

"""Events for the changes of jobs' status that the database has committed."""

import dataclasses
from collections.abc import Callable
from collections.abc import Sequence

from oslo_log import log as logging

from image_replicator import context
from image_replicator.jobs import Job
from image_replicator.jobs import JobStatus

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class StatusChange:
    """A change of a job's status that the database has committed.

    :ivar job: as the change left it.
    :ivar old: the status before; None for a job that was just created.
    :ivar new: the status now.
    """

    job: Job
    old: JobStatus | None
    new: JobStatus


Subscriber = Callable[[StatusChange], None]


def log_change(change: StatusChange) -> None:
    """Log a change under the request that the thread serves, if it does."""
    LOG.info("Job %s: %s", change.job.id, _described(change))


def log_change_of_job(change: StatusChange) -> None:
    """Log a change under the request that created the job, as workers do."""
    LOG.info(
        "Job %s: %s",
        change.job.id,
        _described(change),
        context=context.RequestContext(
            request_id=change.job.request_id, overwrite=False
        ),
    )


def _described(change: StatusChange) -> str:
    job = change.job
    if change.old is None:
        return (
            f"{change.new}; image {job.source_image_id} from "
            f"{job.source_region_id} to {job.destination_region_id}, tenant "
            f"{job.destination_tenant_id}"
        )
    reason = f" ({job.error_code})" if job.error_code else ""
    return f"{change.old} -> {change.new}{reason}"


class Events:
    """Calls all subscribers with each change, in order.

    If a process ends between the commit and the call, no subscriber is called:
    one that must know of all changes reads the database as well.

    :param subscribers: called in the thread that made the change, so they have
        to be quick. An exception of one of them is logged; the other
        subscribers are still called, and :meth:`publish` does not raise it.
    """

    def __init__(self, subscribers: Sequence[Subscriber] = (log_change,)):
        self._subscribers = tuple(subscribers)

    def publish(self, change: StatusChange) -> None:
        """Call all subscribers with a committed change."""
        for subscriber in self._subscribers:
            try:
                subscriber(change)
            except Exception:
                LOG.exception(
                    "Job %s: a subscriber failed for %s -> %s",
                    change.job.id,
                    change.old,
                    change.new,
                )
