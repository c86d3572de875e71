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

"""The rules on the package's files, modules and imports."""

import ast
import configparser
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from collections.abc import Sequence

import fixtures
import testtools

import image_replicator

PACKAGE = pathlib.Path(image_replicator.__file__).parent
ROOT = PACKAGE.parent


def modules() -> dict[str, ast.Module]:
    """Return every module that is not a test, by its path in the package."""
    return {
        str(path.relative_to(PACKAGE)): ast.parse(path.read_text())
        for path in sorted(PACKAGE.rglob("*.py"))
        if "tests" not in path.relative_to(PACKAGE).parts
    }


def imports(tree: ast.Module) -> Iterator[str]:
    """Return the full dotted names that a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = f"{'.' * node.level}{node.module or ''}"
            yield from (f"{base}.{alias.name}" for alias in node.names)


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def docstrings(tree: ast.Module) -> set[int]:
    """Return the ids of the nodes that are docstrings."""
    return {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


class TestArchitecture(testtools.TestCase):
    """The rules on the libraries that each module may use.

    import-linter checks the imports between modules: see pyproject.toml.
    """

    def importers_of(self, package: str) -> set[str]:
        return {
            path
            for path, tree in modules().items()
            if any(is_within(name, package) for name in imports(tree))
        }

    def assert_only(self, package: str, *allowed: str) -> None:
        """Check that only modules below these paths import a package."""
        strangers = {
            path
            for path in self.importers_of(package)
            if not path.startswith(allowed)
        }
        self.assertEqual(set(), strangers, f"import {package}")

    def test_the_rules_have_something_to_hold(self) -> None:
        self.assertIn("db/jobs.py", self.importers_of("sqlalchemy"))
        self.assertIn("api/router.py", self.importers_of("routes"))

    def test_only_the_database_knows_sql(self) -> None:
        self.assert_only("sqlalchemy", "db/", "conf/checking.py")
        self.assert_only("alembic", "db/")

    def test_only_the_router_knows_routes(self) -> None:
        self.assert_only("routes", "api/router.py")

    def test_nothing_knows_eventlet(self) -> None:
        self.assert_only("eventlet")
        self.assert_only("greenlet")

    def test_only_images_knows_the_image_services_paths(self) -> None:
        holders = set()
        for path, tree in modules().items():
            explaining = docstrings(tree)
            for node in ast.walk(tree):
                if (
                    isinstance(node, ast.Constant)
                    and isinstance(node.value, str)
                    and "/v2/images" in node.value
                    and id(node) not in explaining
                ):
                    holders.add(path.partition("/")[0])
        self.assertEqual({"images"}, holders)

    def test_importing_starts_nothing(self) -> None:
        """Glance's server imports the API, and then forks."""
        names = [
            "image_replicator." + path.removesuffix(".py").replace("/", ".")
            for path in modules()
            # These two must run when they are imported.
            if path not in ("wsgi.py", "db/alembic/env.py")
            and not path.endswith("__init__.py")
        ]
        self._import(
            names,
            "assert threading.active_count() == 1, threading.enumerate()\n"
            "assert 'eventlet' not in sys.modules\n",
        )

    def test_api_and_worker_do_not_load_alembic(self) -> None:
        """Alembic would take a sixth of a worker's memory."""
        self._import(
            ["image_replicator.api", "image_replicator.cmd.worker"],
            "assert 'alembic' not in sys.modules\n",
        )

    def _import(self, names: Sequence[str], check: str) -> None:
        """Import modules in a process of their own, and run a check there."""
        program = (
            "import importlib, sys, threading\n"
            "for name in sys.argv[1:]:\n"
            f"    importlib.import_module(name)\n{check}"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, *names],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(0, done.returncode, done.stderr)


# Load every entry point of the distribution in the current directory.
_LOAD = """
import importlib.metadata, pathlib, sys
here = str(pathlib.Path.cwd())
(package,) = importlib.metadata.distributions(path=[here])
for entry_point in package.entry_points:
    function = entry_point.load()
    assert callable(function), entry_point
    assert sys.modules[function.__module__].__file__.startswith(here), function
    print(entry_point.group, entry_point.name)
"""


