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

"""The signals and the exit status of the worker's command."""

import io
import pathlib
import signal
import threading

import fixtures
import testtools

from devcloud import settings
from image_replicator.cmd import worker
from image_replicator.tests.unit import keystones
from image_replicator.worker import worker as worker_process


class TestMain(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        # The command blocks signals in this thread.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self.addCleanup(signal.pthread_sigmask, signal.SIG_SETMASK, mask)
        # Setting up logging changes it for the whole process.
        self.useFixture(
            fixtures.MonkeyPatch(
                "image_replicator.conf.loading.setup_logging",
                lambda _conf: None,
            )
        )
        self.command_thread = threading.get_ident()
        self.logger = self.useFixture(fixtures.FakeLogger())
        self.stderr = io.StringIO()
        self.useFixture(fixtures.MonkeyPatch("sys.stderr", self.stderr))

    def _main(self, auth_type: str = "password") -> int:
        directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        path = directory / "image-replicator.conf"
        settings.write(
            path,
            {
                "database": {
                    "connection": f"sqlite:///{directory}/jobs.sqlite"
                },
                "service_auth": keystones.credentials(auth_type=auth_type),
            },
        )
        return worker.main(["--config-file", str(path)])

    def _signal(self, number: int) -> None:
        # A signal to the process could be delivered to a thread of another
        # test.
        signal.pthread_kill(self.command_thread, number)

    def _run_instead(self, run: object) -> None:
        self.useFixture(
            fixtures.MockPatchObject(worker_process.Worker, "run", run)
        )

    def test_a_signal_ends_it_with_0(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):

            def run(work: worker_process.Worker, number: int = number) -> None:
                self._signal(number)
                work._stopping.wait(10)

            self._run_instead(run)
            self.assertEqual(0, self._main())

    def test_the_first_sigterm_is_gentle_the_second_is_not(self) -> None:
        urgent = []

        def run(work: worker_process.Worker) -> None:
            for wanted in (work._stopping, work._stopping_now):
                urgent.append(work._stopping_now.is_set())
                self._signal(signal.SIGTERM)
                wanted.wait(10)
            urgent.append(work._stopping_now.is_set())

        self._run_instead(run)
        self.assertEqual(0, self._main())
        self.assertEqual([False, False, True], urgent)

    def test_a_worker_that_breaks_down_ends_it_with_1(self) -> None:
        def run(work: worker_process.Worker) -> None:
            raise RuntimeError("unforeseen")

        self._run_instead(run)
        self.assertEqual(1, self._main())
        self.assertIn("unforeseen", self.logger.output)

    def test_a_configuration_that_cannot_work_ends_it_with_1(self) -> None:
        threads = threading.active_count()
        self.assertEqual(1, self._main(auth_type="unheard-of"))
        self.assertEqual(threads, threading.active_count())
        self.assertIn("[service_auth]", self.stderr.getvalue())
