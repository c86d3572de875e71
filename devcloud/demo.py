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

"""Shows the image replicator at work in a real cloud on this machine.

It starts a Keystone, two Glances (the regions ot1 and ot2) with the extension
loaded, and a worker; uploads an image to ot1, asks for its copy in ot2,
follows the job, and compares the copy with what was uploaded. It ends with
status 0 when both are the same, and stops all that it started.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import itertools
import json
import pathlib
import signal
import sys
import textwrap
import threading
import time
import types
import typing
from collections.abc import Iterator
from collections.abc import Sequence

from keystoneauth1 import exceptions as ks_exceptions
from oslo_utils.imageutils import format_inspector

from devcloud import cloud
from devcloud import images
from devcloud import ports
from devcloud import process
from devcloud import qcow2

Job = dict[str, typing.Any]

SOURCE, DESTINATION = cloud.REGIONS
USER = "alice"
FINAL = ("replicated", "canceled", "error")
# All of them end the demonstration in good order.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
POLL_INTERVAL = 0.2  # seconds
BAR_WIDTH = 40
COLUMN = 34  # so that a SHA-512 takes four lines
PROPERTIES: typing.Final = {
    "os_distro": "demo",
    "hw_disk_bus": "virtio",
    "trait:HW_CPU_X86_AVX2": "required",
    "description": "Made by devcloud/demo.py",
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


class DemoError(Exception):
    """Something did not go as the demonstration says it goes."""


@dataclasses.dataclass(frozen=True)
class Subject:
    """The image that is to be copied, as a file."""

    path: pathlib.Path
    disk_format: str
    sha512: str

    @property
    def megabytes(self) -> float:
        return self.path.stat().st_size / (1 << 20)


@dataclasses.dataclass(frozen=True)
class Row:
    """One thing that must be the same on both sides."""

    what: str
    source: str
    copy: str

    @property
    def same(self) -> bool:
        return self.source == self.copy


def say(text: str = "") -> None:
    """Print a paragraph at once, also into a pipe."""
    print(text, flush=True)


def step(text: str) -> None:
    """Announce what comes next."""
    say(f"\n==> {text}")


# Arguments


def existing_file(text: str) -> pathlib.Path:
    """Parse the path of a file that can be read."""
    path = pathlib.Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{text} is not a file")
    return path


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--image",
        type=existing_file,
        metavar="FILE",
        help="the image to copy; otherwise a qcow2 image is made",
    )
    parser.add_argument(
        "--disk-format",
        metavar="FORMAT",
        help="the format of FILE; otherwise it is found out",
    )
    parser.add_argument(
        "--size",
        type=int,
        default=256,
        metavar="MIB",
        help="size of the image that is made, in MiB (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=900.0,
        metavar="SECONDS",
        help="how long the copy may take (default: %(default)g)",
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="leave the cloud up until Ctrl-C, and say how to use it",
    )
    add_port_arguments(parser)
    return parser.parse_args(arguments)


def add_port_arguments(parser: argparse.ArgumentParser) -> None:
    """Add an option for each port that is listened on."""
    defaults = {"keystone": 5000, SOURCE: 9292, DESTINATION: 9393}
    for service, port in defaults.items():
        parser.add_argument(
            f"--{service}-port",
            type=int,
            default=port,
            metavar="PORT",
            help=f"port of {service}; 0 takes a free one "
            "(default: %(default)s)",
        )


# The steps


def detect_format(path: pathlib.Path) -> str:
    """Return the disk format of a file, by Glance's own inspection.

    A disk with a partition table (``gpt``) is ``raw`` to Glance.
    """
    found = str(format_inspector.detect_file_format(str(path)))
    return "raw" if found == "gpt" else found


def prepare_image(
    options: argparse.Namespace, directory: pathlib.Path
) -> Subject:
    """Take the file that was given, or make one."""
    path = options.image
    if path is None:
        step(f"Making a qcow2 image of {options.size} MiB.")
        path = directory / "demo.qcow2"
        qcow2.write(path, options.size)
    else:
        step(f"Taking the image {path}.")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").hexdigest()
    subject = Subject(path, options.disk_format or detect_format(path), digest)
    say(f"    {subject.megabytes:.1f} MiB of {subject.disk_format}")
    return subject


def start_cloud(options: argparse.Namespace) -> cloud.Cloud:
    """Return a cloud that is ready to be started on the wanted ports."""
    return cloud.Cloud(
        cloud.Options(
            keystone_port=options.keystone_port or None,
            glance_ports={
                region: port
                for region in cloud.REGIONS
                if (port := getattr(options, f"{region}_port"))
            },
            replicator_config={"worker": {"poll_interval": POLL_INTERVAL}},
            report=lambda text: say(f"    {text}"),
        )
    )


def upload(replicated: cloud.Cloud, subject: Subject) -> images.Image:
    """Upload the image to the source region as an ordinary user."""
    step(f"Uploading the image to {SOURCE}, as {USER} of project source.")
    begin = time.monotonic()
    with subject.path.open("rb") as file:
        image = replicated.images(SOURCE, USER, "source").create(
            file,
            name=subject.path.stem,
            disk_format=subject.disk_format,
            **PROPERTIES,
        )
    say(f"    {image['id']} in {time.monotonic() - begin:.1f} s")
    return image


def request_copy(replicated: cloud.Cloud, image: images.Image) -> str:
    """Ask for the copy; return the id of the job.

    :raises DemoError: when the request is refused
    """
    step(f"Asking {SOURCE} for a copy in the project destination.")
    body = {
        "image_id": image["id"],
        "tenant_id_dst": replicated.project_id("destination"),
    }
    say(f"    POST {cloud.BASE_PATH}/jobs {json.dumps(body)}")
    answer = replicated.jobs_client(SOURCE, USER).post("/jobs", json=body)
    say(f"    {answer.status_code} {answer.text}")
    if answer.status_code != 202:
        raise DemoError("The copy was refused.")
    return typing.cast(str, answer.json()["job_id"])


def watch(
    replicated: cloud.Cloud,
    worker: process.Process,
    job_id: str,
    timeout: float,
) -> Iterator[Job]:
    """Yield the job again and again until it is final.

    :param timeout: seconds
    :raises DemoError: when it is not final by then, cannot be read, or the
        worker has ended
    """
    client = replicated.jobs_client(SOURCE, USER)
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
    """Draw how far a job is."""
    percent = job["copy_progress"]
    full = BAR_WIDTH * percent // 100
    drawn = "#" * full + "." * (BAR_WIDTH - full)
    return f"    [{drawn}] {percent:3d} %  {job['status']}"


def draw(job: Job, shown: Job | None) -> None:
    """Draw the bar of a job below, or on a terminal over, the last one.

    :param shown: the job as it was drawn last, or None
    """
    if shown and bar(shown) == bar(job):
        return
    if not sys.stdout.isatty():
        say(bar(job))
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
    step("Following the job.")
    shown: Job | None = None
    for job in watch(replicated, worker, job_id, timeout):
        draw(job, shown)
        shown = job
    if sys.stdout.isatty():
        say()
    assert shown
    return shown


def show_job(replicated: cloud.Cloud, job_id: str) -> None:
    """Print a job as the API has it."""
    client = replicated.jobs_client(SOURCE, USER)
    step("The job, as the API shows it.")
    say(json.dumps(client.get(f"/jobs/{job_id}").json(), indent=2))


def compare(
    replicated: cloud.Cloud,
    subject: Subject,
    source: images.Image,
    copy_id: str,
) -> list[Row]:
    """Download the copy, and hold it against what was uploaded."""
    step(f"Downloading the copy from {DESTINATION}, and comparing.")
    client = replicated.images(DESTINATION, USER, "destination")
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
    say(f"{'':24}{f'wanted, or in {SOURCE}':{COLUMN}}in {DESTINATION}")
    for row in rows:
        mark = "same" if row.same else "DIFFERENT"
        first = [row.what]
        cells = [
            textwrap.wrap(text, COLUMN - 2) for text in (row.source, row.copy)
        ]
        for what, left, right, last in itertools.zip_longest(
            first, *cells, [mark], fillvalue=""
        ):
            say(f"{what:24}{left:{COLUMN}}{right:{COLUMN}}{last}".rstrip())


# Playing with it


def environment(replicated: cloud.Cloud) -> dict[str, str]:
    """Return the variables that let a client act as the user."""
    return {
        "OS_IDENTITY_API_VERSION": "3",
        "OS_AUTH_URL": replicated.auth_url,
        "OS_USERNAME": USER,
        "OS_PASSWORD": replicated.user(USER).password,
        "OS_PROJECT_NAME": "source",
        "OS_USER_DOMAIN_NAME": "Default",
        "OS_PROJECT_DOMAIN_NAME": "Default",
        "OS_REGION_NAME": SOURCE,
    }


def curl_lines(replicated: cloud.Cloud, job: Job) -> list[str]:
    """Return a line for each operation of the API."""
    base = f"{replicated.endpoint(SOURCE)}{cloud.BASE_PATH}"
    curl = 'curl -s -H "X-Auth-Token: $TOKEN" -H "Accept: application/json"'
    body = json.dumps(
        {
            "image_id": job["source_image_id"],
            "tenant_id_dst": job["destination_tenant_id"],
        }
    )
    return [
        f"{curl} {base}",
        f"{curl} {base}/jobs",
        f"{curl} {base}/jobs/{job['job_id']}",
        f"{curl} -H 'Content-Type: application/json' {base}/jobs -d '{body}'",
        f"{curl} -i -X DELETE {base}/jobs/{job['job_id']}",
    ]


def keep(replicated: cloud.Cloud, job: Job) -> None:
    """Say how to use the cloud, and leave it up until Ctrl-C."""
    step("The cloud stays up. These let you act as alice in another shell:")
    for name, value in environment(replicated).items():
        say(f"export {name}={value}")
    say(f"export PATH={pathlib.Path(sys.prefix, 'bin')}:$PATH")
    say("export TOKEN=$(openstack token issue -f value -c id)")
    step("List, show, copy again and cancel:")
    for line in curl_lines(replicated, job):
        say(line)
    step("Look at the copy:")
    say(
        f"OS_REGION_NAME={DESTINATION} OS_PROJECT_NAME=destination "
        f"openstack image show {job['destination_image_id']}"
    )
    step("Logs, configuration and data are in this directory:")
    say(f"    {replicated.directory}")
    step("Press Ctrl-C to stop it all.")
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()


# All of it


def copy_and_compare(
    replicated: cloud.Cloud, subject: Subject, options: argparse.Namespace
) -> bool:
    """Go through all steps; return whether the copy is a true one."""
    step("Starting a worker.")
    worker = replicated.start_worker()
    source = upload(replicated, subject)
    job_id = request_copy(replicated, source)
    job = follow(replicated, worker, job_id, options.timeout)
    show_job(replicated, job_id)
    same = False
    if job["status"] == "replicated":
        copy_id = job["destination_image_id"]
        rows = compare(replicated, subject, source, copy_id)
        show_rows(rows)
        same = all(row.same for row in rows)
        say(f"\nThe copy is {'a true one' if same else 'NOT THE SAME'}.")
    else:
        say(f"\nThe job ended as {job['status']}. {worker.ending()}")
    if options.keep:
        keep(replicated, job)
    return same


def run(options: argparse.Namespace) -> bool:
    """Start the cloud, go through all steps, and stop it again."""
    with contextlib.ExitStack() as stack:
        step("Starting Keystone and, in two regions, Glance.")
        replicated = stack.enter_context(start_cloud(options))
        # From here on a second Ctrl-C shall not interrupt the stopping.
        stack.callback(announce_stop)
        say(f"    Keystone listens on {replicated.auth_url}")
        for region in cloud.REGIONS:
            say(f"    {region} listens on {replicated.endpoint(region)}")
        subject = prepare_image(options, replicated.directory)
        return copy_and_compare(replicated, subject, options)


def announce_stop() -> None:
    """Say that all is stopped now, and see it through."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    step("Stopping all that was started.")


def interrupt(number: int, frame: types.FrameType | None) -> None:
    """Treat a signal as Ctrl-C, so that what was started is stopped."""
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration.

    :returns: the exit status: 0 for a true copy, 1 otherwise, 2 when a port
        is taken, 130 after Ctrl-C
    """
    options = parse_arguments(arguments)
    for number in SIGNALS:
        signal.signal(number, interrupt)
    try:
        return 0 if run(options) else 1
    except ports.PortTaken as exc:
        name = exc.purpose.removeprefix("glance-")
        say(f"\nError: {exc} Here: --{name}-port.")
        return 2
    except (
        DemoError,
        process.ProcessError,
        ks_exceptions.ClientException,
    ) as exc:
        say(f"\nError: {exc}")
        return 1
    except KeyboardInterrupt:
        say("\nInterrupted.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
