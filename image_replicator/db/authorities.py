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

"""The rights with which jobs are done, while they are needed.

A row is written with its job, in one transaction, and deleted with the change
of status that ends the job. So no sealed token is kept for longer than needed.
"""

from typing import Final
from typing import NamedTuple

import sqlalchemy as sa

from image_replicator.authority import Authority
from image_replicator.authority import SealedToken
from image_replicator.db import database
from image_replicator.db import errors
from image_replicator.db import models
from image_replicator.db import times

_jobs: Final = models.Job.__table__.c
_authorities: Final = models.Authority.__table__.c

#: Seconds for which Keystone takes a token that has expired; the default of
#: its [token] allow_expired_window.
_TOKEN_KEPT: Final = 2 * 24 * 3600.0


class Swept(NamedTuple):
    """The result of one look at some rights.

    :ivar deleted: the number of rights that were deleted.
    :ivar last: the job id to go on behind; None after the last right.
    """

    deleted: int
    last: str | None


class Authorities:
    """The rights of the jobs in one database."""

    def __init__(self, database: database.Database) -> None:
        self._database = database

    def get(self, job_id: str) -> Authority | None:
        """Return the right of a job; None if it has none."""
        rows = self._database.read(
            sa.select(models.Authority.__table__).where(
                _authorities.job_id == job_id
            )
        )
        if not rows:
            return None
        (row,) = rows
        token = None
        if row.sealed_token is not None:
            token = SealedToken(
                sealed=row.sealed_token, expires_at=row.token_expires_at
            )
        return Authority(
            user_id=row.user_id,
            source_owner_id=row.source_owner_id,
            source_trust_id=row.source_trust_id,
            destination_trust_id=row.destination_trust_id,
            token=token,
        )

    @errors.retry_on_deadlock
    def sweep(self, limit: int, after: str = "") -> Swept:
        """Look at some rights, and delete those that no job needs.

        Workers of the release before, which do not know this table, leave them
        behind. A token that has long expired is of no use either to a job that
        is over, whose image is still at the destination.

        :param limit: the most rows to look at, in the order of the jobs' ids.
        :param after: the job id to begin behind.
        """
        # It takes two transactions, as one that writes must not begin with a
        # read.
        page = (
            sa.select(_authorities.job_id)
            .where(_authorities.job_id > after)
            .order_by(_authorities.job_id)
            .limit(limit)
            .subquery()
        )
        # The jobs of a page are looked up one by one: without the subquery,
        # PostgreSQL reads all jobs in order, up to the page.
        looked_at = (
            sa.select(
                page.c.job_id,
                sa.case((_is_needless(), 1), else_=0).label("is_needless"),
            )
            .select_from(page)
            .join(models.Authority, _authorities.job_id == page.c.job_id)
            .outerjoin(models.Job, _jobs.id == page.c.job_id)
            .order_by(page.c.job_id)
        )
        rows = self._database.read(looked_at)
        last = rows[-1].job_id if len(rows) == limit else None
        needless = [row.job_id for row in rows if row.is_needless]
        return Swept(self._delete_needless(needless), last)

    def _delete_needless(self, job_ids: list[str]) -> int:
        if not job_ids:
            return 0
        # A retry may have begun in between.
        still = sa.exists().where(
            _jobs.id == _authorities.job_id, ~_is_needless()
        )
        with self._database.writer() as connection:
            deleted = connection.execute(
                sa.delete(models.Authority).where(
                    _authorities.job_id.in_(job_ids), ~still
                )
            )
            return deleted.rowcount


def _is_needless() -> sa.ColumnElement[bool]:
    """Return the condition that a job needs no right; it may be missing."""
    return sa.and_(
        _jobs.active.is_(None),
        sa.or_(
            _jobs.reserved_image_id.is_(None),
            sa.and_(
                _authorities.token_expires_at.is_not(None),
                _authorities.token_expires_at < times.from_now(-_TOKEN_KEPT),
            ),
        ),
    )


def replace(
    connection: sa.Connection, job_id: str, authority: Authority | None
) -> None:
    """Write the right of a job in place of the one that it may have.

    :param authority: None for no right.
    """
    delete(connection, job_id)
    add(connection, job_id, authority)


def add(
    connection: sa.Connection, job_id: str, authority: Authority | None
) -> None:
    """Write the right of a new job.

    :param authority: None for no right.
    """
    if authority is None:
        return
    token = authority.token
    connection.execute(
        sa.insert(models.Authority).values(
            job_id=job_id,
            user_id=authority.user_id,
            source_owner_id=authority.source_owner_id,
            source_trust_id=authority.source_trust_id,
            destination_trust_id=authority.destination_trust_id,
            sealed_token=token and token.sealed,
            token_expires_at=token and token.expires_at,
        )
    )


def delete(connection: sa.Connection, *job_ids: str) -> None:
    """Delete the rights of jobs that need none any more."""
    connection.execute(
        sa.delete(models.Authority).where(_authorities.job_id.in_(job_ids))
    )
