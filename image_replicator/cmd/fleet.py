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

"""image-replicator-manage worker: lists the workers."""

from typing import Any
from typing import Final

from oslo_config import cfg

from image_replicator.cmd import output
from image_replicator.db import database
from image_replicator.db import workers

_COLUMNS: Final = {
    "id": "ID",
    "host": "Host",
    "version": "Version",
    "copies": "Jobs",
    "regions": "Regions",
    "started_at": "Started (UTC)",
    "heartbeat": "Last heartbeat",
    "silent": "Silent",
}


def _list(conf: cfg.ConfigOpts) -> int:
    registry = workers.WorkerRegistry(database.Database(conf))
    records = [
        _record(listed, conf.worker.lease_time) for listed in registry.list()
    ]
    if conf.command.format == "table":
        records = [{**record, **_for_people(record)} for record in records]
    output.show(conf.command.format, _COLUMNS, records)
    return 0


def _record(listed: workers.ListedWorker, lease_time: float) -> dict[str, Any]:
    worker = listed.worker
    regions = worker.destination_regions
    return {
        "id": worker.id,
        "host": worker.host,
        "version": worker.version,
        "concurrency": worker.concurrency,
        "destination_regions": regions.split(",") if regions else None,
        "jobs": list(listed.job_ids),
        "started_at": worker.started_at.isoformat(timespec="seconds"),
        "seconds_since_heartbeat": round(listed.silence, 1),
        # By now other workers may have taken its jobs.
        "silent": listed.silence > lease_time,
    }


def _for_people(record: dict[str, Any]) -> dict[str, Any]:
    return {
        "copies": f"{len(record['jobs'])} of {record['concurrency']}",
        "regions": ",".join(record["destination_regions"] or ["all"]),
        "heartbeat": f"{record['seconds_since_heartbeat']:.0f} s ago",
    }


def add_commands(subparsers: Any) -> None:
    worker = subparsers.add_parser("worker", help="look at the workers")
    actions = worker.add_subparsers(dest="action", required=True)
    list_ = actions.add_parser(
        "list", help="show the workers, and what each works on"
    )
    output.add_format(list_)
    list_.set_defaults(func=_list)
