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

"""A copy fails: the job has the reason, and its image is removed."""

from typing import Any

from devcloud import proxy
from image_replicator.tests.functional.cloud import base

DOWNLOAD = proxy.Direction.DOWNLOAD
UPLOAD = proxy.Direction.UPLOAD
DATA = bytes(range(256)) * 65536


class TestFailures(base.CloudTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.before = set(self.images_in("ot2"))

    def _begin(self, **overrides: Any) -> str:
        image = self.cloud.images("ot1").create(DATA)
        overrides.setdefault("transfer", {}).setdefault("chunk_size", 65536)
        self.start_worker(**overrides)
        return self.ask_for_copy(image["id"])

    def _assert_failed(self, job_id: str, code: str) -> Any:
        job = self.wait_for(job_id, "error", "replicated", "canceled")
        self.assertEqual("error", job["status"])
        row = self.job_row(job_id)
        self.assertEqual(code, row.error_code)
        return row

    def _assert_failed_cleanly(self, job_id: str, code: str) -> str:
        row = self._assert_failed(job_id, code)
        self.wait_until_clean(job_id, self.before)
        message: str = row.error_message
        return message

    def _begin_with_a_source_that_goes_down(self, relay: proxy.Proxy) -> str:
        """Begin a copy, and stop the source during it."""
        relay.hold_after(1_000_000)
        job_id = self._begin()
        self.assertTrue(relay.wait_until_held())
        relay.refuse()
        relay.cut()
        return job_id

    def test_the_source_goes_down(self) -> None:
        job_id = self._begin_with_a_source_that_goes_down(self.relay("ot1"))
        message = self._assert_failed_cleanly(job_id, "source_unreachable")
        self.assertIn("ot1", message)

    def test_the_destination_takes_no_more(self) -> None:
        relay = self.relay("ot2")
        relay.hold_after(1_000_000, UPLOAD)
        job_id = self._begin(transfer={"connect_timeout": 0.5})
        self._assert_failed_cleanly(job_id, "destination_unreachable")

    def test_the_destination_s_limits(self) -> None:
        """It allows 128 properties; the source had a higher limit."""
        image = self.cloud.images("ot1").create()
        self.stamp(image["id"], {f"key_{n}": "v" for n in range(129)})
        self.start_worker()
        job_id = self.ask_for_copy(image["id"])
        message = self._assert_failed_cleanly(
            job_id, "destination_quota_exceeded"
        )
        self.assertIn("129", message)

    def test_the_destination_goes_down(self) -> None:
        """The image is removed once the destination serves again."""
        relay = self.relay("ot2")
        relay.hold_after(1_000_000, UPLOAD)
        job_id = self._begin()
        self.assertTrue(relay.wait_until_held(direction=UPLOAD))
        relay.refuse()
        relay.cut()
        row = self._assert_failed(job_id, "destination_unreachable")
        left = set(self.images_in("ot2")) - self.before
        self.assertEqual({row.reserved_image_id}, left)
        relay.refuse(False)
        relay.release()
        self.wait_until_clean(job_id, self.before)

    def test_the_destination_is_down_when_a_copy_is_canceled(self) -> None:
        relay = self.relay("ot2")
        relay.hold_after(1_000_000, UPLOAD)
        job_id = self._begin()
        self.assertTrue(relay.wait_until_held(direction=UPLOAD))
        relay.refuse()
        self.assertEqual(204, self.cancel(job_id).status_code)
        # The removal has failed, and any worker tries it again.
        self.wait_until(
            lambda: self.job_row(job_id).retry_at is not None, "put off"
        )
        self.assertEqual("canceling", self.job(job_id)["status"])
        relay.refuse(False)
        relay.release()
        self.wait_for(job_id, "canceled")
        self.wait_until_clean(job_id, self.before)
