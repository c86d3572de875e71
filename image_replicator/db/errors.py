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

"""The errors of the database, all of one class, and which may pass."""

import contextlib
import re
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any
from typing import Final
from typing import TypeVar

import sqlalchemy as sa
from oslo_db import api as db_api
from oslo_db import exception as db_exc

Method = TypeVar("Method", bound=Callable[..., Any])

#: Repeats a method at once after a deadlock, a failed certification (Galera)
#: or a row that has changed since it was read (error 1020 of MariaDB).
retry_on_deadlock: Callable[[Method], Method] = db_api.wrap_db_retry(
    max_retries=10,
    retry_interval=0.05,
    inc_retry_interval=True,
    max_retry_interval=1,
    retry_on_deadlock=True,
)


#: The servers' codes for an unknown column or table.
_UNKNOWN_CODES: Final = frozenset({1054, 1146, "42703", "42P01"})
_UNKNOWN_TO_SQLITE: Final = re.compile(
    r"no such (table|column)|table \S+ has no column"
)


#: The errors that oslo.db raises if a database refuses a value.
_REFUSED_ERRORS: Final = (
    db_exc.DBConstraintError,
    db_exc.DBDataError,
    db_exc.DBDuplicateEntry,
    db_exc.DBInvalidUnicodeParameter,
    db_exc.DBReferenceError,
)

#: The drivers' errors for a refused value or a wrong statement.
_REFUSED_CAUSES: Final = (
    sa.exc.DataError,
    sa.exc.IntegrityError,
    sa.exc.NotSupportedError,
    sa.exc.ProgrammingError,
)

#: The codes for refused values that the drivers raise as other errors. MariaDB
#: and MySQL: the size of a packet or a row, a charset, a collation or a check.
#: PostgreSQL: a value or statement that is too large.
_REFUSED_CODES: Final = frozenset(
    {1118, 1153, 1264, 1267, 1292, 1300, 1366, 1406, 3819, 3988, 4025}
    | {"54000", "54001", "54011", "54023"}
)

#: PostgreSQL's code for a missing privilege, which the driver raises like a
#: wrong statement.
_PRIVILEGE: Final = "42501"


class SchemaTooOld(db_exc.DBError):  # type: ignore[misc]
    """The database lacks a table or a column that this release needs."""

    def __init__(self) -> None:
        super().__init__(
            "its schema is older than this release; run "
            "'image-replicator-manage db upgrade --expand'"
        )


#: The errors for a server that does not answer or fails over, a deadlock, a
#: database that is not created yet, and a schema that is not upgraded yet.
_TEMPORARY_ERRORS: Final = (
    db_exc.DBConnectionError,
    db_exc.DBDeadlock,
    db_exc.DBNonExistentDatabase,
    SchemaTooOld,
)


@contextlib.contextmanager
def database_errors() -> Iterator[None]:
    """Raise each error of the database as a DBError.

    oslo.db does not translate some of SQLAlchemy's errors: a server that
    refuses us, a table that MariaDB does not have, an exhausted pool.

    :raises SchemaTooOld: if the operator has not upgraded the schema yet.
    """
    try:
        yield
    except sa.exc.DBAPIError as error:
        if error.connection_invalidated or error.statement is None:
            raise db_exc.DBConnectionError(error) from error
        raise _told_better(db_exc.DBError(error)) from error
    except sa.exc.TimeoutError as error:
        raise db_exc.DBError(error) from error
    except db_exc.DBError as error:
        better = _told_better(error)
        if better is error:
            raise
        raise better from error


def is_temporary(error: BaseException) -> bool:
    """Tell whether an error may pass with time, or by an operator's act.

    This is true of a server that does not answer, fails over, is read-only,
    has no disk space left or has too many connections, of a deadlock, of a
    lock that was not granted in time, and of a schema that is not upgraded
    yet. It is false of a value that the database refuses, as it will do so
    again.

    :param error: as a store raises it.
    """
    if isinstance(error, _TEMPORARY_ERRORS):
        return True
    if not isinstance(error, db_exc.DBError) or isinstance(
        error, _REFUSED_ERRORS
    ):
        return False
    cause = error.inner_exception
    if isinstance(cause, sa.exc.TimeoutError):
        # The pool has no connection left.
        return True
    # A driver itself refuses some values, with an error that is not of DBAPI.
    return isinstance(cause, sa.exc.DBAPIError) and not _is_refusal(cause)


def _is_refusal(cause: sa.exc.DBAPIError) -> bool:
    code = _code(cause)
    if isinstance(cause, _REFUSED_CAUSES):
        return bool(code != _PRIVILEGE)
    return code in _REFUSED_CODES


def _code(error: BaseException | None) -> Any:
    """Return a server's code of an error; None for SQLite, which has none."""
    told = getattr(error, "orig", None)
    return getattr(told, "pgcode", None) or next(
        iter(getattr(told, "args", ())), None
    )


def _told_better(error: db_exc.DBError) -> db_exc.DBError:
    code = _code(error.inner_exception)
    if code in _UNKNOWN_CODES or _UNKNOWN_TO_SQLITE.match(str(code)):
        return SchemaTooOld()
    return error
