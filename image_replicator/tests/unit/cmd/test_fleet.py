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

"""image-replicator-manage worker, as operators run it."""

import datetime
import json

from image_replicator.cmd import manage
from image_replicator.conf import loading
from image_replicator.db import stores
from image_replicator.jobs import NewJob
from image_replicator.jobs import WorkerDescription
from image_replicator.tests.unit.cmd import base


class TestWorkerList(base.CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        argv = ["--config-file", str(self.config_file)]
        self.stores = stores.open_stores(loading.load(argv))
        self.addCleanup(self.stores.database.engine.dispose)

    def _list(self, *argv: str) -> str:
        done = self.call(manage.main, "worker", "list", *argv)
        self.assertEqual((0, ""), (done.status, done.errors))
        return done.output

    def _show(self, worker_id: str, regions: str | None = None) -> None:
        self.stores.workers.register(
            WorkerDescription(
                id=worker_id,
                host=f"host-of-{worker_id}",
                version="1.2.3",
                concurrency=4,
                destination_regions=regions,
            )
        )

    def _give_job(self, worker_id: str) -> str:
        job_id = self.stores.jobs.create(
            NewJob(
                source_image_id="image",
                source_image_name="name",
                source_region_id="ot1",
                source_tenant_id="source",
                destination_region_id="ot2",
                destination_tenant_id="destination",
                image_size=1,
                request_id="req-1",
            )
        )
        self.assertIsNotNone(self.stores.queue.claim_next(worker_id))
        return job_id

    def _silence(self, worker_id: str) -> None:
        with self.stores.database.engine.begin() as connection:
            connection.exec_driver_sql(
                "UPDATE workers SET seen_at = "
                "strftime('%Y-%m-%d %H:%M:%f000', 'now', '-61 seconds') "
                f"WHERE id = '{worker_id}'"
            )

    def test_there_is_none(self) -> None:
        self.assertEqual("[]\n", self._list("--format", "json"))
        self.assertIn("Last heartbeat", self._list())

    def test_for_programs(self) -> None:
        self._show("a", "ot2,ot3")
        self._show("b")
        job_id = self._give_job("b")
        self._silence("a")
        first, second = json.loads(self._list("--format", "json"))
        self.assertGreater(first.pop("seconds_since_heartbeat"), 60)
        started = datetime.datetime.fromisoformat(first.pop("started_at"))
        self.assertEqual(0, started.microsecond)
        self.assertEqual(
            {
                "id": "a",
                "host": "host-of-a",
                "version": "1.2.3",
                "concurrency": 4,
                "destination_regions": ["ot2", "ot3"],
                "jobs": [],
                "silent": True,
            },
            first,
        )
        self.assertIsNone(second["destination_regions"])
        self.assertEqual([job_id], second["jobs"])
        self.assertFalse(second["silent"])

    def test_for_people(self) -> None:
        self._show("a", "ot2,ot3")
        self._show("b")
        self._give_job("b")
        self._silence("a")
        rows = [
            [cell.strip() for cell in line.split("|")[1:-1]]
            for line in self._list().splitlines()
            if line.startswith("|")
        ]
        self.assertEqual(
            ["ID", "Host", "Version", "Jobs", "Regions"], rows[0][:5]
        )
        self.assertEqual(
            [
                ["a", "host-of-a", "1.2.3", "0 of 4", "ot2,ot3", "yes"],
                ["b", "host-of-b", "1.2.3", "1 of 4", "all", "no"],
            ],
            [[*row[:5], row[-1]] for row in rows[1:]],
        )
        for row in rows[1:]:
            self.assertRegex(row[6], r"^\d+ s ago$")
