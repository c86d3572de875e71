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

"""A run of the chaos suite: cloud, fleet, users, failures and verdict."""

import collections
import dataclasses
import functools
import threading
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Final

import fixtures
import sqlalchemy as sa
from sqlalchemy import pool

from devcloud import cloud
from devcloud import faults
from devcloud import proxy
from devcloud.chaos import audit
from devcloud.chaos import fence
from devcloud.chaos import fleet
from devcloud.chaos import outcome
from devcloud.chaos import plan
from devcloud.chaos import rights
from devcloud.chaos import stores
from devcloud.chaos import trouble
from devcloud.chaos import use
from devcloud.chaos import users

SOURCE, DESTINATION = cloud.REGIONS

#: Seconds for the last job to end and be cleaned up, and more for each job.
_PATIENCE: Final = 240.0
_PATIENCE_PER_JOB: Final = 0.5
_LOOK: Final = 0.5  # seconds between two looks
#: With more, writes to its SQLite fail so often that no copy succeeds.
_GLANCE_THREADS: Final = 2
_STALL: Final = 3.0  # seconds; longer than a worker's read_timeout


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The result of a run.

    :ivar violations: sentences; none if all checks passed
    :ivar figures: counts of events, by name
    """

    violations: Sequence[str]
    figures: Mapping[str, Any]

    def __str__(self) -> str:
        lines = [f"{name}: {value}" for name, value in self.figures.items()]
        lines += [f"VIOLATION: {wrong}" for wrong in self.violations]
        return "\n".join(lines)


class Run(fixtures.Fixture):
    """A run, which :meth:`carry_out` makes.

    :param keep_directory: whether logs and data are kept afterwards
    :param report: called with sentences on what happens
    """

    def __init__(
        self,
        todo: plan.Plan,
        database: str,
        *,
        keep_directory: bool = False,
        report: Callable[[str], None] = lambda words: None,
    ) -> None:
        super().__init__()
        self.plan = todo
        self._database = database
        self._keep_directory = keep_directory
        self._report = report

    def _setUp(self) -> None:
        self.store: stores.Store = self.useFixture(
            stores.STORES[self._database]()
        )
        self.faults = {
            region: faults.Faults(f"{self.plan.seed} {region}", _STALL)
            for region in cloud.REGIONS
        }
        self.relays = {
            region: self.useFixture(proxy.Proxy(behaviours=[harm]))
            for region, harm in self.faults.items()
        }
        options = cloud.Options(
            database_url=self.store.url,
            glance_threads=_GLANCE_THREADS,
            proxies=self.relays,
            replicator_config=fleet.CONFIG,
            keep_directory=self._keep_directory,
        )
        if self.plan.calm:
            # Only the fleet sees the outages, so there are none here.
            options = dataclasses.replace(
                options,
                glance_database_urls=self.store.glance_urls(),
                replicator_config=fleet.CALM_CONFIG,
            )
        self.cloud = self.useFixture(cloud.Cloud(options))
        audit.install(self.store.observer_url)
        self._report(f"Logs are in {self.cloud.directory}.")
        self.users = users.Users(self.cloud, self.plan)
        self.rights = rights.Rights(self.cloud)
        self._start_gateway()
        self.fleet = fleet.Fleet(
            self.cloud,
            self.store,
            self.plan.workers,
            self.plan.replacements,
            self._gateway_relay.url,
        )
        self.fleet.wait_until_ready()
        self._engine = sa.create_engine(
            self.store.observer_url, poolclass=pool.NullPool
        )

    def _start_gateway(self) -> None:
        """Start a gateway near the source, whose answers are harmed as well.

        What it reads from Glance is not: its own reader would have to be
        harmed twice as often to be harmed as much.
        """
        self.gateway = self.cloud.new_gateway(
            SOURCE, window_size=8 << 20, client_timeout=2, idle_timeout=2
        )
        self.gateway.start()
        harm = faults.Faults(f"{self.plan.seed} gateway", _STALL)
        self.faults["gateway"] = harm
        self._gateway_relay = self.useFixture(proxy.Proxy(behaviours=[harm]))
        self._gateway_relay.connect_to(self.gateway.port)

    def carry_out(self) -> Verdict:
        """Carry out the plan, wait for the last job, and check the result."""
        begin = time.monotonic()
        with use.Watch(self._users_of_resources()) as watch:
            self._let_it_happen()
            calm = time.monotonic()
            self._report("All is well again; waiting for the last jobs.")
            self.wait_for_the_end()
        ended = time.monotonic()
        wrong = [*self.fleet.lost(), *self.fleet.dismiss()]
        wrong += watch.violations()
        self._report("Checking.")
        world, log = self._world(), audit.read(self.store.observer_url)
        wrong += self.users.errors
        wrong += fence.violations(log)
        wrong += outcome.violations(world)
        figures = {
            "seconds of trouble": round(calm - begin),
            "seconds until all was done": round(ended - calm),
            **self._figures(world, log),
            **watch.courses(),
        }
        return Verdict(wrong, figures)

    def _let_it_happen(self) -> None:
        asking = threading.Thread(
            target=self.users.run, args=[self.plan.wishes]
        )
        asking.start()
        try:
            trouble.Trouble(
                self.fleet,
                self.cloud,
                self.store,
                self.relays,
                self.faults,
                self.rights,
                self.gateway,
                self._report,
            ).run(self.plan)
        except BaseException:
            self.users.stop()
            raise
        finally:
            asking.join()

    def _users_of_resources(self) -> dict[str, Callable[[], use.Sample]]:
        """Return the processes to watch, in a fleet that does not change."""
        if not self.plan.calm:
            return {}
        watched: dict[str, Callable[[], use.Sample]] = {
            worker.name: functools.partial(use.of_process, worker.pid)
            for worker in self.fleet.workers
        }
        if self.store.connections() is not None:
            watched["all"] = lambda: {
                "database connections": self.store.connections() or 0
            }
        return watched

    # Waiting.

    def wait_for_the_end(self) -> None:
        """Wait until all jobs have ended and their images are removed.

        The sweeper removes images that jobs could not remove.
        """
        patience = _PATIENCE + _PATIENCE_PER_JOB * len(self.plan.wishes)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            rows = self.rows()
            if not any(_is_pending(row) for row in rows):
                return
            time.sleep(_LOOK)

    def rows(self) -> list[dict[str, Any]]:
        """Return all rows of the table of jobs."""
        with self._engine.connect() as connection:
            found = connection.execute(sa.text("SELECT * FROM jobs"))
            return [dict(row) for row in found.mappings()]

    # Looking.

    def _world(self) -> outcome.World:
        images = self.cloud.images(DESTINATION, "admin", "admin")
        store = self.cloud.glances[DESTINATION].directory / "file"
        return outcome.World(
            asks=self.users.asks,
            rows=self.rows(),
            images=list(self._images()),
            read=images.read,
            stored=lambda image_id: (store / image_id).read_bytes(),
            max_attempts=fleet.MAX_ATTEMPTS,
            rights_taken=self.rights.history,
        )

    def _images(self) -> Iterator[dict[str, Any]]:
        """Yield all tenants' images at the destination."""
        client = self.cloud.image_client(DESTINATION, "admin", "admin")
        page = "/v2/images?visibility=all&limit=500"
        while page:
            answer = client.get(page).json()
            for image in answer["images"]:
                # With this query an administrator gets those of all tenants,
                # too.
                if image["status"] != "deleted":
                    yield image
            page = answer.get("next")

    def _figures(
        self, world: outcome.World, log: Iterable[audit.Write]
    ) -> dict[str, Any]:
        count = collections.Counter
        rows = world.rows
        return {
            "jobs": len(rows),
            "in status": dict(count(row["status"] for row in rows)),
            "errors": dict(
                count(
                    row["error_code"]
                    for row in rows
                    if row["status"] == "error"
                )
            ),
            "attempts": dict(
                sorted(count(row["attempts"] for row in rows).items())
            ),
            "bytes copied": sum(
                row["image_size"]
                for row in rows
                if row["status"] == "replicated"
            ),
            "workers started": len(self.fleet.started),
            "done to them": dict(
                count(step.act.name.lower() for step in self.plan.steps)
            ),
            "done to requests": {
                region: {
                    "of": harm.requests,
                    **{k.name.lower(): v for k, v in harm.counts.items()},
                }
                for region, harm in self.faults.items()
            },
            "users were told": dict(sorted(self.users.answers.items())),
            "writes to jobs": len(list(log)),
            "taken from workers": _taken(log),
            "tracebacks": self._tracebacks(),
        }

    def _tracebacks(self) -> int:
        """Return the number of tracebacks in the workers' logs."""
        return sum(
            worker.log_path.read_text(errors="replace").count("Traceback")
            for worker in self.fleet.started
        )


def _is_pending(row: Mapping[str, Any]) -> bool:
    """Tell whether a job has not ended, or has an image to be removed."""
    return row["status"] not in fence.FINAL or bool(row["reserved_image_id"])


def _taken(log: Iterable[audit.Write]) -> int | None:
    """Return how often jobs were taken from a worker; None if unknown."""
    steps = [
        fence.Step(write, write.old, write.new)
        for write in log
        if write.old and write.new
    ]
    if all(step.write.writer is None for step in steps):
        return None
    return sum(step.releases and step.owner_wrote is False for step in steps)
