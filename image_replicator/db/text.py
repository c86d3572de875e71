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

"""Column types for text that every database can store and compare.

Names, regions, request ids and error messages come from outside. Their rows
must be written whatever characters they have.
"""

import re
from typing import Any
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext import compiler
from sqlalchemy.sql import expression

#: Characters that some database cannot store: PostgreSQL stores no NUL, and no
#: database stores half of a UTF-16 pair.
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")

#: Control characters that change how a terminal shows a message.
_CONTROLS: Final = re.compile("[\x01-\x08\x0b-\x1f\x7f-\x9f]")

_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"

#: The last character of text that was cut. Because of it, a longer text never
#: equals a stored text that is only its beginning.
_CUT: Final = "\N{HORIZONTAL ELLIPSIS}"


def _storable(value: str, length: int) -> str:
    value = _UNSTORABLE.sub(_REPLACEMENT, value)
    return value if len(value) <= length else value[: length - 1] + _CUT


class Text(sa.types.TypeDecorator[str]):
    """A column of text with a limited length.

    A character that some database cannot store is replaced by U+FFFD, and text
    that is longer than the column is cut. A value that is compared with the
    column is changed in the same way.

    :param length: characters.
    """

    impl = sa.String
    cache_ok = True

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self._length = length

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:
        return value and _storable(value, self._length)


class Message(sa.types.TypeDecorator[str]):
    """A text for people, of any length; no control characters but tab and
    newline are kept.

    :param length: characters, of up to four bytes each. MariaDB's column
        holds 65,535 bytes.
    """

    impl = sa.Text
    cache_ok = True

    def __init__(self, length: int = 16000) -> None:
        super().__init__()
        self._length = length

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:
        return value and _CONTROLS.sub(
            _REPLACEMENT, _storable(value, self._length)
        )


def equal(
    column: sa.ColumnElement[Any], value: sa.ColumnElement[Any]
) -> sa.ColumnElement[bool]:
    """Compare a column with a value, including blanks at the end.

    MariaDB and MySQL ignore such blanks. An index on the column is used as for
    a plain comparison.
    """
    return sa.and_(column == value, _same_length(column, value))


class _same_length(expression.FunctionElement[bool]):  # noqa: N801
    """The condition that two texts have the same length, with their blanks."""

    type = sa.Boolean()
    inherit_cache = True


@compiler.compiles(_same_length)
def _compile_same_length(element: Any, compiler: Any, **kw: Any) -> str:
    return "1 = 1"


@compiler.compiles(_same_length, "mysql", "mariadb")
def _compile_same_length_mysql(element: Any, compiler: Any, **kw: Any) -> str:
    one, other = (compiler.process(text, **kw) for text in element.clauses)
    return f"OCTET_LENGTH({one}) = OCTET_LENGTH({other})"
