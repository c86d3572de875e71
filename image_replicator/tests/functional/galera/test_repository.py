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

"""The tests of the stores that may fail on several nodes.

Each transaction may be on another node than the one before it.
"""

import contextlib

import sqlalchemy as sa
from oslo_db import exception as db_exc

from image_replicator.tests.functional.db import test_concurrency
from image_replicator.tests.functional.db import test_fairness
from image_replicator.tests.functional.db import test_fleet
from image_replicator.tests.functional.db import test_jobs
from image_replicator.tests.functional.db import test_leases
from image_replicator.tests.functional.db import test_retries
from image_replicator.tests.functional.db import test_runs
from image_replicator.tests.functional.db import test_slots
from image_replicator.tests.functional.galera import base


class TestConcurrencyGalera(test_concurrency.Concurrency, base.Galera):
    pass


class TestQueueGalera(test_fairness.Queue, base.Galera):
    pass


class TestWorkersGalera(test_fleet.Workers, base.Galera):
    pass


class TestRepositoryGalera(test_jobs.Everything, base.Galera):
    pass


class TestLeasesGalera(test_leases.LeasesMixin, base.Galera):
    def commit_late(self, owner: sa.Connection) -> None:
        # Nodes do not wait for each other's locks; the first commit wins.
        with contextlib.suppress(db_exc.DBDeadlock):
            owner.commit()


class TestRetriesGalera(test_retries.RetriesMixin, base.Galera):
    pass


class TestRunsGalera(test_runs.Runs, base.Galera):
    pass


class TestAdmissionGalera(test_runs.Admission, base.Galera):
    pass


class TestLimitsGalera(test_slots.Limits, base.Galera):
    pass
