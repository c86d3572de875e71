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

"""The image that the demonstration copies."""

import argparse
import dataclasses
import hashlib
import pathlib

from oslo_utils.imageutils import format_inspector

from devcloud import qcow2
from devcloud.demo import terminal


@dataclasses.dataclass(frozen=True)
class Subject:
    """The image that is to be copied, as a file."""

    path: pathlib.Path
    disk_format: str
    sha512: str

    @property
    def mebibytes(self) -> float:
        """The size of the file in MiB."""
        return self.path.stat().st_size / (1 << 20)


def detect_format(path: pathlib.Path) -> str:
    """Return the disk format of a file, by Glance's own inspection.

    A disk with a partition table (``gpt``) is ``raw`` to Glance.
    """
    found = str(format_inspector.detect_file_format(str(path)))
    return "raw" if found == "gpt" else found


def prepare(options: argparse.Namespace, directory: pathlib.Path) -> Subject:
    """Return the file that was given, or create one."""
    path = options.image
    if path is None:
        terminal.step(f"Making a qcow2 image of {options.size} MiB.")
        path = directory / "demo.qcow2"
        qcow2.write(path, options.size)
    else:
        terminal.step(f"Taking the image {path}.")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").hexdigest()
    subject = Subject(path, options.disk_format or detect_format(path), digest)
    terminal.say(f"    {subject.mebibytes:.1f} MiB of {subject.disk_format}")
    return subject
