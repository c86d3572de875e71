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

"""A worker registers, sweeps, renews leases, and records its copies."""

import hashlib
import threading
from collections.abc import Sequence
from typing import Any

import fixtures
import sqlalchemy as sa
from oslo_db import exception as db_exc
from oslo_utils import uuidutils

from image_replicator import jobs
from image_replicator.db import models
from image_replicator.db import times
from image_replicator.images import connections
from image_replicator.tests.unit import glances
from image_replicator.tests.unit.worker import base
from image_replicator.tests.unit.worker import test_worker
from image_replicator.worker import worker

#: Words of the two lines that the log has on an outage.
WORDS = ("does not serve us", "serves us again")


class TestRegistration(test_worker.WorkerProcessTestCase):
    def _seen(self) -> list[str]:
        return [listed.worker.id for listed in self.stores.workers.list()]

    def test_operators_see_it_while_it_is_there(self) -> None:
        self.start()
        self.wait_until(self._seen, "a sign of life")
        ((entry, _silent, working_on),) = self.stores.workers.list()
        self.assertEqual(
            (self.worker.worker_id, "here", 4, None, []),
            (
                entry.id,
                entry.host,
                entry.concurrency,
                entry.destination_regions,
                working_on,
            ),
        )
        self.worker.stop()
        self.assert_ends()
        self.assertEqual([], self._seen())

    def test_operators_see_what_it_does(self) -> None:
        self.set(destination_regions=["ot2", "ot3"])
        self.worker = worker.Worker(self.conf, self.stores, self.session)
        gate = self.hold_upload()
        job_id = self.new_job()
        self.start()
        self.assertTrue(gate.reached.wait(base.PATIENCE))
        self.wait_until(self._seen, "a sign of life")
        ((entry, _silent, working_on),) = self.stores.workers.list()
        self.assertEqual("ot2,ot3", entry.destination_regions)
        self.assertEqual([job_id], working_on)
        gate.open()

    def test_a_farewell_that_fails_does_not_keep_it(self) -> None:
        self.disturb(
            self.stores.workers, "unregister", db_exc.DBConnectionError()
        )
        self.start()
        self.wait_until(self._seen, "a sign of life")
        self.worker.stop()
        self.assert_ends()


