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

"""Base of the tests on a real cloud, of which each process has one.

Starting a cloud takes ten seconds, so all tests of a process share it. Each
test leaves it without jobs and workers, and has its own images and projects.
"""

import atexit
import contextlib
import json
import sqlite3
import subprocess
import time
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import Final

import requests
import sqlalchemy as sa
import testtools
from keystoneauth1 import session as ksa_session
from testtools import content
from testtools import content_type

from devcloud import cloud
from devcloud import process
from devcloud import proxy
from devcloud import services
from devcloud import settings
from image_replicator.db import models

VERSION: Final = "OpenStack-API-Version"

#: Seconds within which a job must end.
PATIENCE = 60

#: Seconds for which a proxy holds a connection: longer than any test waits, so
#: that nothing but the worker itself can end what is held.
HOLD = 10 * PATIENCE

#: The data of an image that is held in the middle of its upload.
DATA = bytes(range(256)) * 65536


_shared: dict[type[cloud.Cloud], cloud.Cloud] = {}


def shared_cloud(kind: type[cloud.Cloud]) -> cloud.Cloud:
    """Return this process's cloud of a kind, started at the first call."""
    if kind not in _shared:
        shared = kind()
        shared.setUp()
        atexit.register(shared.cleanUp)
        _shared[kind] = shared
    return _shared[kind]


