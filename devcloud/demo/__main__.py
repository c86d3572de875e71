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
loaded, a gateway near ot1 and a worker; uploads an image to ot1, asks for its
copy in ot2, follows the job, and compares the copy with what was uploaded. It
ends with status 0 when both are the same, and stops all that it started.
"""

import argparse
import contextlib
import json
import signal
import sys
import time
import types
import typing
from collections.abc import Sequence

from keystoneauth1 import exceptions as ks_exceptions

from devcloud import cloud
from devcloud import demo
from devcloud import images
from devcloud import ports
from devcloud import process
from devcloud.demo import arguments as demo_arguments
from devcloud.demo import comparison
from devcloud.demo import progress
from devcloud.demo import shell
from devcloud.demo import subject as demo_subject
from devcloud.demo import terminal

# Each of these signals stops the demonstration cleanly.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def start_cloud(options: argparse.Namespace) -> cloud.Cloud:
    """Return the cloud for the chosen ports, not started yet."""
    return cloud.Cloud(
        cloud.Options(
            keystone_port=options.keystone_port or None,
            glance_ports={
                region: port
                for region in cloud.REGIONS
                if (port := getattr(options, f"{region}_port"))
            },
            replicator_config={
                "worker": {"poll_interval": progress.POLL_INTERVAL}
            },
            report=lambda text: terminal.say(f"    {text}"),
        )
    )


def upload(
    replicated: cloud.Cloud, subject: demo_subject.Subject
) -> images.Image:
    """Upload the image to the source region as an ordinary user."""
    terminal.step(
        f"Uploading the image to {demo.SOURCE}, "
        f"as {demo.USER} of project source."
    )
    begin = time.monotonic()
    with subject.path.open("rb") as file:
        image = replicated.images(demo.SOURCE, demo.USER, "source").create(
            file,
            name=subject.path.stem,
            disk_format=subject.disk_format,
            **comparison.PROPERTIES,
        )
    terminal.say(f"    {image['id']} in {time.monotonic() - begin:.1f} s")
    return image


def request_copy(replicated: cloud.Cloud, image: images.Image) -> str:
    """Ask for the copy; return the id of the job.

    :raises DemoError: when the request is refused
    """
    terminal.step(
        f"Asking {demo.SOURCE} for a copy in the project destination."
    )
    body = {
        "image_id": image["id"],
        "tenant_id_dst": replicated.project_id("destination"),
    }
    terminal.say(f"    POST {cloud.BASE_PATH}/jobs {json.dumps(body)}")
    answer = replicated.jobs_client(demo.SOURCE, demo.USER).post(
        "/jobs", json=body
    )
    terminal.say(f"    {answer.status_code} {answer.text}")
    if answer.status_code != 202:
        raise progress.DemoError("The copy was refused.")
    return typing.cast(str, answer.json()["job_id"])


def show_job(replicated: cloud.Cloud, job_id: str) -> None:
    """Print a job as the API shows it."""
    client = replicated.jobs_client(demo.SOURCE, demo.USER)
    terminal.step("The job, as the API shows it.")
    terminal.say(json.dumps(client.get(f"/jobs/{job_id}").json(), indent=2))


def copy_and_compare(
    replicated: cloud.Cloud,
    subject: demo_subject.Subject,
    options: argparse.Namespace,
) -> bool:
    """Make all steps; return whether the copy equals the source."""
    terminal.step(f"Starting a gateway near {demo.SOURCE}, and a worker.")
    near = replicated.new_gateway(demo.SOURCE)
    near.start()
    terminal.say(f"    The gateway listens on {near.url}")
    known: dict[str, typing.Any] = {
        f"region:{demo.SOURCE}": {"data_endpoint": near.url}
    }
    worker = replicated.start_worker(**known)
    source = upload(replicated, subject)
    job_id = request_copy(replicated, source)
    job = progress.follow(replicated, worker, job_id, options.timeout)
    show_job(replicated, job_id)
    same = False
    if job["status"] == "replicated":
        copy_id = job["destination_image_id"]
        rows = comparison.compare(replicated, subject, source, copy_id)
        comparison.show_rows(rows)
        same = all(row.same for row in rows)
        terminal.say(
            f"\nThe copy is {'a true one' if same else 'NOT THE SAME'}."
        )
    else:
        terminal.say(f"\nThe job ended as {job['status']}. {worker.ending()}")
    if options.keep:
        shell.keep(replicated, job)
    return same


def run(options: argparse.Namespace) -> bool:
    """Start the cloud, make all steps, and stop it again."""
    with contextlib.ExitStack() as stack:
        terminal.step("Starting Keystone and, in two regions, Glance.")
        replicated = stack.enter_context(start_cloud(options))
        # From here on a second Ctrl-C does not interrupt the clean-up.
        stack.callback(announce_stop)
        terminal.say(f"    Keystone listens on {replicated.auth_url}")
        for region in cloud.REGIONS:
            terminal.say(
                f"    {region} listens on {replicated.endpoint(region)}"
            )
        subject = demo_subject.prepare(options, replicated.directory)
        return copy_and_compare(replicated, subject, options)


def announce_stop() -> None:
    """Print that everything is being stopped, and ignore further signals."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    terminal.step("Stopping all that was started.")


def interrupt(number: int, frame: types.FrameType | None) -> None:
    """Treat a signal as Ctrl-C, so that all processes are stopped."""
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration.

    :returns: the exit status: 0 for a right copy, 1 otherwise, 2 when a port
        is taken, 130 after Ctrl-C
    """
    options = demo_arguments.parse(arguments, __doc__)
    for number in SIGNALS:
        signal.signal(number, interrupt)
    try:
        return 0 if run(options) else 1
    except ports.PortTaken as exc:
        name = exc.purpose.removeprefix("glance-")
        terminal.say(f"\nError: {exc} Here: --{name}-port.")
        return 2
    except (
        progress.DemoError,
        process.ProcessError,
        ks_exceptions.ClientException,
    ) as exc:
        terminal.say(f"\nError: {exc}")
        return 1
    except KeyboardInterrupt:
        terminal.say("\nInterrupted.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
