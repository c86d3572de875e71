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

"""The CPU seconds and the peak memory of processes, from /proc."""

import contextlib
import os
import pathlib

_TICKS = os.sysconf("SC_CLK_TCK")  # per second


def _fields(stat: pathlib.Path) -> list[str]:
    """Return the fields of a ``/proc/…/stat`` from the third on.

    The second, the program's name in parentheses, can have any characters.
    """
    return stat.read_text().rpartition(")")[2].split()


def _cpu_seconds(fields: list[str]) -> float:
    user, system = fields[11:13]
    return (int(user) + int(system)) / _TICKS


def group_cpu_seconds(group: int) -> float:
    """Return the CPU seconds that the processes of a group have used.

    It counts running processes only; a server's workers do not end while it
    serves.
    """
    total = 0.0
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        # A process may end after it was listed.
        with contextlib.suppress(OSError):
            fields = _fields(stat)
            if int(fields[2]) == group:
                total += _cpu_seconds(fields)
    return total


def forget_peak(pid: int) -> None:
    """Reset the peak memory of a process."""
    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_mebibytes(pid: int) -> float:
    """Return the peak resident memory of a process, in MiB."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    (line,) = (x for x in status.splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def available_bytes() -> int:
    """Return the bytes of memory that are available without swapping."""
    text = pathlib.Path("/proc/meminfo").read_text()
    (line,) = (x for x in text.splitlines() if x.startswith("MemAvailable"))
    return int(line.split()[1]) * 1024
