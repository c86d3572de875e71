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

"""The database becomes unavailable during a copy, and comes back.

The tests have servers of their own, which can be killed, and a file system of
their own, which can be filled up.
"""

import errno
import os
import pathlib
import shutil
import subprocess  # nosec: fixed commands, of the machine itself
import unittest

import fixtures

from devcloud import cloud
from devcloud import mariadb
from devcloud import postgresql
from devcloud import process
from devcloud import proxy
from devcloud import servers
from image_replicator.tests.functional.cloud import base

DATA = bytes(range(256)) * 32768
HALF = len(DATA) // 2

GONE = "The database does not serve us"
BACK = "The database serves us again"


class OutageTestCase(base.CloudTestCase):
    """A copy is held halfway, and continues after the outage."""

    def make_database(self) -> str:
        """Create a database, and return its URL."""
        raise NotImplementedError

    def setUp(self) -> None:
        self.relay_of_source = proxy.Proxy(longest_hold=base.HOLD)
        super().setUp()

    @property
    def options(self) -> cloud.Options:  # type: ignore[override]
        return cloud.Options(
            database_url=self.make_database(),
            proxies={"ot1": self.useFixture(self.relay_of_source)},
        )

    def begin_copy(self) -> tuple[str, process.Process]:
        """Begin a copy, and hold it halfway."""
        image = self.cloud.images("ot1").create(DATA)
        self.waiting = self.cloud.images("ot1").create(b"next")
        # The hold begins after the API has read the image's description.
        job_id = self.ask_for_copy(image["id"])
        self.relay_of_source.hold_after(HALF)
        worker = self.start_worker()
        self.assertTrue(self.relay_of_source.wait_until_held())
        self.wait_until(
            lambda: self.job(job_id)["copy_progress"] > 0, "progress"
        )
        return job_id, worker

    def assert_unavailable(self, method: str, path: str, **body: str) -> None:
        """Check that the API answers 503 without details."""
        reply = self.request(method, path, json=body or None)
        self.assertEqual(503, reply.status_code, reply.text)
        for secret in ("sql", "SQL", "/jobs.", "127.0.0.1", "jobs@"):
            self.assertNotIn(secret, reply.text)

    def ask(self) -> dict[str, str]:
        """Return the answer to a request for another copy."""
        return {
            "image_id": self.waiting["id"],
            "tenant_id_dst": self.cloud.project_id("destination"),
        }

    def assert_waited_out(self, job_id: str, worker: process.Process) -> None:
        """Check that the same attempt continued, and check the log."""
        self.relay_of_source.release()
        job = self.wait_for(job_id, "replicated", "error", "canceled")
        self.assertEqual("replicated", job["status"])
        self.assertEqual(1, self.job_row(job_id).attempts)
        copies = self.cloud.images("ot2", "alice", "destination")
        self.assertEqual(DATA, copies.read(job["destination_image_id"]))
        log = worker.log_path.read_text()
        self.assertEqual(1, log.count(GONE), log)
        self.assertEqual(1, log.count(BACK), log)
        self.assertNotIn("Traceback", log)

    def assert_serves(self) -> None:
        """Check that requests are served, and none was done in part."""
        self.assertEqual(1, len(self.request("GET", "/jobs").json()))
        job_id = self.ask_for_copy(self.waiting["id"])
        self.wait_for(job_id, "replicated")


class OnServerMixin(OutageTestCase):
    server_class: type[servers.Server]

    def make_database(self) -> str:
        self.server = self.useFixture(self.server_class())
        return self.server.create_database("jobs")

    def check_crash(self) -> None:
        job_id, worker = self.begin_copy()
        self.server.stop(kill=True)
        self.assert_unavailable("GET", f"/jobs/{job_id}")
        self.assert_unavailable("GET", "/jobs")
        self.assert_unavailable("POST", "/jobs", **self.ask())
        self.assert_unavailable("DELETE", f"/jobs/{job_id}")
        self.wait_for_log(worker, GONE)
        self.server.start()
        self.assert_waited_out(job_id, worker)
        self.assert_serves()

    def check_read_only(self) -> None:
        """Check a read-only server, as a replica before a failover is."""
        job_id, worker = self.begin_copy()
        self.server.set_read_only(True)
        self.assertEqual("replicating", self.job(job_id)["status"])
        self.assert_unavailable("POST", "/jobs", **self.ask())
        self.assert_unavailable("DELETE", f"/jobs/{job_id}")
        self.wait_for_log(worker, GONE)
        self.server.set_read_only(False)
        self.assert_waited_out(job_id, worker)
        self.assert_serves()


class TestMariaDB(OnServerMixin):
    server_class = mariadb.MariaDB

    def test_it_crashes(self) -> None:
        self.check_crash()

    def test_it_is_read_only_for_a_while(self) -> None:
        self.check_read_only()


class TestPostgreSQL(OnServerMixin):
    server_class = postgresql.PostgreSQL

    def test_it_crashes(self) -> None:
        self.check_crash()

    def test_it_is_read_only_for_a_while(self) -> None:
        self.check_read_only()


class SmallDisk(fixtures.Fixture):
    """A file system of one mebibyte.

    A test whose user may not mount one is skipped.
    """

    def _setUp(self) -> None:
        self.path = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        mounted = subprocess.run(  # nosec
            ["mount", "-t", "tmpfs", "-o", "size=1m", "none", self.path],
            capture_output=True,
            check=False,
            text=True,
        )
        if mounted.returncode:
            raise unittest.SkipTest(
                f"no file system of its own: {mounted.stderr.strip()}"
            )
        self.addCleanup(self._unmount)

    def _unmount(self) -> None:
        # The unmount is lazy, as processes that have open files end later.
        subprocess.run(["umount", "-l", self.path], check=True)  # nosec

    def fill(self) -> None:
        """Fill the file system."""
        with (self.path / "filler").open("wb", buffering=0) as filler:
            try:
                while filler.write(bytes(1 << 12)):
                    continue
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def make_room(self) -> None:
        """Undo :meth:`fill`."""
        os.unlink(self.path / "filler")


class TestSQLite(OutageTestCase):
    def make_database(self) -> str:
        if not shutil.which("mount"):
            self.skipTest("mount is not there")
        self.disk = self.useFixture(SmallDisk())
        return f"sqlite:///{self.disk.path}/jobs.sqlite"

    def test_the_disk_is_full_for_a_while(self) -> None:
        job_id, worker = self.begin_copy()
        self.disk.fill()
        # SQLite still accepts writes that fit into its log.
        self.wait_until(self._is_refused, "refused")
        self.assertEqual("replicating", self.job(job_id)["status"])
        self.wait_for_log(worker, GONE)
        self.disk.make_room()
        self.assert_waited_out(job_id, worker)

    def _is_refused(self) -> bool:
        reply = self.request("POST", "/jobs", json=self.ask())
        if reply.status_code == 503:
            return True
        self.assertIn(reply.status_code, (202, 409))
        if reply.status_code == 202:
            self.assertEqual(
                204, self.cancel(reply.json()["job_id"]).status_code
            )
        return False
