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

"""Several workers share regions and the limit of copies."""

import itertools
from typing import Any

from devcloud import process
from devcloud import proxy
from image_replicator.tests.functional.cloud import base

UPLOAD = proxy.Direction.UPLOAD

#: More bytes than the kernel's buffers between worker and Glance can hold.
DATA = bytes(range(256)) * 65536


class FleetTestCase(base.CloudTestCase):
    def _worker(self, **options: Any) -> process.Process:
        worker = self.start_worker(worker={"max_attempts": 9, **options})
        self.wait_for_log(worker, "begins")
        return worker

    def _ask_for(self, number: int) -> list[str]:
        image = self.cloud.images("ot1").create
        return [self.ask_for_copy(image(DATA)["id"]) for _ in range(number)]

    def _assert_replicated(self, job_ids: list[str]) -> None:
        for job_id in job_ids:
            job = self.wait_for(job_id, "replicated", "error")
            self.assertEqual("replicated", job["status"])


class TestRegions(FleetTestCase):
    def test_a_worker_takes_jobs_for_its_regions_alone(self) -> None:
        elsewhere = self._worker(destination_regions=["ot1", "ot3"])
        canceled, *job_ids = self._ask_for(4)
        self.assertEqual(204, self.cancel(canceled).status_code)
        here = self._worker(destination_regions=["ot1", "ot2"])
        self._assert_replicated(job_ids)
        self.wait_for(canceled, "canceled")
        for job_id in (canceled, *job_ids):
            self.assertNotIn(job_id, elsewhere.log_path.read_text())
            self.assertIn(job_id, here.log_path.read_text())


class TestLimit(FleetTestCase):
    def test_no_more_run_to_a_region_than_may(self) -> None:
        """The limit counts the copies of all workers together."""
        relay = self.relay("ot2")
        # It is slowed, as Glance would end a held upload after some seconds.
        relay.throttle(len(DATA) / base.PATIENCE, UPLOAD)
        for _number in range(2):
            self._worker(concurrency=3, max_copies_per_region="ot2:1,*:7")
        first, second, third, canceled = self._ask_for(4)
        job_ids = [first, second, third]
        self.assertTrue(relay.wait_for_bytes(100_000, UPLOAD))
        # The cancelation of a waiting job shows that the workers still look
        # for jobs.
        self.assertEqual(204, self.cancel(canceled).status_code)
        self.wait_for(canceled, "canceled")
        statuses = sorted(self.job(job_id)["status"] for job_id in job_ids)
        self.assertEqual(
            ["replicate_requested", "replicate_requested", "replicating"],
            statuses,
        )
        relay.throttle(None)
        self._assert_replicated(job_ids)
        self._assert_one_after_the_other(job_ids)

    def _assert_one_after_the_other(self, job_ids: list[str]) -> None:
        rows = sorted(
            (self.job_row(job_id) for job_id in job_ids),
            key=lambda row: row.started_at,
        )
        for before, after in itertools.pairwise(rows):
            self.assertLessEqual(before.finished_at, after.started_at)

    def test_as_many_run_as_may(self) -> None:
        relay = self.relay("ot2")
        relay.hold_after(1_000_000, UPLOAD)
        for _number in range(2):
            self._worker(concurrency=3, max_copies_per_region="*:2")
        job_ids = self._ask_for(3)
        self.assertTrue(relay.wait_until_held(2, UPLOAD))
        relay.release()
        self._assert_replicated(job_ids)


class TestTenants(FleetTestCase):
    def test_slow_copies_of_one_leave_another_its_place(self) -> None:
        """The other's copy begins and ends while they go on."""
        self.cloud.create_project("neighbour")
        self.cloud.create_user("nina", {"neighbour": "member"})
        relay = self.relay("ot1")
        relay.throttle(len(DATA) / base.PATIENCE, proxy.Direction.DOWNLOAD)
        self._worker()
        slow = self._ask_for(4)
        self.wait_until(
            lambda: self._statuses(slow).count("replicating") == 3,
            "three slow copies",
        )
        nina = {"user": "nina", "project": "neighbour"}
        image = self.cloud.images("ot1", **nina).create(b"small")
        job_id = self.ask_for_copy(image["id"], "neighbour", **nina)
        job = self.wait_for(job_id, "replicated", "error", **nina)
        self.assertEqual("replicated", job["status"])
        self.assertEqual(
            ["replicate_requested", *["replicating"] * 3], self._statuses(slow)
        )
        relay.throttle(None)
        self._assert_replicated(slow)

    def _statuses(self, job_ids: list[str]) -> list[str]:
        return sorted(self.job(job_id)["status"] for job_id in job_ids)
