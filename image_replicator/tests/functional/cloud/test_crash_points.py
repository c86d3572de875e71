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

"""A worker dies between any two steps; each job still ends right.

A step is a call to the database or to an image service; see
:mod:`devcloud.doomed_worker`.
"""

import signal
from typing import Any
from typing import Final

from devcloud import doomed_worker
from devcloud import process
from devcloud import proxy
from image_replicator.tests.functional.cloud import base

DATA: Final = bytes(range(256)) * 4096

#: The steps of an undisturbed copy, in order.
COPY: Final = (
    "after queue.claim_next",
    "before images.show",
    "after images.show",
    "before owned.reserve_image",
    "after owned.reserve_image",
    "before images.create",
    "after images.create",
    "before owned.image_created",
    "after owned.image_created",
    "before images.upload",
    "before images.download",
    "after images.download",
    "within images.upload",
    "after images.upload",
    "before images.renew_right",
    "after images.renew_right",
    "before images.change",
    "after images.change",
    "before owned.finish",
    "after owned.finish",
)

#: The steps of a copy that finds another attempt's image.
RESCUE: Final = (
    "before queue.release_expired",
    "before images.remove",
    "after images.remove",
    "before owned.image_removed",
    "after owned.image_removed",
)

#: The steps of a copy that is canceled while it runs.
CANCEL: Final = (
    "before owned.begin_cancel",
    "after owned.begin_cancel",
    "before owned.finish_cancel",
    "after owned.finish_cancel",
)

#: The steps of a job that was canceled while it had no owner.
CANCEL_UNOWNED: Final = ("after queue.claim_canceled",)

#: The steps of a copy whose source image is gone.
FAIL: Final = ("before owned.fail", "after owned.fail")

#: The steps of a copy that fails for a reason that passes.
RETRY: Final = ("before owned.retry", "after owned.retry")

#: The steps of a copy whose worker is told to stop.
STOP: Final = (
    "before owned.give_back",
    "after owned.give_back",
    "before workers.unregister",
)

#: The steps of a copy that is not needed, as the image is there by now.
SKIP: Final = ("before owned.skip", "after owned.skip")

#: Steps that do not change a job's end: reads, regular calls, and calls that
#: only other processes make.
HARMLESS: Final = {
    "queue.promote",
    "images.download_piece",
    "images.find_present",
    "workers.forget_silent",
    "owned.get",
    "owned.record_progress",
    "owned.renew",
    "workers.register",
    "images.list_tagged",
    "authorities.get",
    "authorities.sweep",
    "replicas.choose",
    "routes.to",
    "routes.record",
}

#: Steps of a clean-up that another worker continues. The worker's unit tests
#: cover these, as they need an image service that does not answer.
TAKEN_UP: Final = {
    "leftovers.record_removed",
    "leftovers.find",
    "owned.postpone_cancel",
}

#: Steps that only operators' commands make.
NOT_OURS: Final = {"workers.list"}


