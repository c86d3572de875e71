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

"""The ``error-codes`` directive: the table of all codes of failed jobs."""

from collections.abc import Iterator

from docutils import nodes
from docutils import statemachine
from sphinx import application
from sphinx.util import docutils

from image_replicator import errors

_TRIED_AGAIN = {"transient": "yes", "once_more": "once", "final": "no"}


class ErrorCodes(docutils.SphinxDirective):
    """A row for each code of :mod:`image_replicator.errors`."""

    def run(self) -> list[nodes.Node]:
        table = nodes.container()
        source, _line = self.get_source_info()
        text = statemachine.StringList(list(_lines()), source=source)
        self.state.nested_parse(text, self.content_offset, table)
        return table.children


def _lines() -> Iterator[str]:
    """Yield the table's source, line by line."""
    yield ".. list-table::"
    yield "   :header-rows: 1"
    yield "   :widths: 35 55 10"
    yield ""
    yield "   * - Code"
    yield "     - Meaning, and what to do"
    yield "     - Tried again"
    for row in errors.rows():
        yield f"   * - ``{row['code']}``"
        yield f"     - {row['sentence']} {row['remedy']}"
        yield f"     - {_TRIED_AGAIN[row['recovery']]}"


def setup(app: application.Sphinx) -> dict[str, bool]:
    app.add_directive("error-codes", ErrorCodes)
    return {"parallel_read_safe": True}