class CloudTestCase(testtools.TestCase):
    """A test on the shared cloud.

    :cvar options: of a cloud for each test; None for the shared one
    :cvar kind: of the shared cloud
    :ivar cloud: the two regions
    """

    options: cloud.Options | None = None
    kind: type[cloud.Cloud] = cloud.Cloud

    def setUp(self) -> None:
        super().setUp()
        options = self.options
        if options:
            self.cloud = self.useFixture(cloud.Cloud(options))
        else:
            self.cloud = shared_cloud(self.kind)
            self.addCleanup(self._forget_jobs)

    def _forget_jobs(self) -> None:
        with self.database() as connection:
            connection.execute(sa.delete(models.Job))
            connection.execute(sa.delete(models.IdempotencyKey))
            connection.execute(sa.delete(models.Route))
            # Killed workers have not removed their rows.
            connection.execute(sa.delete(models.Worker))

    @contextlib.contextmanager
    def database(self) -> Iterator[sa.Connection]:
        """Begin a transaction on the image replicator's database."""
        engine = sa.create_engine(self.cloud.database_url)
        try:
            with engine.begin() as connection:
                yield connection
        finally:
            engine.dispose()

    def start_worker(self, **overrides: Any) -> process.Process:
        """Start a worker that looks for jobs often; it ends with the test.

        By default it makes one attempt, so that failures are seen, and reads
        with one stream, so that a proxy sees all bytes of an image. It soon
        tries again to remove images that a busy Glance did not remove.
        """
        overrides["transfer"] = {
            "max_streams": 1,
            **overrides.get("transfer", {}),
        }
        overrides["worker"] = {
            "poll_interval": 0.1,
            "max_attempts": 1,
            "retry_delay": 0.2,
            "retry_max_delay": 0.5,
            **overrides.get("worker", {}),
        }
        worker = self.cloud.start_worker(**overrides)
        self.addCleanup(self._stop_worker, worker)
        return worker

    def _stop_worker(self, worker: process.Process) -> None:
        worker.stop()
        log = worker.log_path.read_bytes()
        self.addDetail(
            worker.log_path.name,
            content.Content(content_type.UTF8_TEXT, lambda: [log]),
        )

    def relay(self, region: str) -> proxy.Proxy:
        """Route workers to a region through a proxy until the test ends.

        To be called before they start: they keep the catalogue they read.
        """
        relay = self.useFixture(proxy.Proxy(longest_hold=HOLD))
        self.route(region, relay)
        return relay

    def route(self, region: str, relay: services.Relay) -> None:
        """Route workers to a region through a relay until the test ends.

        To be called before they start: they keep the catalogue they read.

        :param relay: a proxy, or a front such as nginx, that was set up
        """
        self.cloud.route_internal(region, relay)
        self.addCleanup(self.cloud.route_internal, region, None)

    def wait_until(
        self, holds: Callable[[], Any], what: str, patience: float = PATIENCE
    ) -> Any:
        """Wait until a function returns a true value, and return it."""
        deadline = time.monotonic() + patience
        while not (value := holds()):
            if time.monotonic() > deadline:
                self.fail(f"after {patience:g} s there is still not {what}")
            time.sleep(0.02)
        return value

    def wait_for_log(self, worker: process.Process, text: str) -> None:
        """Wait until a worker has logged something."""
        self.wait_until(
            lambda: text in worker.log_path.read_text(), f"{text!r} in the log"
        )

    def images_in(self, region: str) -> dict[str, dict[str, Any]]:
        """Return the images of all tenants in a region, by id."""
        images = self.cloud.images(region, "admin", "admin").list()
        return {image["id"]: image for image in images}

    def stamp(self, image_id: str, properties: dict[str, str]) -> None:
        """Set properties of an image of ot1 in Glance's database."""
        path = self.cloud.glances["ot1"].database
        with contextlib.closing(sqlite3.connect(path, timeout=30)) as database:
            database.executemany(
                "INSERT INTO image_properties"
                " (image_id, name, value, created_at, deleted)"
                " VALUES (?, ?, ?, CURRENT_TIMESTAMP, 0)",
                [(image_id, *item) for item in properties.items()],
            )
            database.commit()

    def request(
        self,
        method: str,
        path: str,
        *,
        user: str = "alice",
        project: str = "source",
        region: str = "ot1",
        session: ksa_session.Session | None = None,
        **kwargs: Any,
    ) -> requests.Response:
        """Send a request below the extension's base path; return any answer.

        :param path: behind the base path, such as ``/jobs``
        :param session: acts in place of a user and project
        """
        session = session or self.cloud.session(user, project)
        kwargs.setdefault("headers", {}).setdefault(
            "Accept", "application/json"
        )
        return session.request(
            self.cloud.endpoint(region) + cloud.BASE_PATH + path,
            method,
            raise_exc=False,
            redirect=False,
            **kwargs,
        )

    def ask_for_copy(
        self, image_id: str, tenant: str = "destination", **kwargs: Any
    ) -> str:
        """Request a copy into a project; return the job's id."""
        body = {
            "image_id": image_id,
            "tenant_id_dst": self.cloud.project_id(tenant),
        }
        reply = self.request("POST", "/jobs", json=body, **kwargs)
        self.assertEqual(202, reply.status_code, reply.text)
        job_id: str = reply.json()["job_id"]
        return job_id

    def cancel(self, job_id: str, **kwargs: Any) -> requests.Response:
        """Request the cancelation of a job."""
        return self.request("DELETE", f"/jobs/{job_id}", **kwargs)

    def request_1_1(
        self, method: str, path: str, **kwargs: Any
    ) -> requests.Response:
        """Send a request for version 1.1."""
        headers = {VERSION: "image-replicator 1.1"}
        return self.request(method, path, headers=headers, **kwargs)

    def request_1_2(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> requests.Response:
        """Send a request for version 1.2."""
        headers = {VERSION: "image-replicator 1.2", **(headers or {})}
        return self.request(method, path, headers=headers, **kwargs)

    def retry(self, job_id: str, **kwargs: Any) -> requests.Response:
        """Request another run of a job, and return the answer."""
        path = f"/jobs/{job_id}/action"
        return self.request_1_1("POST", path, json={"retry": {}}, **kwargs)

    def manage(self, *argv: str) -> tuple[int, str]:
        """Run ``image-replicator-manage`` as an administrator.

        :returns: its exit status and its output
        """
        admin = self.cloud.user("admin")
        credentials = settings.write(
            self.cloud.directory / "administrator.conf",
            {
                "service_auth": {
                    "username": admin.name,
                    "password": admin.password,
                    "project_name": "admin",
                }
            },
        )
        done = subprocess.run(
            [
                process.script("image-replicator-manage"),
                "--config-file",
                str(self.cloud.glances["ot1"].replicator_config),
                "--config-file",
                str(credentials),
                *argv,
            ],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            env=process.environment(),
        )
        self.addDetail(
            " ".join(argv),
            content.text_content(done.stdout + done.stderr),
        )
        return done.returncode, done.stdout

    def orphans(self, *argv: str) -> list[str]:
        """Return the images that ``image orphans`` lists."""
        status, output = self.manage(
            *("image", "orphans", "--older-than", "0"),
            *argv,
            *("--format", "json"),
        )
        self.assertEqual(0, status)
        return [image["id"] for image in json.loads(output)]

    def job(self, job_id: str, **kwargs: Any) -> dict[str, Any]:
        """Return a job as the API shows it."""
        reply = self.request("GET", f"/jobs/{job_id}", **kwargs)
        self.assertEqual(200, reply.status_code, reply.text)
        job: dict[str, Any] = reply.json()
        return job

    def job_row(self, job_id: str) -> Any:
        """Return a job's row, for columns that version 1.0 does not show."""
        with self.database() as connection:
            return connection.execute(
                sa.select(models.Job.__table__).where(
                    models.Job.__table__.c.id == job_id
                )
            ).one()

    def wait_until_clean(self, job_id: str, before: Collection[str]) -> None:
        """Wait until the images of a job that is over are removed.

        Glance on SQLite answers some writes with a 500, above all right after
        an upload that broke off. The worker then removes the image later.

        :param before: the images that were in ot2 before the job.
        """
        self.wait_until(
            lambda: self.job_row(job_id).reserved_image_id is None,
            "a clean destination",
        )
        self.assertIsNone(self.job_row(job_id).destination_image_id)
        self.assertEqual(set(before), set(self.images_in("ot2")))

    def wait_for(
        self, job_id: str, *statuses: str, **kwargs: Any
    ) -> dict[str, Any]:
        """Wait until a job has one of these statuses, and return it."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            job = self.job(job_id, **kwargs)
            if job["status"] in statuses:
                return job
            time.sleep(0.05)
        self.fail(f"the job is still {job['status']}, not {statuses}: {job}")
        raise AssertionError


class HeldUploadTestCase(CloudTestCase):
    """A test in which something happens in the middle of an upload.

    :ivar relay_to_ot2: the proxy between workers and ot2
    :ivar before: the images that were in ot2 before
    """

    def setUp(self) -> None:
        super().setUp()
        self.before = set(self.images_in("ot2"))
        self.relay_to_ot2 = self.relay("ot2")

    def hold_upload(self) -> str:
        """Let a worker upload a part of DATA; return the job's id."""
        upload = proxy.Direction.UPLOAD
        self.relay_to_ot2.hold_after(1_000_000, upload)
        job_id = self.ask_for_copy(self.cloud.images("ot1").create(DATA)["id"])
        self.assertTrue(self.relay_to_ot2.wait_until_held(direction=upload))
        return job_id

    def left_at_destination(self) -> set[str]:
        """Return the ids of new images in ot2."""
        return set(self.images_in("ot2")) - self.before

    def assert_right(self, job_id: str) -> None:
        """Check that the job's image is complete, and the only new one."""
        job = self.wait_for(job_id, "replicated", "error", "canceled")
        self.assertEqual("replicated", job["status"])
        image_id = job["destination_image_id"]
        self.assertEqual({image_id}, self.left_at_destination())
        copies = self.cloud.images("ot2", "alice", "destination")
        self.assertEqual(DATA, copies.read(image_id))
