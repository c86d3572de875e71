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

"""Compares the copy with the uploaded image."""

import dataclasses
import itertools
import json
import textwrap
import typing
from collections.abc import Sequence

from devcloud import cloud
from devcloud import demo
from devcloud import images
from devcloud.demo import subject as demo_subject
from devcloud.demo import terminal

COLUMN = 34  # so that a SHA-512 takes four lines
PROPERTIES: typing.Final = {
    "os_distro": "demo",
    "hw_disk_bus": "virtio",
    "trait:HW_CPU_X86_AVX2": "required",
    "description": "Made by the demonstration",
    "tags": ["demo", "replicate-me"],
}
COMPARED = (
    "name",
    "size",
    "disk_format",
    "container_format",
    "os_hash_algo",
    "os_hash_value",
    *PROPERTIES,
)


@dataclasses.dataclass(frozen=True)
class Row:
    """A property that must be the same on both sides."""

    what: str
    source: str
    copy: str

    @property
    def same(self) -> bool:
        """Whether both sides are equal."""
        return self.source == self.copy


def compare(
    replicated: cloud.Cloud,
    subject: demo_subject.Subject,
    source: images.Image,
    copy_id: str,
) -> list[Row]:
    """Download the copy, and compare it with the uploaded image."""
    terminal.step(
        f"Downloading the copy from {demo.DESTINATION}, and comparing."
    )
    client = replicated.images(demo.DESTINATION, demo.USER, "destination")
    copy = client.get(copy_id)
    rows = [Row("SHA-512, own", subject.sha512, client.sha512(copy_id))]
    owner = replicated.project_id("destination")
    rows.append(Row("owner", owner, copy["owner"]))
    for name in COMPARED:
        pair = [
            json.dumps(sorted(value) if isinstance(value, list) else value)
            for value in (source.get(name), copy.get(name))
        ]
        rows.append(Row(name, *(value.strip('"') for value in pair)))
    return rows


def show_rows(rows: Sequence[Row]) -> None:
    """Print both sides in columns, and mark what differs."""
    source = f"wanted, or in {demo.SOURCE}"
    terminal.say(f"{'':24}{source:{COLUMN}}in {demo.DESTINATION}")
    for row in rows:
        mark = "same" if row.same else "DIFFERENT"
        first = [row.what]
        cells = [
            textwrap.wrap(text, COLUMN - 2) for text in (row.source, row.copy)
        ]
        for what, left, right, last in itertools.zip_longest(
            first, *cells, [mark], fillvalue=""
        ):
            terminal.say(
                f"{what:24}{left:{COLUMN}}{right:{COLUMN}}{last}".rstrip()
            )
