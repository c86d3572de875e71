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

"""The database's work with few and with many jobs."""

import functools
import statistics
import time
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

from devcloud.bench import backlog
from devcloud.bench.measure import Aim
from devcloud.bench.measure import Sample
from devcloud.bench.measure import Subject
from devcloud.bench.measure import take_turns
from devcloud.bench.stage import Stage
from image_replicator.db import listing

_METRIC = "p50 ms"
_CLAIM_SHARE = 5  # one claim is made for so many reads: it is slow


def compare(stage: Stage, name: str, tables: Sequence[backlog.Table]) -> None:
    """Compare show, list and claim in tables with few and with many jobs.

    :param name: of the kind of database
    :param tables: sorted by their number of jobs
    """
    case = stage.new_case("api", f"{name}, by number of jobs")
    subjects: dict[str, Subject] = {}
    for table in tables:
        subjects |= _subjects(stage.options.requests, table)
    take_turns(case, subjects, stage.options.pairs, stage.say)
    few, many = tables[0].count, tables[-1].count
    for verb in ("show", "list", "claim"):
        case.compare(
            _title(verb, many),
            _title(verb, few),
            _METRIC,
            Aim(1.2, at_most=True),
        )


def _title(verb: str, count: int) -> str:
    return f"{verb} of {count}"


def _subjects(requests: int, table: backlog.Table) -> dict[str, Subject]:
    page = listing.Page(
        limit=backlog.LEAST_OF_A_TENANT, tenant_id=table.tenant
    )
    show = functools.partial(table.stores.jobs.get, table.job_id)
    read = functools.partial(table.stores.jobs.list, page)
    claim = functools.partial(table.stores.queue.claim_next, "bench")
    subjects: dict[str, Subject] = {
        "show": functools.partial(_time, show, requests),
        "list": functools.partial(_time, read, requests),
        "claim": functools.partial(
            _time,
            claim,
            max(2, requests // _CLAIM_SHARE),
            # One job is claimed many times.
            lambda found: table.stores.owned.give_back(found[1]),
        ),
    }
    return {_title(verb, table.count): one for verb, one in subjects.items()}


def _time(
    work: Callable[[], Any],
    count: int,
    after: Callable[[Any], None] = lambda _result: None,
) -> Sample:
    """Measure a call a number of times.

    :param after: called with each result; its time is not counted
    """
    times = []
    for _number in range(count):
        begin = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - begin)
        after(result)
    return {_METRIC: statistics.median(times) * 1e3}
