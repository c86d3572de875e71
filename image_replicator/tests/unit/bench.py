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

"""Finds the benchmark's modules, which are no part of the package."""

import importlib
import pathlib
import sys
from typing import Any

import testtools

TOOLS = pathlib.Path(__file__).parents[3] / "tools"


class BenchTestCase(testtools.TestCase):
    """A test of a module of tools/bench; skipped where there is none."""

    def load(self, name: str) -> Any:
        """Return a module of the benchmark."""
        if not (TOOLS / "bench").is_dir():
            self.skipTest("Not a checkout: there are no tools")
        if str(TOOLS) not in sys.path:
            sys.path.append(str(TOOLS))
        return importlib.import_module(f"bench.{name}")