class TestStyle(testtools.TestCase):
    """Rules on the code that no linter checks, tests and tools included."""

    def parsed(self) -> Iterator[tuple[str, str, ast.Module]]:
        """Yield the path, the text and the tree of each module."""
        for package in ("image_replicator", "devcloud", "tools"):
            for path in sorted((ROOT / package).rglob("*.py")):
                text = path.read_text()
                yield str(path.relative_to(ROOT)), text, ast.parse(text)

    def test_no_module_has_more_than_400_lines(self) -> None:
        long = [
            path
            for path, text, _tree in self.parsed()
            if len(text.splitlines()) > 400
        ]
        self.assertEqual([], long)

    def test_no_function_has_more_than_50_lines(self) -> None:
        long = [
            f"{path}:{node.lineno} {node.name}"
            for path, _text, tree in self.parsed()
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and (node.end_lineno or node.lineno) - node.lineno >= 50
        ]
        self.assertEqual([], long)

    def test_no_docstring_is_a_question(self) -> None:
        explained = (
            ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        )
        questions = [
            f"{path}: {text}"
            for path, _text, tree in self.parsed()
            for node in ast.walk(tree)
            if isinstance(node, explained)
            and (text := ast.get_docstring(node))
            and text.startswith(("What ", "Who ", "How ", "Where ", "Why "))
        ]
        self.assertEqual([], questions)


class TestPackage(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        if not (ROOT / ".git").exists():
            self.skipTest("Not a checkout: there is nothing to package")

    def _tracked(self) -> list[str]:
        """Return the paths of the existing files that git tracks."""
        listed = subprocess.run(
            ["git", "ls-files", "-z"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split("\0")
        return [path for path in listed if path and (ROOT / path).is_file()]

    def _build(self) -> zipfile.ZipFile:
        """Build a wheel in a copy of the checkout, which stays unchanged.

        pbr packages the files that git tracks.
        """
        copy = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        for path in self._tracked():
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, copy / path)
        for command in (
            ["git", "init", "-q"],
            ["git", "add", "--all"],
            [
                sys.executable,
                "-c",
                "from pbr import build as b;b.build_wheel('.')",
            ],
        ):
            done = subprocess.run(
                command,
                cwd=copy,
                env={**os.environ, "PBR_VERSION": "1.0"},
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            self.assertEqual(0, done.returncode, done.stderr)
        (wheel,) = copy.glob("*.whl")
        archive = zipfile.ZipFile(wheel)
        self.addCleanup(archive.close)
        return archive

    def test_the_wheel_has_the_product_and_no_tests(self) -> None:
        product = {
            path
            for path in self._tracked()
            if path.startswith("image_replicator/")
            and not path.startswith("image_replicator/tests/")
        }
        self.assertIn("image_replicator/db/alembic/script.py.mako", product)
        packaged = set(self._build().namelist())
        self.assertEqual(
            product,
            {name for name in packaged if ".d" not in name.split("/")[0]},
        )

    def test_the_entry_points_of_the_wheel_can_be_loaded(self) -> None:
        directory = self.useFixture(fixtures.TempDir()).path
        self._build().extractall(directory)
        done = subprocess.run(
            [sys.executable, "-c", _LOAD],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": directory},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertEqual(
            {
                "console_scripts image-replicator-gateway",
                "console_scripts image-replicator-manage",
                "console_scripts image-replicator-status",
                "console_scripts image-replicator-worker",
                "oslo.config.opts image_replicator",
                "oslo.config.opts.defaults image_replicator",
                "oslo.policy.policies image_replicator",
            },
            set(done.stdout.splitlines()),
        )

    def test_the_files_in_setup_cfg_exist(self) -> None:
        setup = configparser.ConfigParser()
        setup.read(ROOT / "setup.cfg")
        named = setup["files"]["data_files"].split()
        for name in named:
            if name != "=" and pathlib.Path(name).suffix:
                self.assertTrue((ROOT / name).is_file(), name)
        for path in (ROOT / "etc" / "image-replicator").iterdir():
            installed = str(path.relative_to(ROOT)) in named
            # The settings of the generators belong to this repository only.
            self.assertNotEqual(
                installed, path.name.endswith("-generator.conf"), path.name
            )
