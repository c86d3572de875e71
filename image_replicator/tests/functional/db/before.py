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

"""The statements of the release before.

They have the columns that it knows and no others. After a release, replace
them with those of that release.
"""

from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic import config as alembic_config
from oslo_utils import uuidutils

from image_replicator.db import models
from image_replicator.db import times
from image_replicator.jobs import FINAL
from image_replicator.jobs import JobStatus
from image_replicator.jobs import NewJob

#: The revisions of its schema.
REVISIONS = ("expand_0001", "contract_0001")

LEASE_TIME = 60.0

_COLUMNS = (
    "id status active source_image_id source_image_name source_region_id "
    "source_tenant_id destination_image_id destination_region_id "
    "destination_tenant_id reserved_image_id image_size bytes_copied "
    "worker_id attempts lease_expires_at retry_at error_code error_message "
    "request_id created_at updated_at started_at finished_at"
).split()

_TYPES = {column.name: column.type for column in models.Job.__table__.c}

_JOBS = sa.Table(
    "jobs",
    sa.MetaData(),
    *(sa.Column(name, _TYPES[name]) for name in _COLUMNS),
)

_jobs = _JOBS.c

_UNOWNED = {"worker_id": None, "lease_expires_at": None}


def upgrade(engine: sa.Engine) -> None:
    """Bring an empty database to its schema."""
    config = alembic_config.Config()
    config.set_main_option("script_location", "image_replicator.db:alembic")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        for revision in REVISIONS:
            command.upgrade(config, revision)


class Release:
    """The API and the worker of the release before.

    :param engine: of the database.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def create(self, new: NewJob) -> str:
        job_id: str = uuidutils.generate_uuid()
        with self._engine.begin() as connection:
            connection.execute(
                sa.insert(_JOBS).values(
                    id=job_id,
                    status=JobStatus.REPLICATE_REQUESTED,
                    active=True,
                    source_image_id=new.source_image_id,
                    source_image_name=new.source_image_name,
                    source_region_id=new.source_region_id,
                    source_tenant_id=new.source_tenant_id,
                    destination_region_id=new.destination_region_id,
                    destination_tenant_id=new.destination_tenant_id,
                    image_size=new.image_size,
                    request_id=new.request_id,
                    bytes_copied=0,
                    attempts=0,
                    created_at=times.utcnow(),
                    updated_at=times.utcnow(),
                )
            )
        return job_id

    def get(self, job_id: str) -> dict[str, Any]:
        with self._engine.connect() as connection:
            row = connection.execute(
                sa.select(*_jobs).where(_jobs.id == job_id)
            ).one()
        return dict(row._mapping)

    def request_cancel(self, job_id: str) -> bool:
        return self._change(
            {JobStatus.REPLICATE_REQUESTED, JobStatus.REPLICATING},
            JobStatus.CANCEL_REQUESTED,
            _jobs.id == job_id,
        )

    def claim_next(self, worker_id: str) -> tuple[str, int] | None:
        """Claim the oldest job; return its id and the attempt."""
        return self._claim(
            worker_id,
            {JobStatus.REPLICATE_REQUESTED},
            JobStatus.REPLICATING,
            attempts=_jobs.attempts + 1,
            started_at=sa.func.coalesce(_jobs.started_at, times.utcnow()),
            error_code=None,
            error_message=None,
        )

    def claim_canceled(self, worker_id: str) -> tuple[str, int] | None:
        return self._claim(
            worker_id,
            {JobStatus.CANCEL_REQUESTED, JobStatus.CANCELING},
            JobStatus.CANCELING,
        )

    def _claim(
        self,
        worker_id: str,
        from_: set[JobStatus],
        to: JobStatus,
        **values: Any,
    ) -> tuple[str, int] | None:
        for job_id in self._unowned(from_):
            if self._change(
                from_,
                to,
                _jobs.id == job_id,
                _jobs.worker_id.is_(None),
                worker_id=worker_id,
                lease_expires_at=times.from_now(LEASE_TIME),
                **values,
            ):
                return job_id, self.get(job_id)["attempts"]
        return None

    def _unowned(self, statuses: set[JobStatus]) -> list[str]:
        with self._engine.connect() as connection:
            return list(
                connection.scalars(
                    sa.select(_jobs.id)
                    .where(
                        _jobs.status.in_(statuses),
                        _jobs.worker_id.is_(None),
                        sa.or_(
                            _jobs.status != JobStatus.REPLICATE_REQUESTED,
                            _jobs.retry_at.is_(None),
                            _jobs.retry_at <= times.utcnow(),
                        ),
                    )
                    .order_by(_jobs.created_at, _jobs.id)
                    .limit(8)
                )
            )

    def record_progress(
        self, job_id: str, worker_id: str, attempt: int, bytes_copied: int
    ) -> bool:
        return self._update(
            *_held(job_id, worker_id, attempt),
            _jobs.status == JobStatus.REPLICATING,
            bytes_copied=bytes_copied,
            lease_expires_at=times.from_now(LEASE_TIME),
        )

    def finish(self, job_id: str, worker_id: str, attempt: int) -> bool:
        return self._change(
            {JobStatus.REPLICATING},
            JobStatus.REPLICATED,
            *_held(job_id, worker_id, attempt),
            bytes_copied=1000,
            reserved_image_id=None,
        )

    def finish_cancel(self, job_id: str, worker_id: str, attempt: int) -> bool:
        return self._change(
            {JobStatus.CANCELING},
            JobStatus.CANCELED,
            *_held(job_id, worker_id, attempt),
        )

    def give_back(self, job_id: str, worker_id: str, attempt: int) -> bool:
        return self._change(
            {JobStatus.REPLICATING},
            JobStatus.REPLICATE_REQUESTED,
            *_held(job_id, worker_id, attempt),
            bytes_copied=0,
            attempts=_jobs.attempts - 1,
            **_UNOWNED,
        )

    def release_expired(self) -> list[str]:
        """Release the jobs whose lease has expired; return their ids."""
        expired = _jobs.lease_expires_at < times.utcnow()
        with self._engine.connect() as connection:
            found = connection.execute(
                sa.select(_jobs.id, _jobs.worker_id, _jobs.attempts).where(
                    expired
                )
            ).all()
        return [
            row.id
            for row in found
            if self._change(
                {JobStatus.REPLICATING},
                JobStatus.REPLICATE_REQUESTED,
                *_held(*row),
                expired,
                bytes_copied=0,
                **_UNOWNED,
            )
        ]

    def _change(
        self, from_: set[JobStatus], to: JobStatus, *where: Any, **values: Any
    ) -> bool:
        if to in FINAL:
            values |= {
                "active": None,
                "finished_at": times.utcnow(),
                "lease_expires_at": None,
            }
        return self._update(
            *where, _jobs.status.in_(from_), status=to, **values
        )

    def _update(self, *where: Any, **values: Any) -> bool:
        with self._engine.begin() as connection:
            written = connection.execute(
                sa.update(_JOBS)
                .where(*where)
                .values(updated_at=times.utcnow(), **values)
            )
        return bool(written.rowcount)


def _held(job_id: str, worker_id: str, attempt: int) -> tuple[Any, ...]:
    return (
        _jobs.id == job_id,
        _jobs.worker_id == worker_id,
        _jobs.attempts == attempt,
    )
