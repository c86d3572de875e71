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

"""Reading the source over broken connections, and over several."""

import time

from devcloud import process
from devcloud import proxy
from image_replicator.tests.functional.cloud import base

DATA = bytes(range(256)) * 65536
MEBIBYTE = 1024 * 1024


class StreamsTestCase(base.CloudTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.image = self.cloud.images("ot1").create(DATA)

    def assert_replicated(self, job_id: str) -> None:
        """Check that the first attempt copied the right bytes."""
        job = self.wait_for(job_id, "replicated", "error")
        self.assertEqual("replicated", job["status"])
        row = self.job_row(job_id)
        self.assertEqual(1, row.attempts)
        copies = self.cloud.images("ot2", "alice", "destination")
        self.assertEqual(DATA, copies.read(job["destination_image_id"]))
        shown = self.images_in("ot2")[job["destination_image_id"]]
        self.assertEqual(
            (
                self.image_hash(),
                shown["os_hash_value"],
                shown["os_hash_algo"],
            ),
            (
                row.verification_source,
                row.verification_destination,
                row.verification_algorithm,
            ),
        )
        self.assertGreater(row.bytes_per_second, 0)

    def image_hash(self) -> str:
        shown = self.images_in("ot1")[self.image["id"]]
        value: str = shown["os_hash_value"]
        return value


class TestResume(StreamsTestCase):
    """The upload stays open, and reading continues at the missing byte."""

    def test_a_source_that_breaks_off_again_and_again(self) -> None:
        relay = self.relay("ot1")
        relay.hold_after(MEBIBYTE)
        worker = self.start_worker()
        job_id = self.ask_for_copy(self.image["id"])
        while self.job(job_id)["status"] not in ("replicated", "error"):
            if relay.wait_until_held(timeout=0.2):
                relay.cut()
        self.assert_replicated(job_id)
        self.assertGreaterEqual(_taken_up_again(worker), 10)

    def test_a_source_that_falls_silent_again_and_again(self) -> None:
        relay = self.relay("ot1")
        relay.hold_after(3 * MEBIBYTE)
        worker = self.start_worker(transfer={"read_timeout": 1})
        job_id = self.ask_for_copy(self.image["id"])
        self.assert_replicated(job_id)
        self.assertGreaterEqual(_taken_up_again(worker), 3)

    def test_a_source_that_is_down_for_a_moment(self) -> None:
        relay = self.relay("ot1")
        relay.hold_after(MEBIBYTE)
        worker = self.start_worker()
        job_id = self.ask_for_copy(self.image["id"])
        self.assertTrue(relay.wait_until_held())
        relay.refuse()
        relay.cut()
        self.wait_until(
            lambda: _taken_up_again(worker) >= 3, "several tries in vain"
        )
        relay.refuse(False)
        relay.release()
        self.assert_replicated(job_id)


def _taken_up_again(worker: process.Process) -> int:
    """Return how often a worker has resumed reading."""
    return worker.log_path.read_text().count("Taking it up again.")


class TestSeveral(StreamsTestCase):
    def _copy(self) -> str:
        self.worker = self.start_worker(
            transfer={"min_streams": 4, "max_streams": 4}
        )
        return self.ask_for_copy(self.image["id"])

    def test_all_of_them_break(self) -> None:
        relay = self.relay("ot1")
        relay.hold_after(MEBIBYTE // 2)
        job_id = self._copy()
        self.assertTrue(relay.wait_until_held(4))
        relay.cut()
        self.assertTrue(relay.wait_until_held(4))
        relay.release()
        self.assert_replicated(job_id)
        self.assertGreaterEqual(_taken_up_again(self.worker), 4)

    def test_as_many_as_pay(self) -> None:
        """A source with slow connections gets more of them."""
        relay = self.relay("ot1")
        relay.throttle(MEBIBYTE, proxy.Direction.DOWNLOAD)
        self.start_worker(transfer={"max_streams": 8})
        job_id = self.ask_for_copy(self.image["id"])
        most = 0
        while self.job(job_id)["status"] not in ("replicated", "error"):
            most = max(most, relay.connections)
        # The best number depends on the load of the machine.
        self.assertGreaterEqual(most, 2)
        self.assert_replicated(job_id)


class TestBandwidth(StreamsTestCase):
    """The limit does not apply to the first quarter of a second."""

    LIMIT = 4 * MEBIBYTE

    def _assert_took(self, began: float, n_bytes: int) -> None:
        seconds = time.monotonic() - began
        self.assertGreaterEqual(seconds, n_bytes / self.LIMIT - 0.5)

    def test_all_copies_of_a_worker(self) -> None:
        other = self.cloud.images("ot1").create(DATA)
        self.start_worker(
            worker={"bandwidth_limit": self.LIMIT, "max_attempts": 9}
        )
        began = time.monotonic()
        job_ids = [
            self.ask_for_copy(image["id"]) for image in (self.image, other)
        ]
        for job_id in job_ids:
            job = self.wait_for(job_id, "replicated", "error")
            self.assertEqual("replicated", job["status"])
        self._assert_took(began, 2 * len(DATA))
