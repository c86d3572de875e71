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

"""The requests that are answered once, by their ``Idempotency-Key``.

A key is written in the transaction that creates the jobs. So of two requests
with one key at the same moment, one creates the jobs; the other waits for its
end, is refused by the primary key, and gets the first one's answer. What
failed is undone with its key.
"""

import dataclasses
import datetime
from typing import Final

import sqlalchemy as sa
from oslo_db import exception as db_exc

from image_replicator.db import database
from image_replicator.db import errors
from image_replicator.db import models
from image_replicator.db import times

#: How long an answer is kept.
KEPT: Final = datetime.timedelta(hours=24)

_keys: Final = models.IdempotencyKey.__table__.c


class KeyTaken(Exception):
    """Another request has used the key."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Key:
    """The key of a request.

    :ivar project_id: the project that asks; each has keys of its own.
    :ivar value: as the caller sent it.
    :ivar digest: of the request, to tell another one with the same key.
    """

    project_id: str
    value: str
    digest: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Remembered:
    """A request that was answered.

    :ivar digest: of that request.
    :ivar answer: the body of its answer.
    """

    digest: str
    answer: str


class IdempotencyKeys:
    """The keys in one database."""

    def __init__(self, database: database.Database) -> None:
        self._database = database

    def find(self, key: Key) -> Remembered | None:
        """Return the request that used a key within the last 24 hours."""
        rows = self._database.read(
            sa.select(
                _keys.digest,
                _keys.answer,
                sa.case((_is_old(), 1), else_=0).label("is_old"),
            ).where(*_named(key))
        )
        for row in rows:
            if not row.is_old:
                return Remembered(digest=row.digest, answer=row.answer)
            self._forget(key)
        return None

    @errors.retry_on_deadlock
    def _forget(self, key: Key) -> None:
        """Delete a key, so that it can be used anew."""
        with self._database.writer() as connection:
            connection.execute(
                sa.delete(models.IdempotencyKey).where(*_named(key), _is_old())
            )

    @errors.retry_on_deadlock
    def purge(self, limit: int) -> int:
        """Delete keys older than 24 hours, oldest first.

        :param limit: the most keys to delete in one transaction.
        :returns: the number of keys that it found; 0 when none is left.
        """
        # It takes two transactions, as one that writes must not begin with a
        # read.
        found = self._database.read(
            sa.select(_keys.project_id, _keys.key)
            .where(_is_old())
            .order_by(_keys.created_at)
            .limit(limit)
        )
        if found:
            named = sa.tuple_(_keys.project_id, _keys.key).in_(
                [(row.project_id, row.key) for row in found]
            )
            with self._database.writer() as connection:
                connection.execute(
                    sa.delete(models.IdempotencyKey).where(named, _is_old())
                )
        return len(found)


def remember(connection: sa.Connection, key: Key, answer: str) -> None:
    """Write a key, and the answer to its request.

    :raises KeyTaken: if another request has used it.
    """
    try:
        connection.execute(
            sa.insert(models.IdempotencyKey).values(
                project_id=key.project_id,
                key=key.value,
                digest=key.digest,
                answer=answer,
                created_at=times.utcnow(),
            )
        )
    except db_exc.DBDuplicateEntry as error:
        raise KeyTaken(key.value) from error


def _named(key: Key) -> tuple[sa.ColumnElement[bool], ...]:
    return (_keys.project_id == key.project_id, _keys.key == key.value)


def _is_old() -> sa.ColumnElement[bool]:
    return _keys.created_at <= times.from_now(-KEPT.total_seconds())
