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

"""Follows a job, and draws its progress."""

import sys
import time
import typing
from collections.abc import Iterator

from devcloud import cloud
from devcloud import demo
from devcloud import process
from devcloud.demo import terminal

Job = dict[str, typing.Any]

FINAL = ("replicated", "canceled", "error")
POLL_INTERVAL = 0.2  # seconds
BAR_WIDTH = 40


class DemoError(Exception):
    """A step of the demonstration failed."""


def watch(
    replicated: cloud.Cloud,
    worker: process.Process,
    job_id: str,
    timeout: float,
) -> Iterator[Job]:
    """Yield the job repeatedly until it is final.

    :param timeout: seconds
    :raises DemoError: when it is not final by then, cannot be read, or the
        worker has ended
    """
    client = replicated.jobs_client(demo.SOURCE, demo.USER)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        answer = client.get(f"/jobs/{job_id}")
        if answer.status_code != 200:
            raise DemoError(f"The job cannot be read: {answer.text}")
        job = answer.json()
        yield job
        if job["status"] in FINAL:
            return
        if not worker.running:
            raise DemoError(f"The worker has ended. {worker.ending()}")
        time.sleep(POLL_INTERVAL)
    raise DemoError(f"The job is not done after {timeout:g} s.")


def bar(job: Job) -> str:
    """Return the progress bar of a job."""
    percent = job["copy_progress"]
    full = BAR_WIDTH * percent // 100
    drawn = "#" * full + "." * (BAR_WIDTH - full)
    return f"    [{drawn}] {percent:3d} %  {job['status']}"


def draw(job: Job, shown: Job | None) -> None:
    """Print the bar of a job; on a terminal it replaces the last one.

    :param shown: the job as it was drawn last, or None
    """
    if shown and bar(shown) == bar(job):
        return
    if not sys.stdout.isatty():
        terminal.say(bar(job))
        return
    stays = shown is None or shown["status"] == job["status"]
    print("\r" if stays else "\n", bar(job), sep="", end="", flush=True)


def follow(
    replicated: cloud.Cloud,
    worker: process.Process,
    job_id: str,
    timeout: float,
) -> Job:
    """Show a job, status by status, until it is final, and return it."""
    terminal.step("Following the job.")
    shown: Job | None = None
    for job in watch(replicated, worker, job_id, timeout):
        draw(job, shown)
        shown = job
    if sys.stdout.isatty():
        terminal.say()
    assert shown
    return shown
