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

"""Workers under load: each job once, few at a time, little memory."""

import re
import tempfile
from typing import Any

from devcloud import process
from devcloud import proxy
from image_replicator.tests.functional.cloud import base

MIB = 1 << 20

#: More bytes than the kernel's buffers between worker and Glance can hold.
DATA = bytes(range(256)) * 65536


def peak_memory(worker: process.Process) -> int:
    """Return the peak memory of a process in bytes."""
    with open(f"/proc/{worker.pid}/status") as status:
        (kib,) = re.findall(r"VmHWM:\s*(\d+) kB", status.read())
    return int(kib) * 1024


class TestOneJob(base.CloudTestCase):
    def test_progress_grows_from_0_to_100(self) -> None:
        relay = self.relay("ot2")
        image = self.cloud.images("ot1").create(DATA)
        relay.throttle(len(DATA) / 5, proxy.Direction.UPLOAD)
        job_id = self.ask_for_copy(image["id"])
        seen = [self.job(job_id)["copy_progress"]]
        self.start_worker(transfer={"chunk_size": 65536})

        def ended() -> bool:
            job = self.job(job_id)
            seen.append(job["copy_progress"])
            return job["status"] != "replicating" and len(set(seen)) > 1

        self.wait_until(ended, "an end")
        self.assertEqual("replicated", self.job(job_id)["status"])
        self.assertEqual({int}, {type(progress) for progress in seen})
        self.assertEqual(sorted(seen), seen)
        self.assertEqual((0, 100), (seen[0], seen[-1]))
        between = {progress for progress in seen if 0 < progress < 100}
        self.assertGreaterEqual(len(between), 2, seen)

    def test_memory_is_bounded_whatever_the_size(self) -> None:
        with tempfile.TemporaryFile() as sparse:
            sparse.truncate(512 * MIB)
            image = self.cloud.images("ot1").create(sparse)
        self.addCleanup(self.cloud.images("ot1").delete, image["id"])
        for streams in (1, 8):
            self._assert_memory_is_bounded(image, streams)

    def _assert_memory_is_bounded(
        self, image: dict[str, Any], streams: int
    ) -> None:
        worker = self.start_worker(
            transfer={"min_streams": streams, "max_streams": streams}
        )
        job_id = self.ask_for_copy(image["id"])
        job = self.wait_for(job_id, "replicated", "error")
        self.assertEqual("replicated", job["status"])
        self.assertLess(peak_memory(worker), 150 * MIB)
        worker.stop()
        copies = self.cloud.images("ot2", "alice", "destination")
        self.addCleanup(copies.delete, job["destination_image_id"])
        copy = copies.get(job["destination_image_id"])
        self.assertEqual(512 * MIB, copy["size"])
        self.assertEqual(image["os_hash_value"], copy["os_hash_value"])

    def test_no_secret_is_logged(self) -> None:
        loud = ["keystoneauth=DEBUG", "urllib3=DEBUG", "sqlalchemy=DEBUG"]
        worker = self.start_worker(
            DEFAULT={"debug": True, "default_log_levels": loud}
        )
        image = self.cloud.images("ot1").create()
        self.wait_for(self.ask_for_copy(image["id"]), "replicated")
        log = worker.log_path.read_text()
        self.assertIn("DEBUG keystoneauth", log)
        self.assertIn(image["id"], log)
        for secret in self.cloud._service_passwords.values():
            self.assertNotIn(secret, log)
        # Fernet tokens begin with this.
        self.assertEqual([], re.findall(r"gAAAA[\w-]{20,}", log))
