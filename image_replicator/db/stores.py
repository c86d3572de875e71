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

"""All stores of one database, for a worker process."""

import dataclasses

from oslo_config import cfg

from image_replicator import events
from image_replicator.db import authorities
from image_replicator.db import database
from image_replicator.db import delegations
from image_replicator.db import idempotency
from image_replicator.db import jobs
from image_replicator.db import key_holders
from image_replicator.db import leftovers
from image_replicator.db import owned_jobs
from image_replicator.db import replicas
from image_replicator.db import routes
from image_replicator.db import work_queue
from image_replicator.db import workers


@dataclasses.dataclass(frozen=True)
class Stores:
    """The stores of one database.

    :ivar jobs: the jobs, for users and operators.
    :ivar queue: the jobs that wait for a worker.
    :ivar owned: the jobs that a worker owns.
    :ivar leftovers: the images that jobs left at the destination.
    :ivar delegations: the trusts that users gave us.
    :ivar authorities: the rights with which jobs are done.
    :ivar key_holders: the nodes that have sealing keys.
    :ivar idempotency_keys: the requests that are answered once.
    :ivar replicas: the finished copies that another copy can read from.
    :ivar routes: the ways between regions, as workers measured them.
    :ivar workers: the list of workers, for operators.
    """

    database: database.Database
    jobs: jobs.JobStore
    queue: work_queue.WorkQueue
    owned: owned_jobs.OwnedJobs
    leftovers: leftovers.Leftovers
    delegations: delegations.Delegations
    authorities: authorities.Authorities
    key_holders: key_holders.KeyHolders
    idempotency_keys: idempotency.IdempotencyKeys
    replicas: replicas.Replicas
    routes: routes.Routes
    workers: workers.WorkerRegistry


def open_stores(
    conf: cfg.ConfigOpts, published: events.Events | None = None
) -> Stores:
    """Return the stores of the configured database.

    They open no connection before their first use.

    :param conf: has ``[database]``, ``[transfer]`` and ``[worker]``.
    :param published: is told of each change of a job's status; None to log
        them as a worker does.
    :raises ConfigurationError: if SQLite's directory cannot be used.
    """
    opened = database.Database(conf)
    published = published or events.Events((events.log_change_of_job,))
    regions = tuple(conf.worker.destination_regions) or None
    trusts = delegations.Delegations(opened)
    ways = routes.Routes(opened)
    return Stores(
        database=opened,
        jobs=jobs.JobStore(opened, published),
        queue=work_queue.WorkQueue(opened, published, conf),
        owned=owned_jobs.OwnedJobs(opened, published, conf.worker.lease_time),
        leftovers=leftovers.Leftovers(opened, regions),
        delegations=trusts,
        authorities=authorities.Authorities(opened),
        key_holders=key_holders.KeyHolders(opened),
        idempotency_keys=idempotency.IdempotencyKeys(opened),
        replicas=replicas.Replicas(opened, trusts, ways, conf.transfer),
        routes=ways,
        workers=workers.WorkerRegistry(opened),
    )
