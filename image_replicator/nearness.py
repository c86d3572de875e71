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

"""The choice of the image that the bytes of a copy come from.

A copy that another job made of the same data may be nearer to where a job goes
than the source image. The API, the database and the worker share these types
and rules.
"""

import dataclasses
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Final

#: A region counts as slow if another one is this many times as fast. The rates
#: of copies that ran at the same time as others differ by less.
_SLOW: Final = 8

#: The factor of the latency of the destination region: it is left only for a
#: region that is much nearer, as a busy service is slow to answer.
_HOME: Final = 0.5

#: How often as fast as the way from the source region the way within the
#: destination region is assumed to be, while it is not measured.
_NEAR_IS_FASTER: Final = 2

#: Seconds between two looks at the job that is waited for.
_LEAST_WAIT: Final = 0.5
_MOST_WAIT: Final = 10.0

#: Seconds for which a job is waited for of which no rate is known.
_PATIENCE: Final = 10.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Route:
    """The way from a region to where a copy goes, as workers measured it.

    :ivar latency: seconds from a request to the first byte.
    :ivar rate: bytes per second.
    :ivar streams: the number of streams that the last copy settled on; None if
        it is not known.
    """

    latency: float
    rate: float
    streams: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reach:
    """The images that may be read for a job, as its user may read them.

    The job's own right holds in both tenants.

    :ivar user_id: the user whose trusts for further tenants may be used; None
        if no trust may be.
    """

    source_tenant_id: str
    destination_tenant_id: str
    user_id: str | None = None

    @property
    def own_tenants(self) -> frozenset[str]:
        """The tenants in which the job's own right holds."""
        return frozenset({self.source_tenant_id, self.destination_tenant_id})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Content:
    """The data of a source image.

    :ivar region_id: of the source image.
    :ivar image_id: of the source image.
    :ivar algorithm: of the hash, as Glance's ``os_hash_algo`` names it; None
        if the image has no hash.
    :ivar value: the hash, hexadecimal.
    """

    region_id: str
    image_id: str
    algorithm: str | None
    value: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Replica:
    """An image that has the data that a job is to copy.

    :ivar tenant_id: the tenant in which it can be read; None if it is the
        source image.
    :ivar trust_id: the trust by which it can be read; None if the job's own
        right suffices.
    """

    region_id: str
    image_id: str
    tenant_id: str | None = None
    trust_id: str | None = None

    @property
    def is_source(self) -> bool:
        """Whether it is the source image itself."""
        return self.tenant_id is None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """The images that a copy can be read from.

    :ivar replicas: the one to read from first is the first.
    :ivar routes: the ways to the destination region, by region.
    """

    replicas: list[Replica]
    routes: Mapping[str, Route]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rival:
    """A job that copies, or is to copy, the same image to the same region.

    :ivar is_running: whether a worker makes the copy.
    :ivar read_region_id: from which the copy is read; None if that is not
        known yet.
    :ivar age: seconds since the copy began.
    """

    job_id: str
    is_running: bool
    read_region_id: str | None
    bytes_copied: int
    bytes_per_second: int | None
    age: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wait:
    """The decision that a job waits for another one.

    :ivar job_id: the job to wait for.
    :ivar seconds: until the next look at it.
    """

    job_id: str
    seconds: float


def in_order(
    replicas: Iterable[Replica],
    routes: Mapping[str, Route],
    destination: str,
) -> list[Replica]:
    """Return replicas, the one to read from first.

    Regions that are not far slower than the fastest one come first, the
    nearest of them before the others, and the destination region before those
    that are about as near. A region that was not measured counts as
    near if the copy goes there, and else as the farthest.

    :param routes: to the destination region, by region.
    """
    replicas = list(replicas)
    known = [
        routes[replica.region_id].rate
        for replica in replicas
        if replica.region_id in routes
    ]
    fastest = max(known, default=0.0)

    def place(replica: Replica) -> tuple[bool, float, bool]:
        route = routes.get(replica.region_id)
        if route is None:
            near = replica.region_id == destination
            latency = 0.0 if near else float("inf")
            return False, latency, not replica.is_source
        is_slow = route.rate * _SLOW < fastest
        latency = route.latency
        if replica.region_id == destination:
            latency *= _HOME
        order = -route.rate if is_slow else latency
        return is_slow, order, not replica.is_source

    return sorted(replicas, key=place)


def wait_for(
    rivals: Iterable[Rival],
    source: str,
    size: int,
    far: Route | None,
    near: Route | None,
) -> Wait | None:
    """Decide whether a job waits for another copy of its image.

    It waits if the other copy's end, and reading from that copy, come sooner
    than the end of all these jobs that share the way from the source region.

    :param rivals: the jobs whose image this one could read.
    :param source: the region of the source image.
    :param size: bytes of the image.
    :param far: the way from the source region; None if not measured.
    :param near: the way within the destination region; None if not measured.
    """
    rivals = list(rivals)
    running = [rival for rival in rivals if rival.is_running]
    reads = {rival.read_region_id for rival in running}
    if not running or not reads <= {source, None}:
        # The one that reads from elsewhere shows that there is a nearer copy.
        return None
    leader = max(running, key=lambda rival: (rival.bytes_copied, rival.age))
    rate = leader.bytes_per_second
    if rate is None and far and leader.read_region_id:
        rate = round(far.rate)
    if rate is None:
        if leader.age > _PATIENCE:
            return None
        return Wait(job_id=leader.job_id, seconds=_LEAST_WAIT)
    if not rate:
        return None
    link = max(rate, far.rate if far else 0.0)
    left = max(0, size - leader.bytes_copied) / rate
    within = size / (near.rate if near else link * _NEAR_IS_FASTER)
    alone = size / link * (len(rivals) + 1)
    if left + within >= alone:
        return None
    seconds = min(_MOST_WAIT, max(_LEAST_WAIT, left))
    return Wait(job_id=leader.job_id, seconds=seconds)
