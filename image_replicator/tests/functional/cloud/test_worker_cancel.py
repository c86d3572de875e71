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

"""A copy can be canceled at each of its steps, and its image is removed.

A proxy holds the copy at a step for longer than the test waits, so only the
cancelation can end it.
"""

from typing import Any

from devcloud import process
from devcloud import proxy
from image_replicator.tests.functional.cloud import base

DOWNLOAD = proxy.Direction.DOWNLOAD
UPLOAD = proxy.Direction.UPLOAD

#: More bytes than the kernel's buffers between worker and Glance can hold.
DATA = bytes(range(256)) * 65536

#: The worker's timeouts in seconds: so long that they do not end the copy.
LONG = base.HOLD


class TestCancel(base.CloudTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.before = set(self.images_in("ot2"))

    def _assert_canceled(self, job_id: str) -> None:
        """Cancel a job, and check that it ends and its image is removed."""
        self.assertEqual(204, self.cancel(job_id).status_code)
        self.assertIn(
            self.job(job_id)["status"],
            ("cancel_requested", "canceling", "canceled"),
        )
        self._assert_clean(job_id)

    def _assert_clean(self, job_id: str) -> None:
        job = self.wait_for(job_id, "canceled", "error", "replicated")
        self.assertEqual("canceled", job["status"])
        self.assertIsNone(job["destination_image_id"])
        self.assertIsNone(self.job_row(job_id).reserved_image_id)
        self.assertEqual(self.before, set(self.images_in("ot2")))

    def _begin(self, **properties: object) -> str:
        image = self.cloud.images("ot1").create(DATA, **properties)
        return self.ask_for_copy(image["id"])

    def _worker(self, streams: int = 1, **options: Any) -> process.Process:
        return self.start_worker(
            worker=options,
            transfer={
                "min_streams": streams,
                "max_streams": streams,
                "chunk_size": 65536,
                "connect_timeout": LONG,
                "read_timeout": LONG,
            },
            service_auth={"timeout": LONG},
        )

    def test_while_many_readers_are_stuck(self) -> None:
        """The log has one line for it, and no error of an image service."""
        relay = self.relay("ot1")
        relay.hold_after(1_000_000)
        job_id = self._begin()
        worker = self._worker(streams=16)
        self.assertTrue(relay.wait_until_held())
        self.wait_until(lambda: relay.connections > 8, "many readers")
        self._assert_canceled(job_id)
        log = worker.log_path.read_text()
        self.assertEqual(1, log.count("the user canceled the job"), log)
        for words in ("does not answer", "broke off", "Traceback"):
            self.assertNotIn(words, log)

    def test_while_the_creation_is_not_answered(self) -> None:
        """The worker does not know whether the image exists."""
        relay = self.relay("ot2")
        relay.pause(DOWNLOAD)
        job_id = self._begin()
        self._worker()
        self.assertTrue(relay.wait_until_held())
        self.assertEqual(204, self.cancel(job_id).status_code)
        self.wait_for(job_id, "canceling")
        relay.release()
        self._assert_clean(job_id)

    def test_while_sending_is_stuck(self) -> None:
        relay = self.relay("ot2")
        relay.hold_after(1_000_000, UPLOAD)
        job_id = self._begin()
        self._worker()
        self.assertTrue(relay.wait_until_held(direction=UPLOAD))
        # Glance ends the upload with an error after some seconds.
        relay.pause(DOWNLOAD)
        self._wait_until_progress_rests(job_id)
        self.assertEqual(204, self.cancel(job_id).status_code)
        self.wait_for(job_id, "canceling")
        relay.release()
        self._assert_clean(job_id)

    def _wait_until_progress_rests(self, job_id: str) -> None:
        """Wait until all buffers on the way are full."""
        seen = [-1]

        def rests() -> bool:
            row = self.job_row(job_id)
            seen.append(row.bytes_copied)
            return 0 < seen[-1] < len(DATA) and len(set(seen[-60:])) == 1

        self.wait_until(rests, "a stuck upload")

    def test_while_the_upload_is_not_answered(self) -> None:
        relay = self._hold_in_upload()
        relay.pause(DOWNLOAD)
        relay.release(UPLOAD)
        self.assertTrue(relay.wait_until_held(direction=DOWNLOAD))
        self.assertEqual(204, self.cancel(self.job_id).status_code)
        self.wait_for(self.job_id, "canceling")
        relay.release()
        self._assert_clean(self.job_id)

    def _hold_in_upload(self, **properties: object) -> proxy.Proxy:
        relay = self.relay("ot2")
        relay.hold_after(1_000_000, UPLOAD)
        self.job_id = self._begin(**properties)
        self._worker()
        self.assertTrue(relay.wait_until_held(direction=UPLOAD))
        return relay

    def test_while_it_is_set_protected(self) -> None:
        """A protected image is removed as well."""
        relay = self._hold_in_upload(protected=True)
        relay.hold_after(700, DOWNLOAD)
        relay.release(UPLOAD)
        self.assertTrue(relay.wait_until_held(direction=DOWNLOAD))
        image_id = self.job(self.job_id)["destination_image_id"]
        # The row looks as if the worker had come this far.
        self.cloud.images("ot2", "alice", "destination").update(
            image_id, protected=True
        )
        self.assertEqual(204, self.cancel(self.job_id).status_code)
        self.wait_for(self.job_id, "canceling")
        relay.release()
        self._assert_clean(self.job_id)

    def test_twice(self) -> None:
        job_id = self._begin()
        self.assertEqual(204, self.cancel(job_id).status_code)
        self.assertEqual(409, self.cancel(job_id).status_code)
        self._worker()
        self._assert_clean(job_id)
        self.assertEqual(409, self.cancel(job_id).status_code)
