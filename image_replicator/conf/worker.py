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

"""The options of the worker."""

import socket
from typing import Final

from oslo_config import cfg
from oslo_utils import units

from image_replicator.conf import types

GROUP: Final = "worker"

OPTS: Final = [
    cfg.Opt(
        "host",
        # It is a part of the worker's id, which has 255 characters at most.
        type=types.NotBlank(max_length=200),
        default=socket.gethostname(),
        sample_default="<hostname>",
        help="""
Name of the machine in the id under which a worker claims its jobs. Set it
when host names are not unique or say nothing, as in containers.
""",
    ),
    cfg.IntOpt(
        "concurrency",
        default=4,
        min=1,
        max=256,
        help="""
How many images one worker copies at a time. Each takes a thread, two or more
connections and some MiB of memory. Raise it when workers are idle while
jobs wait; lower it when the network or the destination is the bottleneck.
""",
    ),
    cfg.IntOpt(
        "max_copies_per_tenant",
        min=1,
        sample_default="three quarters of concurrency",
        help="""
How many copies of one tenant's jobs a worker process runs at once. By default
it is three quarters of ``concurrency``, rounded down, but at least 1, so that
slow copies of one tenant do not hold back the first copy of every other. Set
it to ``concurrency`` where only one tenant copies images, or where throughput
matters more than a fair share.
""",
    ),
    cfg.ListOpt(
        "destination_regions",
        item_type=types.ListedRegion(),
        default=[],
        help="""
The regions that this worker copies images to; empty for all. Set it where
workers stand near their destination. Each region must be served by a worker:
jobs for others wait.
""",
    ),
    cfg.Opt(
        "max_copies_per_region",
        type=types.RegionLimits(),
        default={},
        sample_default="",
        help="""
How many copies all workers together run to a destination region at once, as
``REGION:NUMBER,REGION:NUMBER``; ``*`` stands for each region that is not
named, and where nothing does there is no limit. Set it where the destination
or the link to it cannot take more; all workers must have the same.
""",
    ),
    cfg.FloatOpt(
        "background_patience",
        default=3600.0,
        min=0.0,
        help="""
Seconds that a job of priority ``background`` waits for others to the same
region; after that it is treated as interactive, so that none waits for ever.
Lower it where interactive jobs always wait, and background ones must be done
in time; all workers must have the same.
""",
    ),
    cfg.IntOpt(
        "bandwidth_limit",
        default=0,
        min=0,
        help="""
Bytes per second that all copies of one worker process together send; 0 for no
limit. Set it where other traffic needs room on the worker's network.
""",
    ),
    cfg.IntOpt(
        "buffer_size",
        default=160 * units.Mi,
        min=units.Mi,
        help="""
Bytes of all images together that a worker process may have in memory; each
copy that runs gets its share. Lower it when workers run short of memory.
""",
    ),
    cfg.FloatOpt(
        "poll_interval",
        default=0.25,
        min=0.05,
        max=types.DAY,
        help="""
Seconds at most between two looks for a new job while a worker has room for
one; after a job they are closer together. Raise it when many workers with
nothing to do weigh on the database; jobs then wait that much longer before
they begin.
""",
    ),
    cfg.FloatOpt(
        "lease_time",
        default=60.0,
        min=2.0,
        max=types.DAY,
        help="""
Seconds without a sign of life, by the database's clock, after which a
worker's jobs are taken over by others. A worker gives a sign once every
``progress_interval``. Raise it when workers lose jobs because the database
is away for longer; all workers must have the same.
""",
    ),
    cfg.FloatOpt(
        "progress_interval",
        default=1.0,
        min=0.1,
        max=types.DAY,
        help="""
Seconds between two writes of a running copy's progress, which also renew
its lease; at most half of ``lease_time``. Raise it when many running copies
weigh on the database; users then see progress less often, and a copy that
they cancel runs that much longer.
""",
    ),
    cfg.FloatOpt(
        "reaper_interval",
        min=0.1,
        max=types.DAY,
        sample_default="<half of lease_time>",
        help="""
Seconds between two looks of a worker for jobs whose lease has run out; at
most ``lease_time``. Lower it when the jobs of lost workers should be taken
over sooner.
""",
    ),
    cfg.FloatOpt(
        "registration_interval",
        min=0.1,
        max=types.DAY,
        sample_default="<a quarter of lease_time>",
        help="""
Seconds between two signs of life of a worker in the list that
``image-replicator-manage worker list`` shows; at most half of
``lease_time``. Raise it when a large fleet weighs on the database.
""",
    ),
    cfg.IntOpt(
        "max_attempts",
        default=5,
        min=1,
        help="""
How often a copy may be begun before it ends in error: again after a failure
that may pass, or after its worker was lost. A worker that shuts down in good
order and gives the copy back does not count. Raise it where the network or
the image services fail often.
""",
    ),
    cfg.FloatOpt(
        "retry_delay",
        default=5.0,
        min=0.0,
        max=types.DAY,
        help="""
Seconds, about, before a copy that failed is begun a second time; each further
wait is twice as long. Raise it when an image service that comes back is run
over by copies that waited for it.
""",
    ),
    cfg.FloatOpt(
        "retry_max_delay",
        default=300.0,
        min=0.0,
        max=types.DAY,
        help="""
Seconds that no wait between two attempts exceeds. Lower it when copies should
go on sooner after a long outage.
""",
    ),
    cfg.FloatOpt(
        "graceful_timeout",
        default=60.0,
        min=0.0,
        max=types.DAY,
        help="""
Seconds that running copies may go on after SIGTERM. Those that are not done
by then are stopped, cleaned up and given back for another worker. Keep it
below the time after which the service manager kills the process.
""",
    ),
]
