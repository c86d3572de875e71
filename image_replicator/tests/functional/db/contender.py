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

"""Processes that use one database at once.

Run as ``python -m … URL TASK COUNT OPTIONS``: COUNT processes begin the task
at the same time, with OPTIONS of ``[worker]`` in JSON. Each prints a line; if
one fails, the command ends with an error.
"""

import datetime
import itertools
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from image_replicator import exception
from image_replicator.db import idempotency
from image_replicator.db import jobs as db_jobs
from image_replicator.db import stores as db_stores
from image_replicator.errors import ErrorCode
from image_replicator.jobs import Claim
from image_replicator.jobs import JobStatus
from image_replicator.jobs import WorkerDescription
from image_replicator.tests.functional.db import base


def _tell(line: str) -> None:
    """Write a line with one call, as other processes share the pipe."""
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


def begin(stores: db_stores.Stores) -> None:
    """Use the database for the first time."""
    try:
        stores.jobs.get("no such job")
    except exception.JobNotFound:
        _tell("found nothing")


def create(stores: db_stores.Stores) -> None:
    """Create a job for the copy that all contenders ask for."""
    try:
        _tell(stores.jobs.create(base.new_job(source_image_id="the same")))
    except exception.DuplicateJob:
        _tell("duplicate")


def ask_once(stores: db_stores.Stores, *tenants: str) -> str:
    """Ask for copies with a key; return the answer of all who use it."""
    key = idempotency.Key(project_id="source", value="key", digest="digest")
    creations = [
        db_jobs.Creation(
            base.new_job(
                source_image_id="the same", destination_tenant_id=tenant
            )
        )
        for tenant in tenants
    ]
    try:
        made = stores.jobs.create_all(
            creations, 9, db_jobs.Once(key, json.dumps)
        )
        return json.dumps([job.id for job in made])
    except idempotency.KeyTaken:
        found = stores.idempotency_keys.find(key)
        assert found
        return found.answer


def order(stores: db_stores.Stores) -> None:
    """Ask for the copies that all contenders ask for, with one key."""
    _tell(ask_once(stores, "A", "B"))


def claim(stores: db_stores.Stores) -> None:
    """Claim jobs until none waits."""
    while claimed := stores.queue.claim_next(f"worker {os.getpid()}"):
        _tell(claimed[0].id)


def work(stores: db_stores.Stores) -> None:
    """Call all methods that write, for API, worker and operator."""
    for _ in range(8):
        stores.jobs.create(base.new_job())
        claimed = stores.queue.claim_next("worker")
        stores.jobs.purge(datetime.timedelta(0), 5)
        if claimed:
            job, held = claimed
            stores.owned.reserve_image(held, job.id)
            stores.owned.record_progress(held, 500)
            stores.owned.finish(held, 1000, 99, base.VERIFICATION)
    _tell("done")


#: All the ways in which a copy can end.
_ENDS: tuple[Callable[[db_stores.Stores, Claim], Any], ...] = (
    lambda stores, held: stores.owned.finish(
        held, 1000, 99, base.VERIFICATION
    ),
    lambda stores, held: stores.owned.fail(
        held, ErrorCode.DESTINATION_QUOTA_EXCEEDED, "No room is left."
    ),
    lambda stores, held: stores.owned.retry(
        held, 0.0, ErrorCode.SOURCE_BUSY, "It was busy."
    ),
    lambda stores, held: stores.owned.give_back(held),
)


def crowd(stores: db_stores.Stores) -> None:
    """Copy until no job waits; print how many copies ran with each."""
    for end in itertools.cycle(_ENDS):
        if not _count(stores, JobStatus.REPLICATE_REQUESTED):
            return
        claimed = stores.queue.claim_next(f"worker {os.getpid()}")
        if claimed is None:
            time.sleep(0.005)
            continue
        region = claimed[0].destination_region_id
        _tell(f"{region} {_count(stores, JobStatus.REPLICATING, region)}")
        end(stores, claimed[1])


def appear(stores: db_stores.Stores) -> None:
    """Register a worker repeatedly, and remove silent ones."""
    worker = WorkerDescription(
        id=f"worker-{os.getpid()}", host="h", version="1", concurrency=1
    )
    for _each in range(8):
        stores.workers.register(worker)
        stores.workers.forget_silent(base.PATIENCE)
    _tell(worker.id)


def _count(
    stores: db_stores.Stores, status: JobStatus, region: str | None = None
) -> int:
    query = sa.select(sa.func.count()).where(base.JOBS.c.status == status)
    if region is not None:
        query = query.where(base.JOBS.c.destination_region_id == region)
    with stores.database.engine.connect() as connection:
        return connection.scalars(query).one()


_TASKS = {
    task.__name__: task
    for task in (begin, create, order, claim, work, crowd, appear)
}


def _take_part(
    begin_at_once: Any, url: str, task: str, worker: dict[str, Any]
) -> None:
    stores = db_stores.open_stores(base.configuration(url, **worker))
    begin_at_once.wait(base.PATIENCE)
    _TASKS[task](stores)
    sys.stdout.flush()


def main() -> int:
    """Run the processes; they are forked to import modules once."""
    url, task, count, options = sys.argv[1:]
    fork = multiprocessing.get_context("fork")
    barrier = fork.Barrier(int(count))
    processes = [
        fork.Process(
            target=_take_part, args=(barrier, url, task, json.loads(options))
        )
        for _ in range(int(count))
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return int(any(process.exitcode for process in processes))


if __name__ == "__main__":
    sys.exit(main())
