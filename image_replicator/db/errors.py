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

"""One kind of error for whatever goes wrong with the database."""

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

#: A deadlock or a failed certification (Galera) is tried again at once.
retry_on_deadlock: Callable[[Method], Method] = db_api.wrap_db_retry(
    max_retries=10,
    retry_interval=0.05,
    inc_retry_interval=True,
    max_retry_interval=1,
    retry_on_deadlock=True,
)


#: What the servers say that do not know a column or a table.
_UNKNOWN_CODES: Final = frozenset({1054, 1146, "42703", "42P01"})
_UNKNOWN_TO_SQLITE: Final = re.compile(
    r"no such (table|column)|table \S+ has no column"
)


class SchemaTooOld(db_exc.DBError):  # type: ignore[misc]
    """The database lacks a table or a column that this release needs."""

    def __init__(self) -> None:
        super().__init__(
            "its schema is older than this release; run "
            "'image-replicator-manage db upgrade --expand'"
        )


@contextlib.contextmanager
def database_errors() -> Iterator[None]:
    """Raise whatever goes wrong with the database as a DBError.

    oslo.db lets some of SQLAlchemy's errors through as they are: a server
    that refuses us, a table that MariaDB does not have, a pool that is
    exhausted.

    :raises SchemaTooOld: where the operator has yet to upgrade the schema.
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


def _told_better(error: db_exc.DBError) -> db_exc.DBError:
    told = getattr(error.inner_exception, "orig", None)
    code = getattr(told, "pgcode", None) or next(
        iter(getattr(told, "args", ())), None
    )
    if code in _UNKNOWN_CODES or _UNKNOWN_TO_SQLITE.match(str(code)):
        return SchemaTooOld()
    return error


#: The errors of oslo.db's that time can heal: a server that is down or fails
#: over, a deadlock, and what an operator is about to create or upgrade.
_TEMPORARY: Final = (
    db_exc.DBConnectionError,
    db_exc.DBDeadlock,
    db_exc.DBNonExistentDatabase,
    SchemaTooOld,
)

#: The same of SQLAlchemy's, where oslo.db has no error of its own: a server
#: that is read-only, locked, or out of room, and a pool that is exhausted.
#: Values that a database refuses are neither.
_TEMPORARY_CAUSES: Final = (
    sa.exc.OperationalError,
    sa.exc.InternalError,
    sa.exc.InterfaceError,
    sa.exc.TimeoutError,
)


def is_temporary(error: Exception) -> bool:
    """Return whether time can heal an error, so that waiting makes sense.

    :param error: whatever a call to the database raised. It is lasting
        unless it is known to be temporary.
    """
    if isinstance(error, _TEMPORARY):
        return True
    cause = getattr(error, "inner_exception", None)
    return type(error) is db_exc.DBError and isinstance(
        cause, _TEMPORARY_CAUSES
    )
