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

"""The workers of a run, which can be killed, halted and replaced."""

import signal
import time
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any
from typing import Final

from devcloud import cloud
from devcloud import process
from devcloud import settings
from devcloud.chaos import plan
from devcloud.chaos import stores

SOURCE: Final = cloud.REGIONS[0]

MAX_ATTEMPTS: Final = 8

#: Leases and timeouts are short, so that failures are noticed soon.
CONFIG: Final[settings.Settings] = {
    "worker": {
        "lease_time": plan.LEASE,
        "retry_delay": 0.2,
        "retry_max_delay": 2,
        "max_attempts": MAX_ATTEMPTS,
        "poll_interval": 0.2,
        # The Glances use SQLite, and answer concurrent writes with a 500.
        "concurrency": 2,
        "max_copies_per_tenant": 2,
        "graceful_timeout": 1,
    },
    "transfer": {
        "connect_timeout": 2,
        "read_timeout": 2,
        "upload_response_timeout": 5,
        "chunk_size": 65536,
    },
    "service_auth": {"timeout": 5},
}

#: In a calm run no failure has to be noticed soon.
CALM_CONFIG: Final[settings.Settings] = {"worker": CONFIG["worker"]}

#: Further options of every second worker, which reads with several streams.
#: It uses the gateway as well.
_STREAMS: Final[settings.Section] = {"min_streams": 3}

_PATIENCE: Final = 60.0  # seconds for a worker to begin, or to end


class Fleet:
    """A fixed number of workers; one that ends is replaced.

    Each has a name, which is its host, so that its jobs show it, and its user
    of the database, so that the log of writes shows it.

    :param replacements: the number of workers that may be started later
    :param gateway_url: of a gateway of the source region, which every second
        worker uses
    """

    def __init__(
        self,
        running: cloud.Cloud,
        store: stores.Store,
        places: int,
        replacements: int,
        gateway_url: str,
    ) -> None:
        self._cloud = running
        self._gateway_url = gateway_url
        # The users are created now, as the database may be stopped later.
        self._spare = [
            (f"w{number}", store.url_of(f"w{number}"))
            for number in range(places + replacements)
        ][::-1]
        self._leaving: list[process.Process] = []
        self.started: list[process.Process] = []
        self._workers = [self._start(place) for place in range(places)]

    @property
    def workers(self) -> Sequence[process.Process]:
        """The workers of all places."""
        return tuple(self._workers)

    def _start(self, place: int) -> process.Process:
        name, url = self._spare.pop()
        overrides: dict[str, Any] = {
            "worker": {"host": name},
            "database": {"connection": url},
        }
        if place % 2:
            overrides["transfer"] = _STREAMS
            overrides[f"region:{SOURCE}"] = {
                "data_endpoint": self._gateway_url
            }
        worker = self._cloud.start_worker(**overrides)
        self.started.append(worker)
        return worker

    def wait_until_ready(self) -> None:
        """Wait until all workers are ready.

        :raises process.ProcessError: if one does not
        """
        deadline = time.monotonic() + _PATIENCE
        while waiting := [w for w in self._workers if not _has_begun(w)]:
            if time.monotonic() > deadline or not waiting[0].running:
                raise process.ProcessError(waiting[0].ending())
            time.sleep(0.1)

    def kill(self, place: int) -> None:
        """Kill a worker, and start another in its place."""
        self._workers[place].kill()
        self._workers[place] = self._start(place)

    def end(self, place: int) -> None:
        """Stop a worker with SIGTERM, and start another in its place."""
        leaving = self._workers[place]
        leaving.send_signal(signal.SIGCONT)
        leaving.terminate()
        self._leaving.append(leaving)
        self._workers[place] = self._start(place)

    def halt(self, place: int) -> None:
        """Halt a worker with SIGSTOP."""
        self._workers[place].send_signal(signal.SIGSTOP)

    def resume(self, place: int) -> None:
        """Resume a halted worker."""
        self._workers[place].send_signal(signal.SIGCONT)

    def lost(self) -> Iterator[str]:
        """Yield a sentence for each worker that ended by itself."""
        for worker in self._workers:
            if not worker.running:
                yield worker.ending()

    def dismiss(self) -> Iterator[str]:
        """Stop all workers; yield a sentence for each that did not stop."""
        running = [worker for worker in self._workers if worker.running]
        for worker in running:
            worker.terminate()
        for worker in [*self._leaving, *running]:
            try:
                status = worker.wait(_PATIENCE)
            except process.ProcessError as error:
                yield str(error)
                continue
            if status and _has_begun(worker):
                yield worker.ending()


def _has_begun(worker: process.Process) -> bool:
    """Tell whether a worker has started far enough to handle signals."""
    return " begins" in worker.log_path.read_text(errors="replace")
