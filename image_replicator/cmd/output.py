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

"""The output of image-replicator-manage."""

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
    """Add the option that chooses the format of a list."""
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

    :param format_: the value of the option.
    :param columns: the keys that a table shows, with their headings.
    :param records: JSON shows all their keys.
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
    """Print an error message."""
    print(f"{PROG}: {message}", file=sys.stderr)
