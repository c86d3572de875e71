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

"""Leaks are found; variations are not reported."""

import subprocess
import sys

import testtools

from devcloud.chaos import use

# A process that takes a thread, two descriptors and 64 MiB on command.
_GROWING = """
import os, sys, threading
print("begun", flush=True)
sys.stdin.readline()
end = threading.Event()
threading.Thread(target=end.wait).start()
os.pipe()
memory = bytearray(os.urandom(64 << 20))
print("grown", flush=True)
sys.stdin.readline()
end.set()
"""


class TestWatch(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.number = 0

    def _violations(self, sample: use.Sample, **leaks: float) -> list[str]:
        """Return the violations if resources grow with each sample."""

        def ask() -> use.Sample:
            self.number += 1
            varies = self.number % 3 - 1
            return {
                what: value
                + varies
                + leaks.get(what.split()[-1], 0.0) * self.number
                for what, value in sample.items()
            }

        watch = use.Watch({"w": ask})
        for _ in range(200):
            watch.sample()
        return list(watch.violations())

    def test_a_resource_that_varies_does_not_grow(self) -> None:
        sample = {
            "MiB of memory": 80.0,
            "threads": 12.0,
            "file descriptors": 30.0,
            "database connections": 6.0,
        }
        self.assertEqual([], self._violations(sample))

    def test_a_leak_is_found(self) -> None:
        for what, leak in {
            "MiB of memory": 0.1,
            "threads": 0.1,
            "file descriptors": 0.1,
            "database connections": 0.1,
        }.items():
            found = self._violations({what: 10.0}, **{what.split()[-1]: leak})
            self.assertEqual(1, len(found))
            self.assertIn(f"w: {what}: it grows", found[0])

    def test_one_that_has_ended_is_not_judged(self) -> None:
        def ask() -> use.Sample:
            raise ProcessLookupError

        watch = use.Watch({"w": ask})
        watch.sample()
        self.assertEqual(
            ["w: 0 samples are too few"], list(watch.violations())
        )

    def test_a_process(self) -> None:
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _GROWING],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.addCleanup(child.communicate)
        assert child.stdin and child.stdout
        child.stdout.readline()
        before = use.of_process(child.pid)
        child.stdin.write(b"\n")
        child.stdin.flush()
        child.stdout.readline()
        after = use.of_process(child.pid)
        self.assertEqual(before["threads"] + 1, after["threads"])
        self.assertEqual(
            before["file descriptors"] + 2, after["file descriptors"]
        )
        grown = after["MiB of memory"] - before["MiB of memory"]
        self.assertGreater(grown, 32)
