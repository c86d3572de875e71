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

"""The operator's policy files.

A rule in a file usually allows less than the default that it replaces. So the
defaults must not return when a file is lost while the process runs, or is read
while it is being written.
"""

import os
import pathlib
from collections.abc import Iterator
from typing import Any

from oslo_config import cfg
from oslo_policy import policy

from image_replicator import exception

#: The path of a file, with its inode, size and times.
State = tuple[str, int, int, int, int]


class PolicyFiles:
    """The policy files that ``[oslo_policy]`` names.

    :param conf: has ``[oslo_policy]``, registered by oslo.policy.
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._conf = conf

    def check(self) -> None:
        """Check that the file which the operator names exists.

        :raises ConfigurationError: if it does not. oslo.policy would use the
            defaults.
        """
        name = self._conf.oslo_policy.policy_file
        source = self._conf.get_location("policy_file", "oslo_policy")
        named = source is not None and source.location.is_user_controlled
        if named and not self._conf.find_file(name):
            raise exception.ConfigurationError(
                f"[oslo_policy] policy_file: {name}: there is no such file"
            )

    def states(self) -> frozenset[State]:
        """Return a value that differs whenever a file has changed."""
        return frozenset(
            (
                str(path),
                found.st_ino,
                found.st_size,
                found.st_mtime_ns,
                found.st_ctime_ns,
            )
            for path, found in self._found()
        )

    def read(self) -> dict[str, bool]:
        """Return whether each file has rules, by its path.

        A file with nothing but empty lines and comments is left out, as it may
        be incomplete. A file with ``{}`` counts as one without rules.

        :raises OSError: if a file cannot be read.
        :raises ValueError: if a file has no policy; the message names the
            file.
        """
        texts = {
            str(path): path.read_text(encoding="utf-8")
            for path, _found in self._found()
        }
        return {
            path: _has_rules(path, text)
            for path, text in texts.items()
            if _says_something(text)
        }

    def _found(self) -> Iterator[tuple[pathlib.Path, os.stat_result]]:
        """Yield the files that exist."""
        for path in self._paths():
            try:
                yield path, path.stat()
            except FileNotFoundError:
                continue

    def _paths(self) -> Iterator[pathlib.Path]:
        """Yield the files that oslo.policy would read."""
        options = self._conf.oslo_policy
        main = self._conf.find_file(options.policy_file)
        if main:
            yield pathlib.Path(main)
        for name in options.policy_dirs:
            directory = self._conf.find_file(name)
            if directory:
                for path in sorted(pathlib.Path(directory).glob("[!.]*")):
                    if path.is_file():
                        yield path


def _has_rules(path: str, text: str) -> bool:
    try:
        rules: Any = policy.parse_file_contents(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if not isinstance(rules, dict):
        raise ValueError(f"{path}: no mapping of names to rules")
    return bool(rules)


def _says_something(text: str) -> bool:
    lines = (line.strip() for line in text.splitlines())
    return any(line and not line.startswith("#") for line in lines)
