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

"""The options of the API."""

from typing import Final

from oslo_config import cfg

from image_replicator.conf import types

GROUP: Final = "api"

OPTS: Final = [
    cfg.URIOpt(
        "public_endpoint",
        schemes=["http", "https"],
        help="""
Where users reach the image service that the API belongs to, such as
``https://image.example.com:9292``, with the path of a proxy if there is one.
The ``Location`` of a job and the link of a version begin with it. Without it
the former begins with the region's public endpoint in Keystone's catalogue,
and the latter is a path. Set it where users take another address.
""",
    ),
    cfg.IntOpt(
        "max_limit",
        default=1000,
        min=1,
        help="""
The most jobs that one page of a listing holds, and how many it holds when
the request has no ``limit``. Lower it when listings weigh on the database.
""",
    ),
    cfg.FloatOpt(
        "destination_timeout",
        default=5.0,
        min=0.1,
        max=types.DAY,
        help="""
Seconds that the image service of the destination region may take to show
that it is up before a copy is refused. It is asked every few seconds at most,
by one request for all that come meanwhile. Raise it for regions that are far
away; the caller waits that long.
""",
    ),
    cfg.IntOpt(
        "max_active_jobs_per_tenant",
        default=1000,
        min=0,
        help="""
How many jobs that are not over yet a tenant may have; 0 for any number. A
request beyond is refused with 413, however many come at once. It keeps a
script that runs wild from filling the queue; tenants are served in rounds in
any case. Raise it where tenants copy many images to many regions at once: a
hundred images to ten regions are a thousand jobs.
""",
    ),
    cfg.IntOpt(
        "max_image_size",
        default=0,
        min=0,
        help="""
Bytes of the largest image that may be copied; 0 for any size. A request for a
larger one is refused with 413. Set it where the link between the regions, or
the destination's store, cannot take the largest images.
""",
    ),
]
