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

"""Carries out a request for copies: all of its jobs are queued, or none."""

import dataclasses
import json
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from oslo_config import cfg

from image_replicator import authority
from image_replicator import exception
from image_replicator import images
from image_replicator import jobs
from image_replicator import nearness
from image_replicator.api import admission
from image_replicator.api import delegation
from image_replicator.api import orders
from image_replicator.api import resource
from image_replicator.db import idempotency
from image_replicator.db import jobs as db_jobs
from image_replicator.db import stores


@dataclasses.dataclass(frozen=True)
class Accepted:
    """The answer to an order whose jobs are queued.

    :ivar body: of the answer.
    :ivar is_replayed: whether an earlier request with the same key queued
        them.
    """

    body: Mapping[str, Any]
    is_replayed: bool = False


class Ordering:
    """Queues the jobs of orders.

    :param conf: of the image replicator.
    :param stores: of the jobs.
    :param admission: checks each copy.
    :param delegations: removes the trusts that are not needed any more.
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        stores: stores.Stores,
        admission: admission.Admission,
        delegations: delegation.Delegations,
    ) -> None:
        self._region: str = conf.region_id
        self._at_most: int = conf.api.max_active_jobs_per_tenant
        self._repository = stores.jobs
        self._keys = stores.idempotency_keys
        self._replicas = stores.replicas
        self._admission = admission
        self._delegations = delegations

    def accept(
        self, call: resource.Call[None], order: orders.Order, key: str | None
    ) -> Accepted:
        """Queue the jobs of an order.

        :param key: the request's idempotency key; None if it has none.
        :raises RequestError: if one of the jobs is refused, or the key was
            used for another request.
        :raises APIError: in the same way.
        """
        if key is None:
            return Accepted(self._create(call, order))
        named = idempotency.Key(
            project_id=call.tenant_id,
            value=key,
            digest=orders.digest(call.body),
        )
        if replayed := self._replay(named):
            return replayed
        try:
            return Accepted(self._create(call, order, named))
        except idempotency.KeyTaken:
            # Another request with the key was first, at the same moment.
            replayed = self._replay(named)
        if replayed is None:
            raise exception.ServiceUnavailable(
                "Another request with this Idempotency-Key has just been "
                "forgotten; try again."
            )
        return replayed

    def _replay(self, key: idempotency.Key) -> Accepted | None:
        """Return the answer to an earlier request with the same key.

        :returns: None if there was none.
        :raises KeyReused: if that request was another one.
        """
        remembered = self._keys.find(key)
        if remembered is None:
            return None
        if remembered.digest != key.digest:
            raise exception.KeyReused()
        return Accepted(json.loads(remembered.answer), is_replayed=True)

    def _create(
        self,
        call: resource.Call[None],
        order: orders.Order,
        key: idempotency.Key | None = None,
    ) -> dict[str, Any]:
        """Queue the jobs; return the body of the answer."""
        creations = self._admitted(call, order)

        def body(job_ids: Sequence[str]) -> dict[str, Any]:
            return _body(order, creations, job_ids)

        once = None
        if key:
            once = db_jobs.Once(key, lambda job_ids: json.dumps(body(job_ids)))
        try:
            created = self._repository.create_all(
                creations, self._at_most, once
            )
        except exception.DuplicateJob as error:
            raise _placed(error, order, error.place) from error
        self._delegations.remove_unused(call.context)
        return body([job.id for job in created])

    def _admitted(
        self, call: resource.Call[None], order: orders.Order
    ) -> list[db_jobs.Creation]:
        """Return the jobs of an order, all of which are admitted."""
        plans = []
        for place, plan in enumerate(self._admission.plans(call, order)):
            if plan.source.refusal:
                # No destination is at fault.
                raise plan.source.refusal
            if plan.refusal:
                raise _placed(plan.refusal, order, place)
            plans.append(plan)
        authorities: dict[str, authority.Authority] = {}
        for plan in plans:
            tenant = plan.wanted.tenant_id
            if plan.present is None and tenant not in authorities:
                authorities[tenant] = self._admission.take(call, plan)
        return [
            db_jobs.Creation(
                self._new_job(call, order, plan),
                None if plan.present else authorities[plan.wanted.tenant_id],
                plan.present,
            )
            for plan in plans
        ]

    def _new_job(
        self,
        call: resource.Call[None],
        order: orders.Order,
        plan: admission.Plan,
    ) -> jobs.NewJob:
        image = plan.known_image
        return jobs.NewJob(
            source_image_id=image["id"],
            source_image_name=image.get("name") or "",
            source_region_id=self._region,
            source_tenant_id=call.tenant_id,
            destination_region_id=plan.known_region,
            destination_tenant_id=plan.wanted.tenant_id,
            destination_image_name=plan.wanted.name,
            image_size=image["size"],
            request_id=call.context.request_id,
            priority=order.priority,
            if_present=order.if_present,
        )

    def rehearse(
        self, call: resource.Call[None], order: orders.Order
    ) -> list[admission.Plan]:
        """Return what would become of an order; write nothing.

        The database does all that it does for an order, and undoes it.
        """
        plans = list(self._admission.plans(call, order))
        while accepted := [plan for plan in plans if plan.refusal is None]:
            creations = [
                db_jobs.Creation(
                    self._new_job(call, order, plan), present=plan.present
                )
                for plan in accepted
            ]
            try:
                self._repository.create_all(
                    creations, self._at_most, rehearsal=True
                )
            except exception.DuplicateJob as error:
                accepted[error.place].refusal = error
            except exception.TooManyJobs as error:
                # It is about all of them together.
                for plan in accepted:
                    plan.refusal = error
            else:
                break
        for plan in plans:
            if plan.refusal is None and plan.present is None:
                plan.read_from = self._read_from(call, plan)
        return plans

    def _read_from(
        self, call: resource.Call[None], plan: admission.Plan
    ) -> nearness.Replica:
        """Return the image that the bytes of a copy would come from."""
        context = call.context
        content = images.content(self._region, plan.known_image)
        reach = nearness.Reach(
            source_tenant_id=call.tenant_id,
            destination_tenant_id=plan.wanted.tenant_id,
            user_id=None if context.restricted else context.user_id,
        )
        choice = self._replicas.choose(content, reach, plan.known_region)
        return choice.replicas[0]


def _body(
    order: orders.Order,
    creations: Sequence[db_jobs.Creation],
    job_ids: Sequence[str],
) -> dict[str, Any]:
    """Return the body of the answer to an order."""
    if not order.listed:
        return {"job_id": job_ids[0]}
    return {
        "jobs": [
            {
                "job_id": job_id,
                "destination_tenant_id": creation.new.destination_tenant_id,
                "destination_region_id": creation.new.destination_region_id,
            }
            for job_id, creation in zip(job_ids, creations, strict=True)
        ]
    }


def _placed(
    error: admission.Refusal, order: orders.Order, place: int
) -> admission.Refusal:
    """Return an error, which then names its place in a list of destinations.

    :param place: from 0.
    """
    if order.listed:
        error.message = f"destinations[{place}]: {error.message}"
    return error
