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

"""Base of the worker's tests: two regions and a database in this process."""

import pathlib
import threading
import time
from collections.abc import Callable
from typing import Any

import fixtures
import testtools
from oslo_utils import uuidutils

from image_replicator import authority as ir_authority
from image_replicator import jobs
from image_replicator.conf import loading
from image_replicator.db import stores
from image_replicator.images import clients
from image_replicator.tests.unit import glances
from image_replicator.worker import access
from image_replicator.worker import finalize
from image_replicator.worker import range_reader

WORKER = "host:1:abc"
TENANT = "the-destination-tenant"
DATA = bytes(range(256)) * 2048

#: The timeout of waits, in seconds.
PATIENCE = 20


class WorkerTestCase(testtools.TestCase):
    """A test with two regions, ``ot1`` and ``ot2``, and a database.

    :ivar source: the image service of ``ot1``
    :ivar destination: the image service of ``ot2``
    :ivar directory: has the configuration and the database
    """

    def setUp(self) -> None:
        super().setUp()
        self.logger = self.useFixture(fixtures.FakeLogger())
        # No failure passes with time in these tests.
        for module, name, value in (
            (finalize, "_PAUSES", (0.0,)),
            (range_reader, "_FIRST_WAIT", 0.001),
        ):
            self.useFixture(
                fixtures.MonkeyPatch(f"{module.__name__}.{name}", value)
            )
        self.source = self.useFixture(glances.FakeGlance())
        self.destination = self.useFixture(glances.FakeGlance())
        self.session = glances.new_session(
            ot1=self.source, ot2=self.destination
        )
        directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.directory = directory
        path = directory / "image-replicator.conf"
        path.write_text(
            f"[database]\nconnection = sqlite:///{directory}/jobs.sqlite\n"
            "[worker]\npoll_interval = 0.05\nhost = here\nmax_attempts = 1\n"
            "[transfer]\nchunk_size = 65536\n"
            # The fake services know no users' rights.
            "[delegation]\nlegacy = service\n"
        )
        self.conf = loading.load(config_file=str(path))
        self.stores = stores.open_stores(self.conf)

    def new_access_control(self) -> access.AccessControl:
        """Return what opens the image services for jobs."""
        return access.AccessControl(
            self.conf,
            self.stores.authorities,
            self.stores.delegations,
            clients.ImageClients(self.conf, self.session),
            self.session,
        )

    def new_job(
        self,
        data: bytes = DATA,
        destination_image_name: str | None = None,
        source_tenant_id: str = "the-source-tenant",
        authority: ir_authority.Authority | None = None,
        **properties: Any,
    ) -> str:
        """Add an image to the source region, and create a job for it.

        :param destination_image_name: None for the image's own name
        :param source_tenant_id: the tenant that asks for the copy
        :param authority: the right with which it is made
        """
        image_id = uuidutils.generate_uuid()
        self.source.add(image_id, data, **properties)
        return self.stores.jobs.create(
            jobs.NewJob(
                source_image_id=image_id,
                source_image_name="",
                source_region_id="ot1",
                source_tenant_id=source_tenant_id,
                destination_region_id="ot2",
                destination_tenant_id=TENANT,
                destination_image_name=destination_image_name,
                image_size=len(data),
                request_id="req-1",
            ),
            authority=authority,
        )

    def claim(self) -> tuple[jobs.Job, jobs.Claim]:
        """Claim the oldest job that waits."""
        claimed = self.stores.queue.claim_next(WORKER)
        assert claimed
        return claimed

    def source_image(self, job_id: str) -> dict[str, Any]:
        """Return a job's image at the source; a test may change it."""
        return self.source.images[self.stores.jobs.get(job_id).source_image_id]

    def wait_until(self, holds: Callable[[], Any], what: str) -> None:
        """Wait until a condition holds."""
        deadline = time.monotonic() + PATIENCE
        while not holds():
            if time.monotonic() > deadline:
                self.fail(f"there is still not {what}")
            time.sleep(0.01)

    def wait_for(self, job_id: str, *statuses: str) -> jobs.Job:
        """Wait until a job has one of these statuses, and return it."""
        self.wait_until(
            lambda: self.stores.jobs.get(job_id).status in statuses,
            f"one of {statuses}",
        )
        return self.stores.jobs.get(job_id)


class Gate:
    """Holds the answers of a service until it is opened.

    :ivar reached: set once a request waits
    """

    def __init__(self, test: testtools.TestCase) -> None:
        self.reached = threading.Event()
        self._open = threading.Event()
        # The service's threads must end with the test.
        test.addCleanup(self.open)

    def open(self) -> None:
        """Let all requests pass."""
        self._open.set()

    def wait(self) -> None:
        """Wait at the gate."""
        self.reached.set()
        self._open.wait(PATIENCE)

    def before(self, answer: glances.Answer) -> glances.Answer:
        """Return a behaviour that holds a request before it is handled."""

        def held(handler: glances.Handler) -> None:
            self.wait()
            answer(handler)

        return held
