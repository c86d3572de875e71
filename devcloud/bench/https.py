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

from devcloud import fronts
from devcloud.bench import catalogue
from devcloud.bench import copies
from devcloud.bench.lan import POLL_INTERVAL
from devcloud.bench.measure import take_turns
from devcloud.bench.stage import DESTINATION
from devcloud.bench.stage import SOURCE
from devcloud.bench.stage import Stage


def run(stage: Stage) -> None:
    """Copy an image with TLS, in all ways that can trust our authority."""
    with (
        _terminated(stage, SOURCE) as source,
        _terminated(stage, DESTINATION) as destination,
    ):
        ca_file = stage.store / "trusted.pem"
        ca_file.write_bytes(_certificate(source) + _certificate(destination))
        with (
            catalogue.moved(stage.running, SOURCE, source.url),
            catalogue.moved(stage.running, DESTINATION, destination.url),
            # The API checks whether the destination can be used.
            stage.extension(service_auth={"cafile": ca_file}),
        ):
            ways = copies.Ways(stage, source.url, destination.url, ca_file)
            _measure(stage, ways, ca_file)


@contextlib.contextmanager
def _terminated(stage: Stage, region: str) -> Iterator[fronts.Front]:
    """Serve a region's Glance over TLS."""
    with fronts.HAProxy(tls=True) as front:
        front.connect_to(stage.running.glances[region].server.port)
        yield front


def _certificate(front: fronts.Front) -> bytes:
    assert front.cafile
    return front.cafile.read_bytes()


def _measure(stage: Stage, ways: copies.Ways, ca_file: pathlib.Path) -> None:
    size = stage.options.https_size
    case = stage.new_case("https", f"{size} MiB")
    case.notes.append(
        "uWSGI as the cloud has it speaks no TLS: an HAProxy before each "
        "Glance ends it, one for all that is compared. Glance's import "
        "cannot be told what to trust, and is left out."
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
