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

"""Leases on nodes whose clocks differ, and the warnings about it."""

import contextlib
import io
import json
import logging
import pathlib
import time
from concurrent import futures
from typing import Any

import fixtures
from keystoneauth1 import session
from oslo_config import cfg
from oslo_upgradecheck import upgradecheck

from devcloud import galera_node
from image_replicator.cmd import status
from image_replicator.db import clock
from image_replicator.db import migration
from image_replicator.db import stores
from image_replicator.jobs import JobStatus
from image_replicator.tests.functional.db import base as db_base
from image_replicator.tests.functional.galera import base
from image_replicator.worker import worker as worker_worker

#: Seconds.
TOLERANCE = 4.0
OPTIONS: dict[str, Any] = {"lease_time": 20.0, "progress_interval": 4.0}


class TestClock(base.Galera):
    """Tests with a wrong clock on the third node."""

    def _set_clock(
        self, seconds: float
    ) -> tuple[stores.Stores, stores.Stores]:
        """Set the third node's clock ahead.

        :returns: stores at the first node, and at the third.
        """
        galera_node.require_faketime()
        node = self.cluster.nodes[2]
        self.addCleanup(node.set_clock, 0)
        node.set_clock(seconds)
        right = self.new_stores(self.urls[0], **OPTIONS)
        wrong = self.new_stores(self.urls[2], **OPTIONS)
        migration.upgrade(right.database.engine)
        return right, wrong

    def _claim(self, opened: stores.Stores) -> str:
        """Claim a job for a worker; return the job's id."""
        job_id = opened.jobs.create(db_base.new_job())
        opened.queue.claim_next("worker")
        return job_id

    def test_a_clock_is_compared_with_ours(self) -> None:
        for opened, name, ahead in zip(
            self._set_clock(-100), ("node-1", "node-3"), (0, -100), strict=True
        ):
            found = clock.read(opened.database)
            assert found is not None
            self.assertEqual(name, found.node)
            self.assertLess(abs(found.ahead - ahead), 1)

    def test_a_tolerated_difference_expires_no_lease(self) -> None:
        self.assertEqual(TOLERANCE, clock.tolerance(self._conf("")))
        # Two nodes within the tolerance may differ by this much.
        right, other = self._set_clock(2 * TOLERANCE)
        job_id = self._claim(right)
        # A lease is renewed after this time at the latest.
        time.sleep(OPTIONS["progress_interval"])
        self.assertEqual([], other.queue.release_expired("other", []))
        self.assertIs(JobStatus.REPLICATING, right.jobs.get(job_id).status)

    def test_more_takes_jobs_and_is_told(self) -> None:
        right, wrong = self._set_clock(OPTIONS["lease_time"] + 1)
        job_id = self._claim(right)
        self.assertEqual(("SUCCESS", None), self._check(self.urls[0]))
        result, details = self._check(self.urls[2])
        self.assertEqual("WARNING", result)
        self.assertIn("database node node-3 is 2", str(details))
        self.assertEqual("", self._warnings(self.urls[0], seconds=1))
        self.assertIn(
            "database node node-3 is 2",
            self._warnings(self.urls[2], seconds=db_base.PATIENCE),
        )
        # The warnings are about this difference.
        [lost] = wrong.queue.release_expired("other", [])
        self.assertEqual(job_id, lost.job_id)

    def _conf(self, url: str) -> cfg.ConfigOpts:
        return db_base.configuration(url, **OPTIONS)

    def _check(self, url: str) -> tuple[str, str | None]:
        """Return the result of ``upgrade check`` for the clocks."""
        directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        path = directory / "image-replicator.conf"
        options = "\n".join(f"{name} = {OPTIONS[name]}" for name in OPTIONS)
        path.write_text(
            f"[database]\nconnection = {url}\n[worker]\n{options}\n"
        )
        with contextlib.redirect_stdout(io.StringIO()) as output:
            status.main(
                ["--config-file", str(path), "upgrade", "check", "--json"]
            )
        [check] = [
            each
            for each in json.loads(output.getvalue())["checks"]
            if each["check"] == "Database clocks"
        ]
        return upgradecheck.Code(check["result"]).name, check["details"]

    def _warnings(self, url: str, seconds: float) -> str:
        """Return a worker's warnings.

        :param seconds: for which it runs, unless it warns before.
        """
        conf = self._conf(url)
        opened: Any = self.new_stores(url, **OPTIONS)
        worker = worker_worker.Worker(conf, opened, session.Session())
        logger = self.useFixture(fixtures.FakeLogger(level=logging.WARNING))
        deadline = time.monotonic() + seconds
        with futures.ThreadPoolExecutor(1) as pool:
            running = pool.submit(worker.run)
            while not logger.output and time.monotonic() < deadline:
                time.sleep(0.05)
            worker.stop_now()
            running.result(db_base.PATIENCE)
        return str(logger.output)
