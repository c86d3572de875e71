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

"""The checks that a request for copies must pass.

They are made before new jobs, or another run of a job, are queued: each
creates an image in the destination tenant. A dry run makes the same checks.
"""

import contextlib
import dataclasses
from collections import defaultdict
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from oslo_config import cfg

from image_replicator import authority
from image_replicator import context as ir_context
from image_replicator import exception
from image_replicator import identity
from image_replicator import images
from image_replicator import jobs
from image_replicator import metadata
from image_replicator import nearness
from image_replicator import policy
from image_replicator.api import delegation
from image_replicator.api import http_errors
from image_replicator.api import orders
from image_replicator.api import resource
from image_replicator.api import versions
from image_replicator.images import availability
from image_replicator.images import caller
from image_replicator.images import destination
from image_replicator.images import probe

#: The errors with which a check refuses a copy.
Refusal = exception.RequestError | http_errors.APIError


@dataclasses.dataclass
class Source:
    """The source image, as far as the checks have come.

    :ivar judged: the fate of its properties.
    :ivar refusal: the check that it does not pass; None if it passes all of
        them.
    """

    image: images.Image | None = None
    judged: Mapping[str, metadata.Judgement] | None = None
    refusal: Refusal | None = None


@dataclasses.dataclass
class Plan:
    """A copy to one destination, as far as the checks have come.

    :ivar source: the source image.
    :ivar there: the caller in the destination tenant.
    :ivar region: the region that the copy goes to.
    :ivar is_up: whether the image service there answers.
    :ivar usage: what the tenant uses of its limits there, if that is known.
    :ivar present: the image that makes the copy needless.
    :ivar read_from: the image that its bytes would come from.
    :ivar refusal: the check that the copy, or the source image, does not pass;
        None if it passes all of them.
    """

    wanted: orders.Destination
    source: Source
    there: ir_context.RequestContext | None = None
    region: identity.DestinationRegion | None = None
    is_up: bool | None = None
    usage: destination.Usage | None = None
    present: jobs.Present | None = None
    read_from: nearness.Replica | None = None
    refusal: Refusal | None = None

    @property
    def known_image(self) -> images.Image:
        """The source image of a plan that is not refused."""
        assert self.source.image is not None
        return self.source.image

    @property
    def known_region(self) -> str:
        """The destination region of a plan that is not refused."""
        assert self.region is not None
        return self.region.name


@contextlib.contextmanager
def _refusals_of(checked: Source | Plan) -> Iterator[None]:
    """Keep the error of a check that is not passed."""
    try:
        yield
    except (exception.RequestError, http_errors.APIError) as error:
        checked.refusal = error


