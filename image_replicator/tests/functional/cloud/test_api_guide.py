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

"""The commands of the user's guide, one after the other."""

import json
import pathlib
import re
import shutil
import subprocess
import textwrap
from typing import Any
from typing import Final

import image_replicator
from devcloud import process
from image_replicator.tests.functional.cloud import api_base

_GUIDE: Final = (
    pathlib.Path(image_replicator.__file__)
    .parents[1]
    .joinpath("doc", "source", "user", "index.rst")
)


class TestGuide(api_base.ApiTestCase):
    def setUp(self) -> None:
        super().setUp()
        if not shutil.which("curl"):
            self.skipTest("there is no curl on this machine")
        blocks = re.findall(
            r"^  curl .*\n(?:   .*\n)*", _GUIDE.read_text(), re.MULTILINE
        )
        self.commands = [textwrap.dedent(block) for block in blocks]

    def run_next(self, **variables: str) -> str:
        """Run the guide's next command, and return its output."""
        command = self.commands.pop(0)
        done = subprocess.run(
            ["sh", "-euc", f"{command.rstrip()} --fail"],
            env=process.environment(
                {
                    "IMAGE_API": self.cloud.endpoint("ot1"),
                    "OS_TOKEN": self.cloud.token(),
                    **variables,
                }
            ),
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual(0, done.returncode, f"{command}{done}")
        return done.stdout

    def run_for_json(self, **variables: str) -> Any:
        return json.loads(self.run_next(**variables))

    def test_every_command(self) -> None:
        image = self.cloud.images("ot1").create()
        job_id = self.run_for_json(
            IMAGE_ID=image["id"],
            PROJECT_ID=self.cloud.project_id("destination"),
        )["job_id"]
        job = self.run_for_json(JOB_ID=job_id)
        self.assertEqual("replicate_requested", job["status"])
        self.assertEqual(1, job["queue_position"])
        self.assertEqual([job], self.run_for_json())
        self.assertEqual("", self.run_next(JOB_ID=job_id))
        self.start_worker()
        self.wait_for(job_id, "canceled")
        self.assertEqual("", self.run_next(JOB_ID=job_id))
        job = self.wait_for(job_id, "replicated", "error")
        self.assertEqual("replicated", job["status"])
        images = self.cloud.images("ot2", "alice", "destination")
        copy = images.get(job["destination_image_id"])
        self.assertEqual("cirros of ot1", copy["name"])
        self.assertEqual([], self.commands)