class TestCrashPoints(base.CloudTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.before = self._images()
        self.image_ids: dict[str, str] = {}

    def _start(self, point: str = "", **options: Any) -> process.Process:
        """Start a worker that dies at a point, or, with None, a normal one."""
        worker = {
            "lease_time": 2,
            "max_attempts": 50,
            "retry_delay": 0.1,
            "poll_interval": 0.1,
            **options,
        }
        command = [*process.python_module(doomed_worker.__name__), point]
        started = self.cloud.start_worker(
            command=command if point else (),
            worker=worker,
            transfer={"max_streams": 1},
        )
        self.addCleanup(self._stop_worker, started)
        return started

    def _images(self) -> set[str]:
        """Return the destination's usable images.

        Glance may keep listing an image as ``deleted``, if its upload is
        broken off while it is deleted.
        """
        return {
            image_id
            for image_id, image in self.images_in("ot2").items()
            if image["status"] != "deleted"
        }

    def _come_to_the_middle(self, relay: proxy.Proxy) -> str:
        """Request a copy, and let it send half of the data."""
        relay.hold_after(len(DATA) // 2, proxy.Direction.UPLOAD)
        return self._ask()

    def _is_in_the_middle(self, job_id: str, relay: proxy.Proxy) -> None:
        self.wait_until(
            lambda: self.job_row(job_id).destination_image_id, "an image"
        )
        self.assertTrue(
            relay.wait_until_held(direction=proxy.Direction.UPLOAD)
        )

    def _ask(self) -> str:
        image_id = self.cloud.images("ot1").create(DATA)["id"]
        job_id = self.ask_for_copy(image_id)
        self.image_ids[job_id] = image_id
        return job_id

    def _die(self, worker: process.Process, point: str) -> None:
        """Check that the worker died at its point."""
        self.assertEqual(
            -signal.SIGKILL, worker.wait(base.PATIENCE), f"{point}"
        )

    def _assert_replicated(self, job_ids: list[str]) -> None:
        """Check that each job has its image, and no other image exists."""
        images = {}
        for job_id in job_ids:
            job = self.wait_for(job_id, "replicated", "error", "canceled")
            row = self.job_row(job_id)
            self.assertEqual("replicated", row.status, f"{row}")
            images[job["destination_image_id"]] = job
            self.assertIsNone(row.reserved_image_id)
        copies = self.cloud.images("ot2", "alice", "destination")
        for image_id in images:
            self.assertEqual(DATA, copies.read(image_id))
        self.assertEqual(set(images), self._images() - self.before)

    def _assert_nothing_left(self, job_ids: list[str], status: str) -> None:
        for job_id in job_ids:
            self.wait_for(job_id, "replicated", "error", "canceled")
            row = self.job_row(job_id)
            self.assertEqual(status, row.status, f"{row}")
            self.wait_until(
                lambda job_id=job_id: (  # type: ignore[misc]
                    self.job_row(job_id).reserved_image_id is None
                ),
                "clean",
            )
        self.assertEqual(self.before, self._images())

    def test_every_step_has_its_points(self) -> None:
        points = (
            *COPY,
            *RESCUE,
            *CANCEL,
            *CANCEL_UNOWNED,
            *FAIL,
            *RETRY,
            *STOP,
            *SKIP,
        )
        covered = {point.split(" ")[1] for point in points}
        steps = set[str]().union(
            *(doomed_worker.steps(owner) for owner in doomed_worker.OWNERS)
        )
        self.assertEqual(steps, covered | HARMLESS | TAKEN_UP | NOT_OURS)

    def test_a_copy_and_its_rescue(self) -> None:
        job_ids = []
        for point in (*COPY, *RESCUE):
            # There are jobs of the workers before to be rescued.
            job_ids.append(self._ask())
            self._die(self._start(point), point)
        self._start()
        self._assert_replicated(job_ids)

    def test_a_copy_that_is_not_needed(self) -> None:
        there = self.cloud.images("ot2", "alice", "destination")
        for point in SKIP:
            data = point.encode()
            body = {
                "image_id": self.cloud.images("ot1").create(data)["id"],
                "tenant_id_dst": self.cloud.project_id("destination"),
                "if_present": "skip",
            }
            reply = self.request_1_2("POST", "/jobs", json=body)
            job_id = reply.json()["job_id"]
            image_id = there.create(data)["id"]
            self._die(self._start(point), point)
            self._let_another_end_it(job_id)
            row = self.job_row(job_id)
            self.assertEqual(
                ("replicated", True, image_id),
                (row.status, row.skipped, row.destination_image_id),
            )

    def _let_another_end_it(self, job_id: str) -> None:
        """Run another worker until the job is over."""
        other = self._start()
        self.wait_for(job_id, "replicated", "error", "canceled")
        other.stop()

    def test_a_cancel(self) -> None:
        relay = self.relay("ot2")
        job_ids = []
        for point in CANCEL:
            job_ids.append(self._come_to_the_middle(relay))
            worker = self._start(point)
            self._is_in_the_middle(job_ids[-1], relay)
            self.assertEqual(204, self.cancel(job_ids[-1]).status_code)
            self._die(worker, point)
            relay.release()
            self._let_another_end_it(job_ids[-1])
        for point in CANCEL_UNOWNED:
            job_ids.append(self._ask())
            self.assertEqual(204, self.cancel(job_ids[-1]).status_code)
            self._die(self._start(point), point)
            self._let_another_end_it(job_ids[-1])
        self._assert_nothing_left(job_ids, "canceled")

    def test_a_failure(self) -> None:
        job_ids = []
        for point in FAIL:
            job_ids.append(self._ask())
            self.cloud.images("ot1").delete(self.image_ids[job_ids[-1]])
            self._die(self._start(point), point)
            self._let_another_end_it(job_ids[-1])
        self._assert_nothing_left(job_ids, "error")

    def test_a_retry(self) -> None:
        relay = self.relay("ot2")
        job_ids = []
        for point in RETRY:
            job_ids.append(self._come_to_the_middle(relay))
            worker = self._start(point)
            self._is_in_the_middle(job_ids[-1], relay)
            relay.cut()
            relay.release()
            self._die(worker, point)
            self._let_another_end_it(job_ids[-1])
        self._assert_replicated(job_ids)

    def test_a_stop(self) -> None:
        relay = self.relay("ot2")
        job_ids = []
        for point in STOP:
            job_ids.append(self._come_to_the_middle(relay))
            worker = self._start(point, graceful_timeout=0)
            self._is_in_the_middle(job_ids[-1], relay)
            worker.terminate()
            self._die(worker, point)
            relay.release()
            self._let_another_end_it(job_ids[-1])
        self._assert_replicated(job_ids)
