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

"""The trusts that users gave us, which later jobs use again."""

import hashlib
from collections.abc import Sequence
from typing import Any
from typing import Final
from typing import NamedTuple

import sqlalchemy as sa
from oslo_db import exception as db_exc

from image_replicator.authority import Delegation
from image_replicator.db import database
from image_replicator.db import errors
from image_replicator.db import models
from image_replicator.db import times

_known: Final = models.Delegation.__table__.c
_authorities: Final = models.Authority.__table__.c

_COLUMNS: Final = (
    _known.trust_id,
    _known.user_id,
    _known.project_id,
    _known.role_names,
    _known.expires_at,
    _known.used_at,
)


#: The most trusts of a user that are looked at for a job.
_MOST_USABLE: Final = 128


def _is_needed_by(trust_column: Any) -> sa.Exists:
    return (
        sa.exists()
        .where(trust_column == _known.trust_id)
        .correlate(models.Delegation.__table__)
    )


#: No job that is not over needs the trust.
_UNNEEDED: Final = sa.and_(
    # PostgreSQL would read the whole table for EXISTS in an OR.
    ~_is_needed_by(_authorities.source_trust_id),
    ~_is_needed_by(_authorities.destination_trust_id),
)


class ListedDelegation(NamedTuple):
    """A trust, with the number of jobs that need it."""

    delegation: Delegation
    jobs: int


class Delegations:
    """The known trusts, one for each user, project and set of roles."""

    def __init__(self, database: database.Database) -> None:
        self._database = database

    def find(
        self, user_id: str, project_id: str, roles: Sequence[str]
    ) -> Delegation | None:
        """Return the trust with just these roles; None if none is known.

        :param roles: the names of the roles.
        """
        rows = self._database.read(
            sa.select(*_COLUMNS).where(
                _known.user_id == user_id,
                _known.project_id == project_id,
                _known.roles == _digest(roles),
            )
        )
        return _delegation(rows[0]) if rows else None

    def usable(self, user_id: str | None) -> dict[str, str]:
        """Return a user's trusts that have not expired, by project.

        Of several for a project, and of very many, they are those that were
        used last.

        :param user_id: None for no trusts.
        """
        if user_id is None:
            return {}
        rows = self._database.read(
            sa.select(_known.project_id, _known.trust_id)
            .where(
                _known.user_id == user_id,
                sa.or_(
                    _known.expires_at.is_(None),
                    _known.expires_at > times.utcnow(),
                ),
            )
            .order_by(_known.used_at.desc())
            .limit(_MOST_USABLE)
        )
        return {row.project_id: row.trust_id for row in reversed(rows)}

    @errors.retry_on_deadlock
    def add(
        self, delegation: Delegation, instead_of: str | None = None
    ) -> Delegation:
        """Record a trust that was just used; return the one that is known now.

        :param instead_of: the trust that it replaces.
        :returns: the trust of another process, if that one was first.
        """
        try:
            with self._database.writer() as connection:
                if instead_of is not None:
                    _delete(connection, instead_of)
                connection.execute(
                    sa.insert(models.Delegation).values(
                        trust_id=delegation.trust_id,
                        user_id=delegation.user_id,
                        project_id=delegation.project_id,
                        roles=_digest(delegation.roles),
                        role_names="\n".join(delegation.roles),
                        expires_at=delegation.expires_at,
                        used_at=times.utcnow(),
                    )
                )
        except db_exc.DBDuplicateEntry:
            # If the other one is gone again by now, ours is used unrecorded.
            known = self.find(
                delegation.user_id, delegation.project_id, delegation.roles
            )
            return known or delegation
        return delegation

    @errors.retry_on_deadlock
    def touch(self, delegation: Delegation, every: float) -> bool:
        """Record that a trust is used, unless that was done recently.

        :param delegation: as :meth:`find` returned it.
        :param every: seconds within which one record is enough.
        :returns: whether the trust is still known.
        """
        trust = _known.trust_id == delegation.trust_id
        recent = _known.used_at >= times.from_now(-every)
        # Most requests only read.
        if self._database.read(
            sa.select(_known.trust_id).where(trust, recent)
        ):
            return True
        with self._database.writer() as connection:
            touched = connection.execute(
                sa.update(models.Delegation)
                .where(trust)
                .values(used_at=times.utcnow())
            )
            return bool(touched.rowcount)

    @errors.retry_on_deadlock
    def remove(self, trust_id: str) -> None:
        """Forget a trust; nothing happens if it is not known."""
        with self._database.writer() as connection:
            _delete(connection, trust_id)

    def unused(
        self, user_id: str | None, keep: float, limit: int
    ) -> list[Delegation]:
        """Return trusts that no job needs, the oldest first.

        :param user_id: who made them; None for any user.
        :param keep: seconds since a job was last created with them.
        :param limit: the most trusts to return.
        """
        wanted = [*_unused(keep)]
        if user_id is not None:
            wanted.append(_known.user_id == user_id)
        rows = self._database.read(
            sa.select(*_COLUMNS)
            .where(*wanted)
            .order_by(_known.used_at)
            .limit(limit)
        )
        return [_delegation(row) for row in rows]

    @errors.retry_on_deadlock
    def remove_unused(self, trust_id: str, keep: float) -> bool:
        """Forget a trust, unless a job needs it by now.

        :param keep: as for :meth:`unused`.
        :returns: whether it was forgotten.
        """
        with self._database.writer() as connection:
            deleted = connection.execute(
                sa.delete(models.Delegation).where(
                    _known.trust_id == trust_id, *_unused(keep)
                )
            )
            return bool(deleted.rowcount)

    def list(self) -> list[ListedDelegation]:
        """Return all trusts, those of each user together."""
        # A job that needs one trust twice counts once.
        needed = sa.union(
            sa.select(
                _authorities.job_id,
                _authorities.source_trust_id.label("trust_id"),
            ),
            sa.select(_authorities.job_id, _authorities.destination_trust_id),
        ).subquery()
        counts = (
            sa.select(needed.c.trust_id, sa.func.count().label("jobs"))
            .group_by(needed.c.trust_id)
            .subquery()
        )
        listed = (
            sa.select(
                *_COLUMNS, sa.func.coalesce(counts.c.jobs, 0).label("jobs")
            )
            .outerjoin(counts, counts.c.trust_id == _known.trust_id)
            .order_by(_known.user_id, _known.project_id, _known.trust_id)
        )
        rows = self._database.read(listed)
        return [ListedDelegation(_delegation(row), row.jobs) for row in rows]


def _unused(keep: float) -> tuple[sa.ColumnElement[bool], ...]:
    return (_known.used_at < times.from_now(-keep), _UNNEEDED)


def _digest(roles: Sequence[str]) -> str:
    """Return the key of a set of roles, whose names may be long."""
    return hashlib.sha256("\n".join(sorted(roles)).encode()).hexdigest()


def _delete(connection: sa.Connection, trust_id: str) -> None:
    connection.execute(
        sa.delete(models.Delegation).where(_known.trust_id == trust_id)
    )


def _delegation(row: Any) -> Delegation:
    return Delegation(
        trust_id=row.trust_id,
        user_id=row.user_id,
        project_id=row.project_id,
        roles=tuple(row.role_names.split("\n")),
        expires_at=row.expires_at,
        used_at=row.used_at,
    )
