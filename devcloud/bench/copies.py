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

"""The ways of copying an image from one region to the other."""

import contextlib
import dataclasses
import os
import pathlib
import sqlite3
import time
from collections.abc import Callable

from devcloud import process
from devcloud.bench import curl
from devcloud.bench import measure
from devcloud.bench import usage
from devcloud.bench.stage import BenchError
from devcloud.bench.stage import DESTINATION
from devcloud.bench.stage import finished_at
from devcloud.bench.stage import SOURCE
from devcloud.bench.stage import Stage
from image_replicator.jobs import Job

MIB = 1 << 20
GIB = 1 << 30

OURS = "image replicator"
CURL = "curl | curl"
IMPORT = "glance-download"
UPLOAD = "bare upload"

_LOOK_INTERVAL = 0.02  # seconds

#: The query for the state of an import in Glance's database.
_IMPORT = """
SELECT images.status, tasks.status FROM images
JOIN tasks ON tasks.image_id = images.id WHERE images.id = ?
"""


@dataclasses.dataclass(frozen=True)
class Image:
    """An image of the source region.

    :ivar size: bytes
    :ivar path: the file in Glance's store
    """

    id: str
    size: int
    path: pathlib.Path


def make_image(
    stage: Stage, size: int, mebibyte: Callable[[int], bytes] | None = None
) -> Image:
    """Upload an image to the source region.

    :param size: bytes, whole MiB
    :param mebibyte: returns the MiB of a number; None repeats one MiB, where
        nothing on the way depends on the content
    """
    images = stage.running.images(SOURCE)
    image_id = images.create(None, name=f"bench {size // MIB} MiB")["id"]
    piece = os.urandom(MIB)
    path = stage.store / "upload"
    with path.open("wb") as file:
        for number in range(size // MIB):
            file.write(mebibyte(number) if mebibyte else piece)
    url = f"{stage.running.endpoint(SOURCE)}/v2/images/{image_id}/file"
    curl.run(curl.put(url, stage.running.token(), str(path)))
    path.unlink()
    return Image(image_id, size, stage.store / "images" / image_id)


def delete_image(stage: Stage, image: Image) -> None:
    """Delete an image of the source region."""
    stage.running.images(SOURCE).delete(image.id)


class Ways:
    """Copies images in each of the ways, and deletes the copies.

    :param source_url: the URL from which images are read; None for the
        source's Glance
    :param destination_url: the same for uploads
    :param ca_file: the authority of both ends' certificates
    """

    def __init__(
        self,
        stage: Stage,
        source_url: str | None = None,
        destination_url: str | None = None,
        ca_file: pathlib.Path | None = None,
    ) -> None:
        self._stage = stage
        self._cloud = stage.running
        self._source = source_url or self._cloud.endpoint(SOURCE)
        self._destination = destination_url or self._cloud.endpoint(
            DESTINATION
        )
        self._tls = ["--cacert", str(ca_file)] if ca_file else []

    # Ours.

    def ours(self, image: Image, worker: process.Process) -> measure.Sample:
        """Copy with the image replicator, from the request to the end.

        That includes the job's wait for a worker, the creation of the image
        and its verification, which the other ways do not have.
        """
        usage.forget_peak(worker.pid)
        cpu = usage.group_cpu_seconds(worker.pid)
        begin = time.time()
        job = self.done(image)
        cpu = usage.group_cpu_seconds(worker.pid) - cpu
        return {
            "s": finished_at(job) - begin,
            "CPU s/GiB": cpu * GIB / image.size,
            "peak MiB": usage.peak_mebibytes(worker.pid),
        }

    def done(self, image: Image) -> Job:
        """Request a copy, wait for its end, and delete it; return the job."""
        job = self._stage.await_copy(self._stage.request_copy(image.id))
        self.discard(job)
        return job

    def discard(self, job: Job) -> None:
        """Delete the copy that a job made."""
        assert job.destination_image_id
        self._discard(job.destination_image_id)

    # Others.

    def piped(self, image: Image) -> measure.Sample:
        """Pipe one curl into another, which moves the bytes alone."""
        made = self._new_image()
        used = curl.run(self.read(image), self.write(made, "-", image.size))
        self._check(made, image)
        return {
            "s": used.seconds,
            "CPU s/GiB": used.cpu * GIB / image.size,
            "peak MiB": used.peak,
        }

    def upload(self, image: Image) -> measure.Sample:
        """Upload a local file, as the lower bound for every copy."""
        made = self._new_image()
        used = curl.run(self.write(made, str(image.path)))
        self._check(made, image)
        return {"s": used.seconds}

    def glance_download(self, image: Image) -> measure.Sample:
        """Let the destination's Glance fetch the image by itself.

        The copy is in the source's project, as Glance reads with the caller's
        token.
        """
        images = self._cloud.images(DESTINATION)
        made = images.create(None, name="import")["id"]
        method = {
            "name": "glance-download",
            "glance_region": SOURCE,
            "glance_image_id": image.id,
            "glance_service_interface": "internal",
        }
        begin = time.monotonic()
        images.client.post(
            f"/v2/images/{made}/import", json={"method": method}
        )
        self._await_import(made, "active")
        seconds = time.monotonic() - begin
        # Its task goes on to write, which would lock SQLite for the next case.
        self._await_import(made, "active", "success")
        if images.get(made)["size"] != image.size:
            raise BenchError("glance-download did not copy the image")
        self._discard(made, "source")
        return {"s": seconds}

    def _await_import(self, image_id: str, *ending: str) -> None:
        """Wait for an import in Glance's database, as requests would add load.

        :param ending: the status of the image, and that of the task
        :raises BenchError: when the import fails, or takes too long
        """
        path = self._cloud.glances[DESTINATION].database
        deadline = time.monotonic() + curl.PATIENCE
        with contextlib.closing(
            sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        ) as database:
            while True:
                found = database.execute(_IMPORT, [image_id]).fetchone()
                if found[: len(ending)] == ending:
                    return
                if "failure" in found or time.monotonic() > deadline:
                    raise BenchError(f"glance-download: {', '.join(found)}")
                time.sleep(_LOOK_INTERVAL)

    # Commands.

    def read(self, image: Image, *more: str) -> list[str]:
        """Return the command that reads an image of the source region.

        :param more: of curl's options
        """
        url = f"{self._source}/v2/images/{image.id}/file"
        return curl.get(url, self._cloud.token(), *self._tls, *more)

    def write(
        self, image_id: str, file: str, size: int | None = None
    ) -> list[str]:
        """Return the command that uploads to the destination region."""
        url = f"{self._destination}/v2/images/{image_id}/file"
        token = self._cloud.token("alice", "destination")
        return curl.put(url, token, file, size, *self._tls)

    def _new_image(self) -> str:
        images = self._cloud.images(DESTINATION, "alice", "destination")
        made: str = images.create(None, name="curl")["id"]
        return made

    def _check(self, image_id: str, image: Image) -> None:
        """Check that a copy is complete, and delete it."""
        images = self._cloud.images(DESTINATION, "alice", "destination")
        size = images.get(image_id)["size"]
        self._discard(image_id)
        if size != image.size:
            raise BenchError("the image was not copied whole")

    def _discard(self, image_id: str, project: str = "destination") -> None:
        self._cloud.images(DESTINATION, "alice", project).delete(image_id)

    def all(
        self, image: Image, worker: process.Process, imports: bool = True
    ) -> dict[str, measure.Subject]:
        """Return every way of copying an image, by its name.

        :param imports: whether Glance's own import is one of them
        """
        ways: dict[str, measure.Subject] = {
            UPLOAD: lambda: self.upload(image),
            OURS: lambda: self.ours(image, worker),
            CURL: lambda: self.piped(image),
        }
        if imports:
            ways[IMPORT] = lambda: self.glance_download(image)
        return ways
