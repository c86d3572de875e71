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

"""Copies with TLS at both ends."""

import contextlib
import pathlib
from collections.abc import Iterator

from devcloud import certificates
from devcloud import ports
from devcloud.bench import catalogue
from devcloud.bench import copies
from devcloud.bench.lan import POLL_INTERVAL
from devcloud.bench.measure import take_turns
from devcloud.bench.stage import DESTINATION
from devcloud.bench.stage import SOURCE
from devcloud.bench.stage import Stage


def run(stage: Stage) -> None:
    """Copy an image with TLS, in all ways that can be told our authority."""
    ca_file, certificate = certificates.signed(stage.store)
    with (
        _terminated(stage, SOURCE, certificate) as source,
        _terminated(stage, DESTINATION, certificate) as destination,
        catalogue.moved(stage.running, SOURCE, source),
        catalogue.moved(stage.running, DESTINATION, destination),
        # It looks whether the destination is up.
        stage.extension(service_auth={"cafile": ca_file}),
    ):
        ways = copies.Ways(stage, source, destination, ca_file)
        _measure(stage, ways, ca_file)


def _measure(stage: Stage, ways: copies.Ways, ca_file: pathlib.Path) -> None:
    size = stage.options.https_size
    case = stage.new_case("https", f"{size} MiB")
    case.notes.append(
        "uWSGI as the cloud has it speaks no TLS: a process of ours before "
        "each Glance ends it, one for all that is compared. Glance's import "
        "cannot be told of an authority, and is left out."
    )
    image = copies.make_image(stage, size * copies.MIB)
    small = copies.make_image(stage, copies.MIB)
    with stage.worker(
        worker={"poll_interval": POLL_INTERVAL},
        service_auth={"cafile": ca_file},
    ) as worker:
        for copy in ways.all(small, worker, imports=False).values():
            copy()
        subjects = ways.all(image, worker, imports=False)
        take_turns(case, subjects, stage.options.pairs, stage.say)
    for made in (image, small):
        copies.delete_image(stage, made)
    case.compare(copies.OURS, copies.CURL, "s")
    case.compare(copies.OURS, copies.UPLOAD, "s")
    case.compare(copies.OURS, copies.CURL, "CPU s/GiB")


@contextlib.contextmanager
def _terminated(
    stage: Stage, region: str, certificate: pathlib.Path
) -> Iterator[str]:
    """Serve a region's Glance over TLS; yield the URL."""
    upstream = stage.running.glances[region].server.port
    with ports.listen(None, "TLS") as listener:
        descriptor = listener.fileno()
        running = stage.spawn_module(
            "terminator",
            [str(descriptor), str(upstream), str(certificate)],
            [descriptor],
        )
        try:
            yield f"https://{ports.HOST}:{ports.number(listener)}"
        finally:
            stage.supervisor.stop(running)
