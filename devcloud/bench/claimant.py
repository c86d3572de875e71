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

"""Processes that only claim and finish jobs; run as ``-m … URL COUNT``.

They begin at the same time and end when no job waits. Each prints a line of
JSON with its begin, its end and its jobs.
"""

import json
import multiprocessing
import os
import sys
import time
from typing import Any

from devcloud.bench import databases
from image_replicator.db import stores
from image_replicator.jobs import Verification

_PATIENCE = 60  # seconds until all have begun


def _work(begin_at_once: Any, url: str) -> None:
    opened = stores.open_stores(databases.configuration(url))
    worker_id = f"bench:{os.getpid()}"
    seen = Verification(algorithm="sha512", source="0", destination="0")
    opened.workers.list()  # connects
    begin_at_once.wait(_PATIENCE)
    begin = time.monotonic()
    claimed = []
    while found := opened.queue.claim_next(worker_id):
        job, claim = found
        opened.owned.finish(claim, job.image_size, None, seen)
        claimed.append(job.id)
    told = {"begin": begin, "end": time.monotonic(), "jobs": claimed}
    # It is written with one call, as other processes share the pipe.
    os.write(sys.stdout.fileno(), f"{json.dumps(told)}\n".encode())


def main() -> int:
    """Run a number of processes; they are forked to import modules once."""
    url, count = sys.argv[1:]
    fork = multiprocessing.get_context("fork")
    barrier = fork.Barrier(int(count))
    workers = [
        fork.Process(target=_work, args=(barrier, url))
        for _one in range(int(count))
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return int(any(worker.exitcode for worker in workers))


if __name__ == "__main__":
    sys.exit(main())