class TestSweep(test_worker.WorkerProcessTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.set(retry_max_delay=0.05)
        self.worker = worker.Worker(self.conf, self.stores, self.session)

    def test_a_left_image_is_removed_once_that_is_possible(self) -> None:
        self.destination.on("PUT", "file", glances.saying(413))
        self.destination.on("DELETE", "image", glances.saying(500))
        job_id = self.new_job()
        self.start()
        row = self.wait_for(job_id, "error", "replicated")
        self.assertEqual(
            ("destination_quota_exceeded", row.destination_image_id),
            (row.error_code, row.reserved_image_id),
        )
        tried = self.destination.count("DELETE", "image")
        self.wait_until(
            lambda: self.destination.count("DELETE", "image") > tried + 2,
            "another try",
        )
        self.assertIn("still cannot be removed", self.logger.output)
        self.destination.on("DELETE", "image", self.destination.behave)
        self.wait_until(
            lambda: self.stores.jobs.get(job_id).reserved_image_id is None,
            "swept",
        )
        self.assertEqual({}, self.destination.images)
        row = self.stores.jobs.get(job_id)
        self.assertEqual(
            ("error", None), (row.status, row.destination_image_id)
        )

    def test_a_sweep_that_fails_does_not_end_the_rest(self) -> None:
        swept = self.disturb(
            self.stores.leftovers, "find", RuntimeError("unforeseen")
        )
        self.start()
        self.wait_until(lambda: swept.call_count > 1, "a second sweep")
        job_id = self.new_job()
        self.stores.jobs.request_cancel(job_id)
        self.wait_for(job_id, "canceled")


class TestOutage(test_worker.WorkerProcessTestCase):
    #: The calls to the database of a worker while a copy runs.
    METHODS = (
        "queue.claim_next",
        "queue.claim_canceled",
        "owned.record_progress",
        "queue.release_expired",
        "workers.register",
        "leftovers.find",
    )

    def setUp(self) -> None:
        super().setUp()
        self.away = threading.Event()
        self.asked = dict.fromkeys(self.METHODS, 0)
        for name in self.METHODS:
            self._let_fail(name)

    def _let_fail(self, name: str) -> None:
        store_name, method_name = name.split(".")
        store = getattr(self.stores, store_name)
        method = getattr(store, method_name)

        def ask(*args: Any, **kwargs: Any) -> Any:
            if self.away.is_set():
                self.asked[name] += 1
                raise db_exc.DBConnectionError("away")
            return method(*args, **kwargs)

        self.useFixture(fixtures.MockPatchObject(store, method_name, ask))

    def test_a_duty_without_a_call_does_not_end_an_outage(self) -> None:
        """An idle worker makes no call, so it cannot know the database."""
        self.start()
        self.away.set()
        self._assert_told_no_more("queue.claim_next")

    def _assert_told_no_more(self, *names: str) -> None:
        """Check that repeated calls log nothing more."""
        self._wait_for_tries(names, 5)
        # All calls that began before have ended by now.
        told = [self.logger.output.count(words) for words in WORDS]
        self.assertGreater(told[0], 0)
        self._wait_for_tries(names, 20)
        self.assertEqual(
            told, [self.logger.output.count(words) for words in WORDS]
        )

    def _wait_for_tries(self, names: Sequence[str], number: int) -> None:
        self.wait_until(
            lambda: min(self.asked[name] for name in names) >= number,
            f"{number} tries",
        )

    def test_it_is_told_once_and_no_copy_minds_it(self) -> None:
        gate = self.hold_upload()
        job_id = self.new_job()
        self.start()
        self.assertTrue(gate.reached.wait(base.PATIENCE))
        self.away.set()
        self._assert_told_no_more("queue.claim_next", "owned.record_progress")
        self.away.clear()
        self.wait_until(lambda: WORDS[1] in self.logger.output, "its return")
        gate.open()
        row = self.wait_for(job_id, "replicated", "error")
        self.assertEqual(("replicated", 1), (row.status, row.attempts))
        self.assertNotIn("Traceback", self.logger.output)


class TestLeases(test_worker.WorkerProcessTestCase):
    def _lose(self, job_id: str) -> None:
        """Let another worker claim a job, and expire the lease."""
        claimed = self.stores.queue.claim_next("another")
        assert claimed
        self.stores.owned.reserve_image(claimed[1], uuidutils.generate_uuid())
        self._expire()

    def _expire(self) -> None:
        """Expire all leases."""
        with self.stores.database.engine.begin() as connection:
            connection.execute(
                sa.update(models.Job).values(
                    lease_expires_at=times.from_now(-1)
                )
            )

    def _seconds_left(self, job_id: str) -> float:
        """Return the seconds that a job's lease still lasts."""
        with self.stores.database.engine.connect() as connection:
            now = connection.scalars(sa.select(times.utcnow())).one()
        lease = self.stores.jobs.get(job_id).lease_expires_at
        assert lease
        return (lease - now).total_seconds()

    def test_a_lost_worker_s_job_is_done(self) -> None:
        self.set(max_attempts=2)
        self.worker = worker.Worker(self.conf, self.stores, self.session)
        job_id = self.new_job()
        self._lose(job_id)
        self.start()
        row = self.wait_for(job_id, "replicated", "error")
        self.assertEqual(("replicated", 2), (row.status, row.attempts))

    def test_a_lost_job_that_is_claimed_again_is_kept(self) -> None:
        """The end of the lost copy does not touch the copy that runs."""
        heartbeats = self.disturb(self.stores.owned, "record_progress")
        beat = heartbeats.side_effect
        # With this, the worker does not notice too early that it lost the job.
        heartbeats.side_effect = db_exc.DBError
        gate = self.hold_upload()
        job_id = self.new_job()
        self.start()
        self.assertTrue(gate.reached.wait(base.PATIENCE))
        self.stores.owned.give_back(
            jobs.Claim(
                job_id=job_id, worker_id=self.worker.worker_id, claim_number=1
            )
        )
        self.wait_until(
            lambda: self.destination.count("POST", "images") == 2,
            "a copy by a new claim",
        )
        heartbeats.side_effect = beat
        self.wait_until(
            lambda: "is not ours any more" in self.logger.output,
            "an end of the lost copy",
        )
        self._expire()
        self.wait_until(
            lambda: self._seconds_left(job_id) > 0, "a renewed lease"
        )
        gate.open()
        row = self.wait_for(job_id, "replicated", "error")
        self.assertEqual(("replicated", 2), (row.status, row.claim_number))
        self.assertEqual(
            [row.destination_image_id], list(self.destination.images)
        )

    def test_a_job_that_costs_every_worker_ends(self) -> None:
        job_id = self.new_job()
        self._lose(job_id)
        self.start()
        row = self.wait_for(job_id, "replicated", "error")
        self.assertEqual("attempts_exhausted", row.error_code)
        self.assertIsNone(row.reserved_image_id)
        self.assertEqual([], self.source.seen)

    def test_a_cancelation_that_takes_long_keeps_its_lease(self) -> None:
        gate = base.Gate(self)
        self.destination.on(
            "DELETE", "image", gate.before(self.destination.behave)
        )
        job_id = self.new_job()
        self._lose(job_id)
        self.stores.jobs.request_cancel(job_id)
        self.start()
        self.assertTrue(gate.reached.wait(base.PATIENCE))
        leases = set()

        def renewed() -> bool:
            leases.add(self.stores.jobs.get(job_id).lease_expires_at)
            return len(leases) > 3

        self.wait_until(renewed, "a lease that is renewed")
        self.assertEqual("canceling", self.stores.jobs.get(job_id).status)
        gate.open()
        self.wait_for(job_id, "canceled")

    def test_a_copy_finds_out_that_it_is_another_s(self) -> None:
        def lose(handler: glances.Handler) -> None:
            with self.stores.database.engine.begin() as connection:
                connection.execute(
                    sa.update(models.Job).values(worker_id="another")
                )
            self.source.behave(handler)

        self.source.on("GET", "image", lose)
        self.new_job()
        self.start()
        self.wait_until(
            lambda: "is not ours any more" in self.logger.output, "its end"
        )
        self.assertEqual([], self.destination.seen)


class TestCopies(test_worker.WorkerProcessTestCase):
    def test_the_hashes_of_a_copy_are_kept(self) -> None:
        job_id = self.new_job()
        self.start()
        row = self.wait_for(job_id, "replicated", "error")
        value = hashlib.sha512(base.DATA).hexdigest()
        self.assertEqual(
            ("sha512", value, value),
            (
                row.verification_algorithm,
                row.verification_source,
                row.verification_destination,
            ),
        )
        self.assertGreater(row.bytes_per_second or 0, 0)

    def test_one_after_the_other_has_the_same_connections(self) -> None:
        self.set(concurrency=1)
        made = self.useFixture(
            fixtures.MockPatchObject(
                connections, "Connections", wraps=connections.Connections
            )
        ).mock
        job_ids = [self.new_job() for _ in range(4)]
        self.start()
        for job_id in job_ids:
            self.wait_for(job_id, "replicated")
        self.assertEqual(1, made.call_count)

    def test_copies_share_the_buffer(self) -> None:
        self.set(buffer_size=80 << 20)
        self.conf.set_override("window_size", 64 << 20, "transfer")
        process = worker.Worker(self.conf, self.stores, self.session)
        attempts = process._attempts
        for _ in range(2):
            self.new_job()
        copies, shares = [], []
        for _ in range(2):
            copies.append(attempts.new(*self.claim()))
            shares.append(copies[-1]._memory.share())
        for copy in copies:
            attempts.close(copy)
            shares.append(copy._memory.share())
        self.assertEqual([64, 40, 64, 64], [share >> 20 for share in shares])
