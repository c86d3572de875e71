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

"""The contributors' page of modules is complete."""

import ast
import pathlib
import re
from typing import Final

import testtools

import image_replicator

_PACKAGE: Final = pathlib.Path(image_replicator.__file__).parent
_ROOT: Final = _PACKAGE.parent
_MAP: Final = _ROOT / "doc" / "source" / "contributor" / "map.rst"

#: The second column of a row, which may go on over several lines.
_SECOND_COLUMN: Final = re.compile(r"^     - (.*(?:\n       .*)*)", re.M)
_PATH: Final = re.compile(r"``([\w./-]+(?:\.py|/))``")


def modules() -> set[str]:
    """Return the paths of all modules that hold code, as the page has them."""
    found = set()
    for package, base in (("image_replicator", _PACKAGE), ("devcloud", _ROOT)):
        for path in (_ROOT / package).rglob("*.py"):
            relative = path.relative_to(base)
            if not {"tests", "versions"}.isdisjoint(relative.parts):
                continue
            # The module of a package may hold nothing but a docstring.
            if len(ast.parse(path.read_text()).body) > 1 or (
                path.name != "__init__.py"
            ):
                found.add(str(relative))
    return found


class TestMap(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        if not _MAP.exists():
            self.skipTest("Not a checkout: there is no documentation")
        self.named = {
            path
            for column in _SECOND_COLUMN.findall(_MAP.read_text())
            for path in _PATH.findall(column)
        }

    def test_every_module_is_named(self) -> None:
        missing = {
            module
            for module in modules()
            if module not in self.named
            and not any(
                module.startswith(folder)
                for folder in self.named
                if folder.endswith("/")
            )
        }
        self.assertEqual(set(), missing)

    def test_every_path_exists(self) -> None:
        for name in self.named:
            beside = name.startswith(("devcloud/", "tools/"))
            path = (_ROOT if beside else _PACKAGE) / name
            self.assertTrue(path.exists(), name)

    def test_modules_are_found(self) -> None:
        self.assertIn("api/router.py", modules())
        self.assertIn("devcloud/cloud.py", modules())
        self.assertNotIn("db/__init__.py", modules())
