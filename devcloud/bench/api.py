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

"""Requests, compared with Glance's own and with an empty controller."""

import contextlib
import functools
import shutil
from collections.abc import Iterator

import devcloud
from devcloud import cloud
from devcloud import uwsgi
from devcloud.bench import asking
from devcloud.bench import backlog
from devcloud.bench import databases
from devcloud.bench import empty
from devcloud.bench import growth
from devcloud.bench.measure import Aim
from devcloud.bench.measure import Subject
from devcloud.bench.measure import take_turns
from devcloud.bench.stage import DESTINATION
from devcloud.bench.stage import GLANCE_THREADS
from devcloud.bench.stage import SOURCE
from devcloud.bench.stage import Stage

_SHOW = "show a job"
_LIST = "list jobs"
_CREATE = "create a job"
_SHOW_IMAGE = "show an image"
_LIST_IMAGES = "list images"
_EMPTY = "empty controller"
_SCHEMA = "show a schema"
_SCHEMA_ALONE = "show a schema, without us"

#: The fastest request that Glance serves behind its whole pipeline, which
#: shows best how much our filter adds.
_SCHEMA_PATH = "/v2/schemas/member"

#: The jobs or images of a listing; every table has at least so many.
_PAGE = backlog.LEAST_OF_A_TENANT
_CREATE_SHARE = 5  # one job is created for so many other requests: it is slow
_JOBS = f"{cloud.BASE_PATH}/jobs"


def run(stage: Stage) -> None:
    """Measure requests with few and with many jobs, on each database."""
    with _empty_server(stage) as empty_port:
        for kind in databases.kinds(stage):
            # Glance uses the same database server as the jobs, as in clouds.
            with databases.glances_on(stage, kind):
                _ask(stage, kind, empty_port)


def _ask(stage: Stage, kind: databases.Kind, empty_port: int) -> None:
    images = stage.running.images(SOURCE)
    made = [images.create(b"x", name="bench")["id"] for _one in range(_PAGE)]
    with contextlib.ExitStack() as stack:
        tables = [
            stack.enter_context(_filled(stage, kind, count))
            for count in stage.options.jobs
        ]
        for table in tables:
            with stage.extension(database={"connection": table.url}):
                subjects = _subjects(stage, table, empty_port, made[0])
                _compare(stage, f"{kind.name}, {table.count} jobs", subjects)
        growth.compare(stage, kind.name, tables)
    for image_id in made:
        images.delete(image_id)


@contextlib.contextmanager
def _filled(
    stage: Stage, kind: databases.Kind, count: int
) -> Iterator[backlog.Table]:
    """Fill a database with a number of jobs."""
    stage.say(f"api: {kind.name}: making {count} jobs")
    tenant = stage.running.project_id("source")
    with kind.empty() as (url, stores):
        job_id = backlog.grow(stores.database.engine, count, tenant)
        yield backlog.Table(url, stores, count, tenant, job_id)


def _compare(stage: Stage, name: str, subjects: dict[str, Subject]) -> None:
    case = stage.new_case("api", name)
    for ask in subjects.values():
        # The first request validates the token and imports modules.
        ask()
    take_turns(case, subjects, stage.options.pairs, stage.say)
    metric = "requests/s"
    case.compare(_SHOW, _SHOW_IMAGE, metric, Aim(5))
    case.compare(_EMPTY, _SHOW, metric, Aim(1.3, at_most=True))
    case.compare(_LIST, _LIST_IMAGES, metric)
    case.compare(_EMPTY, _LIST, metric)
    case.compare(_CREATE, _SHOW_IMAGE, metric)
    case.compare(_SCHEMA, _SCHEMA_ALONE, metric)


def _subjects(
    stage: Stage, table: backlog.Table, empty_port: int, image_id: str
) -> dict[str, Subject]:
    """Return the requests to compare, all with the same token."""
    port = stage.running.glances[SOURCE].server.port
    request = functools.partial(asking.Request, token=stage.running.token())
    asked = {
        _SHOW: request(port, f"{_JOBS}/{table.job_id}"),
        _SHOW_IMAGE: request(port, f"/v2/images/{image_id}"),
        _EMPTY: request(empty_port, empty.PATH),
        _LIST: request(port, f"{_JOBS}?limit={_PAGE}"),
        _LIST_IMAGES: request(port, f"/v2/images?limit={_PAGE}"),
        _SCHEMA: request(port, _SCHEMA_PATH),
        _SCHEMA_ALONE: request(empty_port, _SCHEMA_PATH),
    }
    count = stage.options.requests
    subjects: dict[str, Subject] = {
        name: functools.partial(asking.ask, one, count)
        for name, one in asked.items()
    }
    create = request(
        port,
        _JOBS,
        body={
            "image_id": image_id,
            "tenant_id_dst": stage.running.project_id("destination"),
        },
        status=202,
    )
    subjects[_CREATE] = lambda: asking.ask(
        create,
        max(2, count // _CREATE_SHARE),
        lambda answer: backlog.end(
            table.stores.database.engine, answer["job_id"]
        ),
    )
    return subjects


@contextlib.contextmanager
def _empty_server(stage: Stage) -> Iterator[int]:
    """Serve the empty controller as the source's Glance serves ours.

    It has that Glance's configuration, pipeline and kind of process. It is a
    second process only so that its filter does not affect the other's
    requests.
    """
    original = stage.running.glances[SOURCE].directory
    directory = stage.store / "empty"
    directory.mkdir()
    for name in ("glance-api.conf", "glance-api-paste.ini"):
        text = (original / name).read_text()
        text = text.replace(str(original), str(directory))
        text = text.replace("image_replicator.api:", f"{empty.__name__}:")
        (directory / name).write_text(text)
    (directory / "glance.sqlite").write_bytes(
        stage.running.glances[DESTINATION].database.read_bytes()
    )
    server = uwsgi.Server("glance-empty", "glance.wsgi.api:application", None)
    server.threads = GLANCE_THREADS
    server.health_path = "/healthcheck"
    server.start(
        stage.supervisor,
        {
            "OS_GLANCE_CONFIG_DIR": str(directory),
            "PYTHONPATH": str(devcloud.ROOT),
        },
    )
    try:
        yield server.port
    finally:
        server.stop(stage.supervisor)
        shutil.rmtree(directory)
