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

"""Base of the commands' tests."""

import contextlib
import io
import pathlib
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from collections.abc import Sequence
from typing import NamedTuple

import fixtures
import testtools

from devcloud import settings
from image_replicator.tests.unit import keystones

SECRET = "pa55word"

#: The timeout of a command, in seconds.
PATIENCE = 60


class Done(NamedTuple):
    """The result of a command: its exit status and its output."""

    status: int
    output: str
    errors: str


class CommandTestCase(testtools.TestCase):
    """A test with a configuration on SQLite.

    :ivar config_file: its path.
    """

    def setUp(self) -> None:
        super().setUp()
        self.useFixture(fixtures.FakeLogger())
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.config_file = self.directory / "image-replicator.conf"
        self.configure()

    def configure(self, **overrides: settings.Section) -> None:
        """Write a valid configuration, with some options overridden."""
        working: settings.Settings = {
            "DEFAULT": {
                "region_id": "ot1",
                "state_path": self.directory / "state",
            },
            "service_auth": keystones.credentials(password=SECRET),
        }
        settings.write(self.config_file, settings.merge(working, overrides))

    def run_process(self, name: str, *argv: str) -> Done:
        """Run a command in a process, as its console script does."""
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                f"image_replicator.cmd.{name}",
                "--config-file",
                str(self.config_file),
                *argv,
            ],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def call(self, main: Callable[[Sequence[str]], int], *argv: str) -> Done:
        """Run a command in this process, which is faster."""
        output, errors = io.StringIO(), io.StringIO()
        # The command's changes to this process are undone afterwards.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        with (
            fixtures.MonkeyPatch(
                "image_replicator.conf.loading.setup_logging",
                lambda conf: None,
            ),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
        ):
            try:
                status = main(["--config-file", str(self.config_file), *argv])
            except SystemExit as stopped:
                status = int(stopped.code or 0)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return Done(status, output.getvalue(), errors.getvalue())

    def assert_explained(self, done: Done, *words: str) -> None:
        """Check that a command failed with a message and no traceback."""
        self.assertNotEqual(0, done.status)
        told = re.sub(r"\s+", " ", done.output + done.errors)
        for word in words:
            self.assertIn(word, told)
        self.assertNotIn("Traceback", told)
        self.assertNotIn(SECRET, told)
