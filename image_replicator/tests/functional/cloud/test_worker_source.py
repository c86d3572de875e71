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

"""Unusual source images, and images that change during the copy."""

from image_replicator.tests.functional.cloud import base


class TestSource(base.CloudTestCase):
    def _assert_failed_cleanly(
        self, job_id: str, before: set[str], *codes: str
    ) -> None:
        job = self.wait_for(job_id, "replicated", "error")
        self.assertEqual("error", job["status"])
        row = self.job_row(job_id)
        self.assertIn(row.error_code, codes)
        self.assertTrue(row.error_message)
        self.wait_until_clean(job_id, before)

    def test_an_image_without_a_name(self) -> None:
        image = self.cloud.images("ot1").create(name=None)
        self.start_worker()
        job_id = self.ask_for_copy(image["id"])
        job = self.wait_for(job_id, "replicated", "error")
        self.assertEqual("replicated", job["status"])
        self.assertEqual("", job["source_image_name"])
        copy = self.images_in("ot2")[job["destination_image_id"]]
        self.assertIsNone(copy["name"])

    def test_an_image_without_bytes(self) -> None:
        image = self.cloud.images("ot1").create(b"")
        job_id = self.ask_for_copy(image["id"])
        self.assertEqual(0, self.job(job_id)["copy_progress"])
        self.start_worker()
        job = self.wait_for(job_id, "replicated", "error")
        self.assertEqual("replicated", job["status"])
        self.assertEqual(100, job["copy_progress"])
        copy = self.images_in("ot2")[job["destination_image_id"]]
        self.assertEqual(("active", 0), (copy["status"], copy["size"]))
        self.assertEqual(image["os_hash_value"], copy["os_hash_value"])

    def test_an_image_deleted_before_a_worker_takes_the_job(self) -> None:
        before = set(self.images_in("ot2"))
        images = self.cloud.images("ot1")
        image = images.create()
        job_id = self.ask_for_copy(image["id"])
        images.delete(image["id"])
        self.start_worker()
        self._assert_failed_cleanly(job_id, before, "source_not_found")

    def test_an_image_deactivated_before_a_worker_takes_the_job(self) -> None:
        before = set(self.images_in("ot2"))
        image = self.cloud.images("ot1").create()
        job_id = self.ask_for_copy(image["id"])
        self.cloud.image_client("ot1", "admin", "admin").post(
            f"/v2/images/{image['id']}/actions/deactivate"
        )
        self.start_worker()
        self._assert_failed_cleanly(job_id, before, "source_not_active")

    def test_an_image_deleted_while_it_is_copied(self) -> None:
        """Either the right bytes arrive or no image does."""
        before = set(self.images_in("ot2"))
        relay = self.relay("ot1")
        relay.hold_after(300_000)
        images = self.cloud.images("ot1")
        data = bytes(range(256)) * 8192
        image = images.create(data)
        self.start_worker(transfer={"chunk_size": 65536})
        job_id = self.ask_for_copy(image["id"])
        self.assertTrue(relay.wait_until_held())
        images.delete(image["id"])
        relay.release()
        job = self.wait_for(job_id, "replicated", "error")
        if job["status"] == "error":
            self._assert_failed_cleanly(
                job_id, before, "source_read_failed", "source_not_found"
            )
            return
        copies = self.cloud.images("ot2", "alice", "destination")
        self.assertEqual(data, copies.read(job["destination_image_id"]))
