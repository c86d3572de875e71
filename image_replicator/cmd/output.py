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

"""What image-replicator-manage tells operators."""

import json
import sys
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Final

import prettytable

PROG: Final = "image-replicator-manage"

_FORMATS: Final = ("table", "json")


def add_format(parser: Any) -> None:
    """Let the user choose how a list is shown."""
    parser.add_argument(
        "--format",
        choices=_FORMATS,
        default=_FORMATS[0],
        help="for people, or for programs (default: %(default)s)",
    )


def show(
    format_: str,
    columns: Mapping[str, str],
    records: Sequence[Mapping[str, Any]],
) -> None:
    """Print a list.

    :param format_: as the user chose.
    :param columns: of a table: a record's keys, and their headings.
    :param records: what JSON has all of.
    """
    if format_ == "json":
        print(json.dumps(records, indent=2))
        return
    table = prettytable.PrettyTable(list(columns.values()))
    table.align = "l"
    for record in records:
        table.add_row([_text(record[key]) for key in columns])
    print(table)


def _text(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else value


def complain(message: object) -> None:
    """Tell what went wrong."""
    print(f"{PROG}: {message}", file=sys.stderr)
