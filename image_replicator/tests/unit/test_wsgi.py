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

"""The stand-alone application, as a WSGI server imports it."""

import pathlib
import subprocess
import sys

import fixtures
import testtools

from devcloud import process
from devcloud import settings
from image_replicator.tests.unit import keystones

_PASTE = """
[pipeline:main]
pipeline = image_replicator

[app:image_replicator]
paste.app_factory = image_replicator.api:app_factory
"""

#: Imports the application, and prints its answer to a request without a token.
_PROGRAM = """
import webob
from image_replicator import wsgi
request = webob.Request.blank("/v2/extension/image_replicator/jobs")
print(request.get_response(wsgi.application).status)
"""


class TestApplication(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def run_program(self) -> subprocess.CompletedProcess[str]:
        """Import it in a process of its own, as it sets up logging."""
        return subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            env=process.environment(
                {"OS_IMAGE_REPLICATOR_CONFIG_DIR": str(self.directory)}
            ),
            capture_output=True,
            text=True,
            timeout=60,
        )

    def configure(self, region: str | None) -> None:
        settings.write(
            self.directory / "image-replicator.conf",
            {
                "DEFAULT": {
                    "region_id": region,
                    "state_path": self.directory,
                },
                "service_auth": keystones.credentials(),
            },
        )
        (self.directory / "image-replicator-paste.ini").write_text(_PASTE)

    def test_directory_of_the_environment_is_used(self) -> None:
        self.configure("ot1")
        done = self.run_program()
        self.assertIn("401 Unauthorized\n", done.stdout, done.stderr)

    def test_configuration_that_cannot_work_stops_the_process(self) -> None:
        self.configure(None)
        done = self.run_program()
        self.assertEqual(1, done.returncode)
        self.assertIn("region_id: not set", done.stderr)
        self.assertNotIn("Traceback", done.stderr)

    def test_configuration_that_is_missing_stops_the_process(self) -> None:
        done = self.run_program()
        self.assertEqual(1, done.returncode)
        path = str(self.directory / "image-replicator.conf")
        self.assertIn(path, done.stderr)
        self.assertNotIn("Traceback", done.stderr)
