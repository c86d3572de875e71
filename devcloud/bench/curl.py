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

"""Runs curl, alone or piped into itself, and measures what it uses."""

import contextlib
import dataclasses
import os
import selectors
import subprocess
import time
from collections.abc import Iterator
from collections.abc import Sequence

from devcloud.bench import usage

#: The timeout of one transfer, in seconds.
PATIENCE = 900

_LOOK_INTERVAL = 0.1  # seconds

_CURL = ("curl", "-sSf", "--noproxy", "*", "--max-time", str(PATIENCE))


class CurlFailed(Exception):
    """curl has ended with an error."""


@dataclasses.dataclass(frozen=True)
class Usage:
    """The resources that commands used.

    :ivar cpu: seconds, of all processes
    :ivar peak: MiB resident, the sum of each process's most
    """

    seconds: float
    cpu: float
    peak: float


def get(url: str, token: str, *more: str) -> list[str]:
    """Return the command that reads an image to the standard output."""
    return [*_CURL, "-H", f"X-Auth-Token: {token}", *more, url]


def put(
    url: str, token: str, file: str, size: int | None = None, *more: str
) -> list[str]:
    """Return the command that uploads an image.

    :param file: its path; ``-`` for the standard input
    :param size: bytes, where curl cannot know
    """
    command = [*_CURL, "-X", "PUT", "-T", file]
    headers = [f"X-Auth-Token: {token}"]
    headers.append("Content-Type: application/octet-stream")
    # With "Expect: 100-continue" curl could wait for a second.
    headers.append("Expect:")
    if size is not None:
        # curl sends no chunked body if it knows the size; uWSGI accepts none.
        headers += ["Transfer-Encoding:", f"Content-Length: {size}"]
    for header in headers:
        command += ["-H", header]
    return [*command, *more, url]


@contextlib.contextmanager
def _pipeline(
    commands: Sequence[Sequence[str]],
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start commands, each of which reads the output of the one before."""
    children: list[subprocess.Popen[bytes]] = []
    source: int | None = subprocess.DEVNULL
    last = len(commands) - 1
    try:
        for number, command in enumerate(commands):
            child = subprocess.Popen(
                command,
                stdin=source,
                stdout=(
                    subprocess.DEVNULL if number == last else subprocess.PIPE
                ),
                stderr=subprocess.DEVNULL,
            )
            children.append(child)
            if number:
                # Only the reader may keep a pipe open, so that it sees the
                # end.
                upstream = children[number - 1].stdout
                assert upstream
                upstream.close()
            source = child.stdout.fileno() if child.stdout else None
        yield children
    finally:
        for child in children:
            if child.returncode is None:
                child.kill()
                child.wait()


def _watch(children: Sequence[subprocess.Popen[bytes]]) -> float:
    """Wait until all have ended; return the sum of their peaks, in MiB.

    The memory is read while they run. The kernel's figures after their end
    include the memory of this process, from which they were forked.
    """
    peaks = dict.fromkeys((child.pid for child in children), 0.0)
    with selectors.DefaultSelector() as running, contextlib.ExitStack() as all:
        for pid in peaks:
            descriptor = os.pidfd_open(pid)
            all.callback(os.close, descriptor)
            running.register(descriptor, selectors.EVENT_READ, pid)
        while running.get_map():
            for key in list(running.get_map().values()):
                # A process that has just ended has no figures.
                with contextlib.suppress(OSError, ValueError):
                    peaks[key.data] = usage.peak_mebibytes(key.data)
            for key, _events in running.select(_LOOK_INTERVAL):
                running.unregister(key.fileobj)
    return sum(peaks.values())


def _reap(child: subprocess.Popen[bytes]) -> float:
    """Return the CPU seconds of a child that has ended."""
    _pid, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return used.ru_utime + used.ru_stime


def run(*commands: Sequence[str]) -> Usage:
    """Run commands piped into each other, to their end.

    :raises CurlFailed: if one of them fails
    """
    begin = time.monotonic()
    with _pipeline(commands) as children:
        peak = _watch(children)
        seconds = time.monotonic() - begin
        cpu = sum([_reap(child) for child in children])
    codes = [child.returncode for child in children]
    if any(codes):
        raise CurlFailed(f"curl ended with {codes}")
    return Usage(seconds, cpu, peak)
