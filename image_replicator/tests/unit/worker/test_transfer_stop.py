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

"""A copy can be stopped at each of its steps."""

from concurrent import futures
from typing import Any

import fixtures

from image_replicator import exception
from image_replicator.tests.unit import glances
from image_replicator.tests.unit.worker import base
from image_replicator.tests.unit.worker import test_transfer
from image_replicator.worker import outcome
from image_replicator.worker import transfer

DATA = base.DATA
StopReason = outcome.StopReason


class TestStop(test_transfer.TransferTestCase):
    """A copy stops at each of its steps, with the reason."""

    def _stop_at(
        self, glance: glances.FakeGlance, method: str, kind: str
    ) -> None:
        """Stop the copy while a request waits for its answer."""

        def stop(handler: glances.Handler) -> None:
            if handler.command == "PUT":
                handler.rfile.read(1000)
            self.copy.stop(StopReason.CANCELED)
            gate.wait()

        gate = base.Gate(self)
        glance.on(method, kind, stop)
        self.begin(DATA * 64, protected=True)
        stopped = self.assertRaises(transfer.Stopped, self.copy.run)
        self.assertIs(StopReason.CANCELED, stopped.reason)

    def test_before_it_begins(self) -> None:
        self.begin()
        self.copy.stop(StopReason.SHUTDOWN)
        stopped = self.assertRaises(transfer.Stopped, self.copy.run)
        self.assertIs(StopReason.SHUTDOWN, stopped.reason)
        self.assertEqual([], self.destination.seen)

    def test_while_the_source_shows_the_image(self) -> None:
        self._stop_at(self.source, "GET", "image")
        self.assertEqual([], self.destination.seen)

    def test_while_the_image_is_created(self) -> None:
        self._stop_at(self.destination, "POST", "images")
        row = self.stores.jobs.get(self.job.id)
        self.assertIsNotNone(row.reserved_image_id)

    def test_between_reserving_the_id_and_creating_the_image(self) -> None:
        def stop(*args: Any) -> None:
            reserve(*args)
            self.copy.stop(StopReason.SHUTDOWN)

        reserve = self.stores.owned.reserve_image
        self.useFixture(
            fixtures.MockPatchObject(self.stores.owned, "reserve_image", stop)
        )
        self.begin()
        self.assertRaises(transfer.Stopped, self.copy.run)
        self.assertEqual({}, self.destination.images)

    def test_while_the_source_begins_to_send(self) -> None:
        self._stop_at(self.source, "GET", "file")

    def test_while_the_source_sends(self) -> None:
        def stall(handler: glances.Handler) -> None:
            handler.answer(200, DATA, {"Content-Length": 64 * len(DATA)})
            self.wait_until(lambda: self.copy.bytes_copied, "progress")
            self.copy.stop(StopReason.CANCELED)
            gate.wait()

        gate = base.Gate(self)
        self.source.on("GET", "file", stall)
        self.begin(DATA * 64)
        self.assertRaises(transfer.Stopped, self.copy.run)

    def test_while_the_destination_takes_no_more(self) -> None:
        self._stop_at(self.destination, "PUT", "file")

    def test_while_the_destination_does_not_answer(self) -> None:
        def stop(handler: glances.Handler) -> None:
            handler.body()
            self.copy.stop(StopReason.CANCELED)
            gate.wait()

        gate = base.Gate(self)
        self.destination.on("PUT", "file", stop)
        self.begin()
        self.assertRaises(transfer.Stopped, self.copy.run)

    def test_while_it_is_verified(self) -> None:
        self._stop_at(self.destination, "GET", "image")

    def test_while_it_is_read_back(self) -> None:
        self.destination.algorithm = "sha256"
        self._stop_at(self.destination, "GET", "file")

    def test_while_it_is_protected(self) -> None:
        self._stop_at(self.destination, "PATCH", "image")

    def test_the_first_reason_counts(self) -> None:
        self.begin()
        self.copy.stop(StopReason.CANCELED)
        self.copy.stop(StopReason.SHUTDOWN)
        stopped = self.assertRaises(transfer.Stopped, self.copy.run)
        self.assertIs(StopReason.CANCELED, stopped.reason)

    def test_a_stop_after_the_end_changes_nothing(self) -> None:
        self.begin()
        self.copy.run()
        self.copy.stop(StopReason.SHUTDOWN)
        self.assertEqual(DATA, self.image()["_data"])

    def test_a_failure_that_is_no_stop_stays_one(self) -> None:
        self.begin()
        self.source.images.clear()
        self.assert_fails("source_not_found")
        self.copy.stop(StopReason.CANCELED)

    def test_a_claim_that_is_lost_is_found_out(self) -> None:
        def lose(handler: glances.Handler) -> None:
            self.stores.owned.give_back(self.claimed)
            self.stores.queue.claim_next("another")
            self.source.behave(handler)

        self.source.on("GET", "image", lose)
        self.begin()
        self.assertRaises(exception.ClaimLost, self.copy.run)
        self.assertEqual({}, self.destination.images)


class TestLog(test_transfer.TransferTestCase):
    """The log has no error of a service whose connections we break off."""

    READERS = 4
    WINDOW = 64 << 20

    def setUp(self) -> None:
        super().setUp()
        for name in ("min_streams", "max_streams"):
            self.conf.set_override(name, self.READERS, "transfer")
        self.gate = base.Gate(self)
        self.source.on("GET", "file", self._stall)
        self.begin(DATA * 64)

    def _stall(self, handler: glances.Handler) -> None:
        """Send only the beginning of the range that was asked for.

        The part is longer than the reserve, so that other readers begin.
        """
        wanted = handler.headers["Range"].removeprefix("bytes=")
        first, last = (int(number) for number in wanted.split("-"))
        headers = {
            "Content-Length": last + 1 - first,
            "Content-Range": f"bytes {wanted}/{len(DATA) * 64}",
        }
        handler.answer(206, DATA[: last + 1 - first], headers)
        self.gate.wait()

    def _wait_for_readers(self) -> None:
        self.wait_until(
            lambda: self.source.count("GET", "file") >= self.READERS,
            "all readers",
        )

    def _assert_nobody_blamed(self) -> None:
        for words in ("does not answer", "broke off", "up again", "Traceback"):
            self.assertNotIn(words, self.logger.output)

    def test_a_stop_blames_nobody(self) -> None:
        with futures.ThreadPoolExecutor(1) as pool:
            running = pool.submit(self.copy.run)
            self._wait_for_readers()
            self.copy.stop(StopReason.SHUTDOWN)
            error = running.exception(base.PATIENCE)
        self.assertIsInstance(error, transfer.Stopped)
        self._assert_nobody_blamed()

    def test_a_failure_blames_only_what_failed(self) -> None:
        def refuse(handler: glances.Handler) -> None:
            if self.source.count("GET", "file") < self.READERS:
                self._stall(handler)
            else:
                handler.answer(404)

        self.source.on("GET", "file", refuse)
        self.assert_fails("source_not_found")
        self._assert_nobody_blamed()
