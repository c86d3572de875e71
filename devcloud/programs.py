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

"""Finds programs that the test cloud starts."""

import os
import pathlib
import shutil
import unittest
from collections.abc import Sequence


def find(
    program: str,
    directories: Sequence[pathlib.Path] = (),
    mode: int = os.X_OK,
) -> str:
    """Return the path of a program or a library.

    :param directories: searched before those of PATH
    :param mode: the access that is needed, as for :func:`os.access`
    :raises unittest.SkipTest: if it is missing; in CI AssertionError
    """
    places = [str(directory) for directory in directories]
    # Distributions put daemons here; a user's PATH may not have it.
    places += [os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]
    found = shutil.which(program, mode, os.pathsep.join(places))
    if found:
        return found
    message = f"{program} is not installed, so it cannot be started"
    if os.environ.get("CI") == "true":
        raise AssertionError(message)
    raise unittest.SkipTest(message)
