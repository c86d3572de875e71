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

"""The description of the machine."""

import importlib.metadata
import os
import pathlib
import platform
import subprocess
import time

_PACKAGES = ("image-replicator", "glance", "keystone", "pyuwsgi", "SQLAlchemy")


def _first_line(path: str, word: str) -> str:
    """Return the value in the line of a file that begins with a word."""
    for line in pathlib.Path(path).read_text().splitlines():
        if line.startswith(word):
            return line.partition(":")[2].strip()
    return "unknown"


def describe() -> dict[str, str]:
    """Return the machine's figures and the versions, by name."""
    memory = int(_first_line("/proc/meminfo", "MemTotal").split()[0])
    curl = subprocess.run(
        ["curl", "--version"], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": (
            f"{os.cpu_count()} x {_first_line('/proc/cpuinfo', 'model name')}"
        ),
        "memory": f"{memory / (1 << 20):.0f} GiB",
        "system": f"Linux {platform.release().partition('-')[0]}",
        "Python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
        "curl": curl,
    }
