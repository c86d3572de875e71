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

"""The commands with which a user can use the cloud of the demonstration."""

import contextlib
import json
import pathlib
import sys
import threading

from devcloud import cloud
from devcloud import demo
from devcloud.demo import progress
from devcloud.demo import terminal


def environment(replicated: cloud.Cloud) -> dict[str, str]:
    """Return the environment variables for clients of the user."""
    return {
        "OS_IDENTITY_API_VERSION": "3",
        "OS_AUTH_URL": replicated.auth_url,
        "OS_USERNAME": demo.USER,
        "OS_PASSWORD": replicated.user(demo.USER).password,
        "OS_PROJECT_NAME": "source",
        "OS_USER_DOMAIN_NAME": "Default",
        "OS_PROJECT_DOMAIN_NAME": "Default",
        "OS_REGION_NAME": demo.SOURCE,
    }


def curl_lines(replicated: cloud.Cloud, job: progress.Job) -> list[str]:
    """Return a line for each operation of the API."""
    base = f"{replicated.endpoint(demo.SOURCE)}{cloud.BASE_PATH}"
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


def keep(replicated: cloud.Cloud, job: progress.Job) -> None:
    """Print how to use the cloud, and keep it running until Ctrl-C."""
    terminal.step(
        "The cloud stays up. These let you act as alice in another shell:"
    )
    for name, value in environment(replicated).items():
        terminal.say(f"export {name}={value}")
    terminal.say(f"export PATH={pathlib.Path(sys.prefix, 'bin')}:$PATH")
    terminal.say("export TOKEN=$(openstack token issue -f value -c id)")
    terminal.step("List, show, copy again and cancel:")
    for line in curl_lines(replicated, job):
        terminal.say(line)
    terminal.step("Look at the copy:")
    terminal.say(
        f"OS_REGION_NAME={demo.DESTINATION} OS_PROJECT_NAME=destination "
        f"openstack image show {job['destination_image_id']}"
    )
    terminal.step("Logs, configuration and data are in this directory:")
    terminal.say(f"    {replicated.directory}")
    terminal.step("Press Ctrl-C to stop it all.")
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