class Admission:
    """Checks whether a caller may have an image copied.

    :param conf: of the image replicator.
    :param delegations: takes the caller's right.
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        enforcer: policy.Enforcer,
        identity: identity.Identity,
        delegations: delegation.Delegations,
    ) -> None:
        self._delegations = delegations
        self._conf = conf
        self._enforcer = enforcer
        self._identity = identity
        self._rules = metadata.rules_from(conf)
        self._availability = availability.Availability(self._ask_region)

    def plans(
        self, call: resource.Call[Any], order: orders.Order
    ) -> Iterator[Plan]:
        """Check the copies of an order, one after the other.

        :param order: of an image in our own region.
        :returns: a plan for each destination. Its refusal is one of these:
            BadRequest, if the image is in the destination region already, or
            another destination is the same; Forbidden, if the caller's roles
            do not suffice, or the token cannot give us the right to make the
            copy; NotFound, if the caller can see no such image or tenant;
            Conflict, if the image cannot be copied, or the destination cannot
            take it; LimitExceeded, if the image is larger than the operator or
            the destination allows; ServiceUnavailable, if Keystone or an image
            service does not answer.
        """
        source = self._source(call, order.image_id)
        places: dict[tuple[str, str], int] = {}
        asked: dict[str, destination.Asked] = defaultdict(destination.Asked)
        for place, wanted in enumerate(order.destinations):
            plan = Plan(wanted, source, refusal=source.refusal)
            if plan.refusal is None:
                with _refusals_of(plan):
                    self._check(call, plan, order, asked)
                    where = (wanted.tenant_id, plan.known_region)
                    first = places.setdefault(where, place)
                    if first != place:
                        raise http_errors.BadRequest(
                            f"It is the same as destinations[{first}]."
                        )
            yield plan

    def admit(self, call: resource.Call[Any], order: orders.Order) -> Plan:
        """Check the copy of an order with one destination.

        :raises RequestError: if it is refused; see :meth:`plans`.
        :raises APIError: in the same way.
        """
        (plan,) = self.plans(call, order)
        if plan.refusal:
            raise plan.refusal
        return plan

    def take(
        self, call: resource.Call[Any], plan: Plan
    ) -> authority.Authority:
        """Take the caller's right to make a copy that is not refused.

        It is done after all checks, as it leaves a trust in Keystone.

        :raises Forbidden: if the caller's token cannot give the right.
        :raises ServiceUnavailable: if Keystone does not answer.
        """
        assert plan.there is not None
        return self._delegations.take(
            call.context, plan.there, plan.known_image.get("owner")
        )

    def _source(self, call: resource.Call[Any], image_id: str) -> Source:
        source = Source()
        with _refusals_of(source):
            source.image = image = call.images.show(image_id)
            source.judged = metadata.judged(image, self._rules)
            self._check_copyable(call.images, image)
        return source

    def _check(
        self,
        call: resource.Call[Any],
        plan: Plan,
        order: orders.Order,
        asked: Mapping[str, destination.Asked],
    ) -> None:
        wanted = plan.wanted
        plan.there = self._authorize_destination(
            call.context, wanted.tenant_id
        )
        self._find_region(plan)
        if call.version >= versions.V1_2:
            there = self._destination(call, plan, asked)
            self._ask_destination(there, plan, order.if_present)
        if plan.present is None:
            self._delegations.check(call.context, plan.there)

    def _destination(
        self,
        call: resource.Call[Any],
        plan: Plan,
        asked: Mapping[str, destination.Asked],
    ) -> destination.DestinationImages:
        """Return the destination's images, as the caller sees them."""
        assert plan.there is not None
        region = plan.known_region
        if region == self._conf.region_id:
            ask = call.ask_as(plan.there)
        else:
            ask = caller.ask_remote(
                self._identity.session,
                self._identity.catalogue,
                region,
                plan.there,
                self._conf.api.destination_timeout,
            )
        return destination.DestinationImages(
            ask, plan.wanted.tenant_id, region, asked[region]
        )

    @staticmethod
    def _ask_destination(
        there: destination.DestinationImages,
        plan: Plan,
        if_present: jobs.IfPresent,
    ) -> None:
        """Ask the destination for an image with the data, and for limits."""
        image = plan.known_image
        if if_present is jobs.IfPresent.SKIP:
            plan.present = there.find_present(
                image, plan.wanted.name, metadata.is_marked
            )
        if plan.present is None:
            there.check_formats(image)
            plan.usage = there.usage()
            there.check_usage(image, plan.usage)

    def _check_copyable(
        self, source: caller.SourceImages, image: images.Image
    ) -> None:
        """Check that the caller may have the source image copied."""
        if image["status"] != "active":
            raise exception.Conflict(
                f"The image is {image['status']}; only an active one can be "
                "copied."
            )
        self._check_size(image["size"])
        metadata.travelling(image, self._rules)
        source.check_downloadable(image)

    def _check_size(self, size: int | None) -> None:
        if size is None:
            raise exception.Conflict("The size of the image is not known.")
        most = self._conf.api.max_image_size
        if most and size > most:
            raise exception.LimitExceeded(
                f"The image has {size} bytes; one of at most {most} bytes "
                "may be copied."
            )

    def _authorize_destination(
        self, context: ir_context.RequestContext, tenant_id: str
    ) -> ir_context.RequestContext:
        """Check the policy with the caller's roles in the destination.

        :returns: the caller in the destination.
        """
        there = self._identity.caller_in_project(tenant_id, context)
        self._enforcer.authorize(
            policy.CREATE_AT_DESTINATION,
            there,
            {"destination_tenant_id": tenant_id},
        )
        return there

    def _find_region(self, plan: Plan) -> None:
        """Write the region into a plan, if its image service can be used."""
        assert plan.there is not None
        ours = self._conf.region_id
        plan.region = self._identity.destination_region(
            plan.there, ours, plan.wanted.region_id
        )
        region = plan.region.name
        if region == ours:
            # Our own region is available, as it has just shown us the image.
            # If its server has a single thread, a request over HTTP would wait
            # for this very one.
            plan.is_up = True
            if plan.there.project_id == plan.known_image.get("owner"):
                raise http_errors.BadRequest(
                    "The image is in this tenant and region already."
                )
            return
        problem = self._availability.problem(region)
        plan.is_up = problem is None
        if problem:
            raise exception.Conflict(problem.message)

    def _ask_region(self, region: str) -> probe.Problem | None:
        return probe.find_problem(
            self._identity.session,
            self._identity.catalogue,
            region,
            self._conf.api.destination_timeout,
        )
