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

"""image-replicator-manage on a real cloud: workers and orphans."""

import json
from typing import Any

from devcloud import cloud
from devcloud import proxy
from image_replicator.tests.functional.cloud import base

UPLOAD = proxy.Direction.UPLOAD
DATA = bytes(range(256)) * 65536


class TestManage(base.CloudTestCase):
    #: The options of a cloud of its own, as these commands see all workers and
    #: images.
    options = cloud.Options()

    def _listed(self, *argv: str) -> list[dict[str, Any]]:
        status, output = self.manage(*argv, "--format", "json")
        self.assertEqual(0, status)
        listed: list[dict[str, Any]] = json.loads(output)
        return listed

    def _workers(self) -> list[dict[str, Any]]:
        return self._listed("worker", "list")

    def test_a_worker_comes_works_and_goes(self) -> None:
        worker = self.start_worker(
            # The copy is slow, so that it still runs when the command lists
            # it.
            worker={"destination_regions": "ot2", "bandwidth_limit": 65536}
        )
        (shown,) = self.wait_until(self._workers, "a worker that is shown")
        self.assertEqual(["ot2"], shown["destination_regions"])
        self.assertEqual(([], False), (shown["jobs"], shown["silent"]))
        image = self.cloud.images("ot1").create(DATA)
        job_id = self.ask_for_copy(image["id"])
        self.wait_for(job_id, "replicating")
        self.assertEqual([job_id], self._workers()[0]["jobs"])
        status, output = self.manage("worker", "list")
        self.assertEqual(0, status)
        self.assertIn("1 of 4", output)
        self.assertEqual(204, self.cancel(job_id).status_code)
        self.wait_for(job_id, "canceled")
        worker.stop()
        self.assertEqual([], self._workers())

    def test_an_image_whose_job_is_lost(self) -> None:
        relay = self.relay("ot2")
        before = set(self.images_in("ot2"))
        relay.hold_after(1_000_000, UPLOAD)
        worker = self.start_worker()
        # Glance's default allows no more.
        tags = [f"tag {number}" for number in range(128)]
        image = self.cloud.images("ot1").create(DATA, tags=tags)
        self.ask_for_copy(image["id"])
        self.assertTrue(relay.wait_until_held(direction=UPLOAD))
        worker.kill()
        relay.release()
        (left,) = set(self.images_in("ot2")) - before
        # A job's row names it.
        self.assertEqual([], self.orphans("--remove"))
        self._forget_jobs()
        self.assertEqual([left], self.orphans())
        self.assertIn(left, self.images_in("ot2"))
        status, output = self.manage(
            "image", "orphans", "--older-than", "0", "--remove"
        )
        self.assertEqual(0, status)
        self.assertIn(left, output)
        self.assertEqual([], self.orphans())
        self.assertEqual(before, set(self.images_in("ot2")))

    def test_a_region_that_there_is_not(self) -> None:
        status, output = self.manage(
            "image", "orphans", "--region", "nowhere", "--format", "json"
        )
        self.assertEqual((1, []), (status, json.loads(output)))
