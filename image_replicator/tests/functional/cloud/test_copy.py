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

"""The main case: an image is copied to the other region and verified."""

from image_replicator.tests.functional.cloud import base


class TestCopy(base.CloudTestCase):
    def test_image_arrives(self) -> None:
        """The copy has all bytes and properties, in the other tenant."""
        data = bytes(range(256)) * 12345
        image = self.cloud.images("ot1").create(
            data, name="cirros", hw_disk_bus="virtio", tags=["tested"]
        )
        self.start_worker()
        job_id = self.ask_for_copy(image["id"])
        job = self.wait_for(job_id, "replicated", "error")
        self.assertEqual("replicated", job["status"])
        self.assertEqual(100, job["copy_progress"])
        images = self.cloud.images("ot2", "alice", "destination")
        copy = images.get(job["destination_image_id"])
        self.assertEqual(data, images.read(copy["id"]))
        self.assertEqual(image["os_hash_value"], copy["os_hash_value"])
        self.assertEqual(self.cloud.project_id("destination"), copy["owner"])
        self.assertEqual("private", copy["visibility"])
        self.assertEqual("cirros", copy["name"])
        self.assertEqual("virtio", copy["hw_disk_bus"])
        self.assertEqual(["tested"], copy["tags"])
