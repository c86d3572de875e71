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

"""The table of answers has all statuses that Glance's code raises."""

import ast
import pathlib
from collections.abc import Iterator
from importlib import util
from typing import Final

import testtools
from webob import exc

from image_replicator.images import answers
from image_replicator.images.answers import Request

#: The functions of ``glance/api/v2`` that each request passes, by module. The
#: name of a class stands for all of its functions with that prefix.
_LISTING: Final = (
    "ImagesController.index",
    "RequestDeserializer.index",
    "RequestDeserializer._validate_limit",
    "RequestDeserializer._validate_sort",
    "RequestDeserializer._validate_member",
    "RequestDeserializer._get_filters",
    "RequestDeserializer._get_sorting",
)
_CREATING: Final = (
    "ImagesController.create",
    "RequestDeserializer.create",
    "RequestDeserializer._get_request_body",
    "RequestDeserializer._check_allowed",
)
_CHANGING: Final = (
    "ImagesController.update",
    "ImagesController._do_",
    "ImagesController._validate",
    "RequestDeserializer.update",
    "RequestDeserializer._get_change",
    "RequestDeserializer._validate_change",
    "RequestDeserializer._validate_path",
    "RequestDeserializer._validate_json",
    "RequestDeserializer._parse_json",
    "RequestDeserializer._get_request_body",
)
_FUNCTIONS: Final[dict[Request, tuple[str, tuple[str, ...]]]] = {
    Request.SHOW: ("images", ("ImagesController.show", "ResponseSerializer")),
    Request.LIST: ("images", _LISTING),
    Request.CREATE: ("images", _CREATING),
    Request.RESERVE: ("images", _CREATING),
    Request.CHANGE: ("images", _CHANGING),
    Request.DELETE: (
        "images",
        ("ImagesController.delete", "ImagesController._delete"),
    ),
    Request.DOWNLOAD: (
        "image_data",
        (
            "ImageDataController.download",
            "RequestDeserializer.download",
            "ResponseSerializer.download",
        ),
    ),
    Request.UPLOAD: (
        "image_data",
        (
            "ImageDataController.upload",
            "ImageDataController._restore",
            "ImageDataController._unstage",
            "RequestDeserializer.upload",
            "RequestDeserializer._get_image_size",
        ),
    ),
}


class TestStatuses(testtools.TestCase):
    def test_the_table_has_each_status_that_glance_raises(self) -> None:
        for request, (module, prefixes) in _FUNCTIONS.items():
            raised = set(_statuses(module, prefixes))
            self.assertNotEqual(set(), raised)
            missing = raised - set(answers.MEANINGS[request])
            self.assertEqual(set(), missing, request.name)

    def test_each_request_is_looked_at(self) -> None:
        self.assertEqual(set(Request), set(_FUNCTIONS))
        self.assertEqual(set(Request), set(answers.MEANINGS))


def _statuses(module: str, prefixes: tuple[str, ...]) -> Iterator[int]:
    """Yield the statuses that some functions of Glance raise.

    :param prefixes: of the functions' names, each with its class
    """
    for name, function in _functions(module):
        if name.startswith(prefixes) and name not in _OTHERS:
            for node in ast.walk(function):
                if isinstance(node, ast.Raise) and node.exc:
                    yield from _status(ast.unparse(node.exc))


#: Functions of other requests whose names begin with the same words.
_OTHERS: Final = frozenset({"ImagesController.delete_from_store"})


def _functions(module: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    spec = util.find_spec("glance")
    assert spec and spec.origin
    path = pathlib.Path(spec.origin).parent / "api" / "v2" / f"{module}.py"
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, ast.FunctionDef):
                    yield f"{node.name}.{member.name}", member


def _status(raised: str) -> Iterator[int]:
    """Yield the status of a raised error, if it has one."""
    name = raised.partition("(")[0].removeprefix("webob.exc.")
    error = getattr(exc, name, None)
    if error:
        yield error.code
