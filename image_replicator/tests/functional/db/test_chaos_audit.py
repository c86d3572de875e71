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

"""The log of writes that the chaos suite installs in a database."""

import dataclasses

import sqlalchemy as sa
from oslo_db.sqlalchemy import test_fixtures

from devcloud.chaos import audit
from devcloud.chaos import fence
from image_replicator.jobs import JobStatus
from image_replicator.jobs import Verification
from image_replicator.tests.functional.db import base

load_tests = test_fixtures.optimize_module_test_loader()

WORKER = "w1:17:abc"
VERIFICATION = Verification(algorithm="sha512", source="a", destination="a")


class AuditMixin(base.JobsMixin):
    writer: str | None = None

    def setUp(self) -> None:
        super().setUp()
        audit.install(self.url)

    def _copy(self) -> str:
        job_id = self.jobs.create(base.new_job())
        _job, claim = self.queue.claim_next(WORKER)
        self.owned.reserve_image(claim, "image")
        self.owned.image_created(claim, "image")
        self.owned.record_progress(claim, 500)
        self.owned.finish(claim, 1000, 1, VERIFICATION)
        return str(job_id)

    def test_all_writes_are_logged(self) -> None:
        job_id = self._copy()
        log = audit.read(self.url)
        self.assertEqual({job_id}, {write.job_id for write in log})
        self.assertEqual({self.writer}, {write.writer for write in log})
        self.assertIsNone(log[0].old)
        requested = audit.State("replicate_requested")
        self.assertEqual(requested, log[0].new)
        self.assertEqual(requested, log[1].old)
        claimed = log[1].new
        assert claimed and claimed.lease_expires_at
        self.assertEqual(
            ("replicating", WORKER, 1),
            (claimed.status, claimed.worker_id, claimed.attempts),
        )
        lease = (claimed.lease_expires_at - log[1].at).total_seconds()
        self.assertAlmostEqual(60, lease, delta=0.01)
        self.assertEqual(
            audit.State(
                JobStatus.REPLICATED, WORKER, 1, destination_image_id="image"
            ),
            log[-1].new,
        )
        self.assertEqual(6, len(log))

    def test_the_stores_write_no_violation(self) -> None:
        self._copy()
        # The only user here is no worker.
        log = [
            dataclasses.replace(write, writer=None)
            for write in audit.read(self.url)
        ]
        self.assertEqual([], list(fence.violations(log)))

    def test_a_deletion_is_logged(self) -> None:
        job_id = self.insert_one()
        with self.engine.begin() as connection:
            connection.execute(sa.delete(base.JOBS))
        last = audit.read(self.url)[-1]
        self.assertEqual((job_id, None), (last.job_id, last.new))

    def test_a_write_that_is_rolled_back_is_not_logged(self) -> None:
        with self.engine.connect() as connection:
            connection.execute(sa.insert(base.JOBS), [base.row()])
            connection.rollback()
        self.assertEqual([], audit.read(self.url))


class TestAuditSQLite(AuditMixin, base.SQLite):
    pass


class TestAuditMariaDB(AuditMixin, base.MariaDB):
    writer = "openstack_citest"


class TestAuditPostgreSQL(AuditMixin, base.PostgreSQL):
    writer = "openstack_citest"
