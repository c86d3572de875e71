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

"""The cloud of the benchmark, and the tools that the parts share."""

import argparse
import contextlib
import dataclasses
import datetime
import pathlib
import shutil
import tempfile
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

from devcloud import cloud
from devcloud import glance
from devcloud import ports
from devcloud import process
from devcloud import settings
from devcloud.bench import measure
from devcloud.bench import usage
from image_replicator.conf import loading
from image_replicator.db import stores
from image_replicator.jobs import FINAL
from image_replicator.jobs import Job
from image_replicator.jobs import JobStatus

SOURCE, DESTINATION = cloud.REGIONS

#: The threads of each Glance: enough for all downloads at once.
GLANCE_THREADS = 48

#: Bytes of memory that are left free when images are kept in memory.
_MEMORY_LEFT = 3 << 30
_IN_MEMORY = pathlib.Path("/dev/shm")

#: The copies of an image that exist at once: at the source, at the
#: destination, and one more of Glance's own import.
_COPIES_KEPT = 3

_POLL_INTERVAL = 0.1  # seconds
_PATIENCE = 900  # seconds


class BenchError(Exception):
    """A measurement failed."""


@dataclasses.dataclass
class Stage:
    """The cloud and the tools of each part of the benchmark.

    :ivar running: the cloud
    :ivar supervisor: starts further processes of a part
    :ivar store: the directory of both Glances' images, and of our logs
    :ivar stores: of the cloud's own database
    :ivar say: prints a progress message
    :ivar begin: called with each case before its measurement
    """

    options: argparse.Namespace
    running: cloud.Cloud
    supervisor: process.Supervisor
    store: pathlib.Path
    stores: stores.Stores
    say: Callable[[str], None]
    begin: Callable[[measure.Case], None]

    def new_case(self, part: str, name: str) -> measure.Case:
        """Return a new case, which the report will have."""
        case = measure.Case(part, name)
        self.begin(case)
        return case

    def spawn_module(
        self, module: str, arguments: Sequence[str], descriptors: Sequence[int]
    ) -> process.Process:
        """Start a module of this package as a process of its own.

        :param descriptors: inherited by the process
        """
        return self.supervisor.spawn(
            module,
            [*process.python_module(f"{__package__}.{module}"), *arguments],
            pass_fds=descriptors,
        )

    @contextlib.contextmanager
    def worker(self, **overrides: Any) -> Iterator[process.Process]:
        """Run a worker; begin when it looks for jobs.

        :param overrides: options by section
        """
        started = self.running.start_worker(**overrides)
        try:
            self._await_sign_of_life(started)
            yield started
        finally:
            started.stop()

    @contextlib.contextmanager
    def extension(self, **overrides: settings.Section) -> Iterator[None]:
        """Run the extension in the source's Glance with other options.

        :param overrides: options by section
        """
        changed = settings.write(
            self.store / "extension.conf",
            self.running.replicator_settings(SOURCE, overrides),
        )
        service = self.running.glances[SOURCE]
        path = service.replicator_config
        with reconfigured(service, path, changed.read_text()):
            yield

    def _await_sign_of_life(self, worker: process.Process) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not any(
            f":{worker.pid}:" in known.worker.id
            for known in self.stores.workers.list()
        ):
            if not worker.running or time.monotonic() > deadline:
                raise BenchError(worker.ending())
            time.sleep(_POLL_INTERVAL)

    def request_copy(self, image_id: str) -> str:
        """Request a copy; return the id of the job.

        :raises BenchError: when it is refused
        """
        answer = self.running.jobs_client(SOURCE).post(
            "/jobs",
            json={
                "image_id": image_id,
                "tenant_id_dst": self.running.project_id("destination"),
            },
        )
        if answer.status_code != 202:
            raise BenchError(f"a copy was refused: {answer.text}")
        job_id: str = answer.json()["job_id"]
        return job_id

    def await_copy(self, job_id: str) -> Job:
        """Wait until a job is done, without a request to any service.

        :raises BenchError: when it fails, or takes too long
        """
        deadline = time.monotonic() + _PATIENCE
        job = self.stores.jobs.get(job_id)
        while job.status not in FINAL and time.monotonic() < deadline:
            time.sleep(_POLL_INTERVAL)
            job = self.stores.jobs.get(job_id)
        if job.status is not JobStatus.REPLICATED:
            raise BenchError(
                f"a copy is {job.status}: {job.error_code} {job.error_message}"
            )
        return job


@contextlib.contextmanager
def reconfigured(
    service: glance.Glance,
    path: pathlib.Path,
    text: str,
    prepare: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Run a Glance with a change in one of its files.

    :param prepare: called before that Glance starts
    """
    original = path.read_text()

    def restore() -> None:
        service.stop()
        path.write_text(original)
        service.start()

    service.stop()
    path.write_text(text)
    prepare()
    service.start()
    try:
        yield
    except KeyboardInterrupt:
        # The cloud stops as well, so this Glance is not started again.
        service.stop()
        raise
    except Exception:
        restore()
        raise
    restore()


def finished_at(job: Job) -> float:
    """Return the time at which a job ended, as time.time() counts it."""
    assert job.finished_at
    return seconds_at(job.finished_at)


def seconds_at(moment: datetime.datetime) -> float:
    """Return a time of the database as time.time() counts it."""
    return moment.replace(tzinfo=datetime.UTC).timestamp()


def _store_parent(options: argparse.Namespace) -> pathlib.Path:
    """Return the directory for images: in memory if they fit."""
    needed = _COPIES_KEPT * options.largest_image + _MEMORY_LEFT
    if (
        _IN_MEMORY.is_dir()
        and usage.available_bytes() > needed
        and shutil.disk_usage(_IN_MEMORY).free > needed
    ):
        return _IN_MEMORY
    return pathlib.Path(tempfile.gettempdir())


def _glance_config(store: pathlib.Path) -> settings.Settings:
    """Return Glance's options for the store and glance-download."""
    images, staging = store / "images", store / "staging"
    for directory in (images, staging):
        directory.mkdir()
    return {
        "DEFAULT": {"enabled_import_methods": "[glance-download]"},
        # Glance allows only the ports 80 and 443 by default.
        "import_filtering_opts": {
            "allowed_hosts": f"[{ports.HOST}]",
            "allowed_ports": "[]",
        },
        "file": {"filesystem_store_datadir": images},
        "os_glance_staging_store": {"filesystem_store_datadir": staging},
    }


@contextlib.contextmanager
def built(
    options: argparse.Namespace,
    begin: Callable[[measure.Case], None],
    say: Callable[[str], None],
) -> Iterator[Stage]:
    """Start the cloud; stop it and all other processes at the end.

    :param begin: called with each case before its measurement
    """
    parent = _store_parent(options)
    store = pathlib.Path(
        tempfile.mkdtemp(prefix="image-replicator-bench-", dir=parent)
    )
    say(f"Images are kept in {'memory' if parent == _IN_MEMORY else parent}.")
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, store, ignore_errors=True)
        supervisor = stack.enter_context(process.Supervisor(store))
        running = stack.enter_context(
            cloud.Cloud(
                cloud.Options(
                    glance_threads=GLANCE_THREADS,
                    glance_config=_glance_config(store),
                    report=say,
                )
            )
        )
        config = str(running.glances[SOURCE].replicator_config)
        opened = stores.open_stores(loading.load(config_file=config))
        stack.callback(lambda: opened.database.engine.dispose())
        yield Stage(options, running, supervisor, store, opened, say, begin)
