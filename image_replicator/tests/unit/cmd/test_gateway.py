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

"""The gateway's command: its start, its signals and its exit status."""

import signal
import subprocess
import sys
import time

from devcloud import ports
from image_replicator.tests.unit.cmd import base


class TestGateway(base.CommandTestCase):
    def start(self, port: int) -> "subprocess.Popen[str]":
        self.configure(gateway={"bind_port": port})
        started = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "image_replicator.cmd.gateway",
                "--config-file",
                str(self.config_file),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.addCleanup(started.wait)
        self.addCleanup(started.kill)
        return started

    def test_a_signal_ends_it_with_0(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            port = ports.free_port()
            started = self.start(port)
            deadline = time.monotonic() + base.PATIENCE
            while not ports.is_open(port):
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.05)
            started.send_signal(number)
            output, _none = started.communicate(timeout=base.PATIENCE)
            self.assertEqual(0, started.returncode, output)
            self.assertIn(f"Gateway at 127.0.0.1:{port}", output)
            self.assertNotIn("Traceback", output)

    def test_a_port_that_is_taken(self) -> None:
        with ports.listen(None, "another") as listener:
            self.configure(gateway={"bind_port": ports.number(listener)})
            done = self.run_process("gateway")
        self.assertEqual(1, done.status)
        self.assertIn("image-replicator-gateway: [gateway]: ", done.errors)
        self.assertNotIn("Traceback", done.errors)

    def test_a_certificate_that_is_not_there(self) -> None:
        self.configure(gateway={"cert_file": "/nowhere.pem"})
        done = self.run_process("gateway")
        self.assertEqual(1, done.status)
        self.assertIn("[gateway]: ", done.errors)
        self.assertNotIn("Traceback", done.errors)

    def test_a_wrong_option(self) -> None:
        self.configure(gateway={"threads": 0})
        done = self.run_process("gateway")
        self.assertEqual(1, done.status)
        self.assertIn("threads", done.errors)
