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

"""Claims by several workers at once: their rate, and that each is unique."""

import functools
import json
import uuid
from typing import Any

from devcloud.bench import backlog
from devcloud.bench import databases
from devcloud.bench.measure import Sample
from devcloud.bench.measure import take_turns
from devcloud.bench.stage import BenchError
from devcloud.bench.stage import Stage
from image_replicator.db import database
from image_replicator.jobs import JobStatus

_TENANTS = 10  # that the jobs are of
_PATIENCE = 600  # seconds


def run(stage: Stage) -> None:
    """Let workers claim all waiting jobs, on each database."""
    for kind in databases.kinds(stage):
        _measure(stage, kind)
    with databases.on_galera(stage) as kinds:
        for kind in kinds:
            _measure(stage, kind)


def _measure(stage: Stage, kind: databases.Kind) -> None:
    case = stage.new_case("fleet", kind.name)
    with kind.empty() as (url, stores):
        subjects = {
            f"{n} workers": functools.partial(
                _claim_all, stage, url, stores.database, n
            )
            for n in stage.options.workers
        }
        take_turns(case, subjects, stage.options.pairs, stage.say)
    first, *_between, last = subjects
    case.compare(last, first, "claims/s")
    case.notes.append("No job was claimed twice, and none was left.")


def _claim_all(
    stage: Stage, url: str, reached: database.Database, workers: int
) -> Sample:
    """Let a number of workers claim and finish all jobs.

    :raises BenchError: if a job was claimed twice, or never
    """
    backlog.clear(reached.engine)
    waiting = _waiting(stage.options.claims)
    backlog.insert(reached.engine, waiting)
    told = _run_workers(stage, url, workers)
    claimed = [job_id for one in told for job_id in one["jobs"]]
    if sorted(claimed) != sorted(row["id"] for row in waiting):
        raise BenchError(
            f"{len(waiting)} jobs, {len(claimed)} claims, of "
            f"{len(set(claimed))} jobs"
        )
    seconds = max(one["end"] for one in told) - min(
        one["begin"] for one in told
    )
    return {"claims/s": len(claimed) / seconds}


def _waiting(count: int) -> list[dict[str, Any]]:
    tenants = [uuid.uuid4().hex for _one in range(_TENANTS)]
    return [
        # These are the turns that the API would give, with tenants in rounds.
        backlog.row(
            number, JobStatus.REPLICATE_REQUESTED, tenants[number % _TENANTS]
        )
        | {"turn": number // _TENANTS}
        for number in range(count)
    ]


def _run_workers(stage: Stage, url: str, workers: int) -> list[dict[str, Any]]:
    """Run workers to their end; return the result of each."""
    running = stage.spawn_module("claimant", [url, str(workers)], [])
    try:
        status = running.wait(_PATIENCE)
    finally:
        stage.supervisor.stop(running)
    text = running.log_path.read_text()
    running.log_path.unlink()
    if status:
        raise BenchError(f"claiming failed: {text}")
    return [
        json.loads(line) for line in text.splitlines() if line.startswith("{")
    ]
