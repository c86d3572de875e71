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

"""The checks that a request for a copy must pass.

They are made before a new job, or another run of a job, is queued: each
creates an image in the destination tenant.
"""

import dataclasses
from typing import Any

from oslo_config import cfg

from image_replicator import authority
from image_replicator import context as ir_context
from image_replicator import exception
from image_replicator import identity
from image_replicator import images
from image_replicator import metadata
from image_replicator import policy
from image_replicator.api import delegation
from image_replicator.api import http_errors
from image_replicator.api import resource
from image_replicator.images import availability
from image_replicator.images import caller
from image_replicator.images import probe


@dataclasses.dataclass(frozen=True)
class Admitted:
    """A copy that may be queued.

    :ivar image: the source image.
    :ivar region: the region that the copy goes to.
    :ivar authority: the right with which it is made.
    """

    image: images.Image
    region: str
    authority: authority.Authority


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

    def admit(
        self,
        call: resource.Call[Any],
        image_id: str,
        tenant_id: str,
        region: str | None,
    ) -> Admitted:
        """Check whether a copy may be queued.

        :param image_id: of the source image, in our own region.
        :param tenant_id: of the destination.
        :param region: of the destination; None if the caller names none, so
            that the tenant's tag or the operator's default is used.
        :raises BadRequest: if the image is in the destination region already.
        :raises Forbidden: if the caller's roles do not suffice, or the token
            cannot give us the right to make the copy.
        :raises NotFound: if the caller can see no such image or tenant.
        :raises Conflict: if the image cannot be copied, or the destination
            cannot take it.
        :raises LimitExceeded: if the image is larger than the operator allows.
        :raises ServiceUnavailable: if Keystone or the source's image service
            does not answer.
        """
        image = self._copyable(call.images, image_id)
        there = self._authorize_destination(call.context, tenant_id)
        open_region = self._open_region(image, there, region)
        return Admitted(
            image,
            open_region,
            # The last check, as it leaves a trust in Keystone.
            self._delegations.take(call.context, there, image.get("owner")),
        )

    def _copyable(
        self, source: caller.SourceImages, image_id: str
    ) -> images.Image:
        """Return the source image, if the caller may have it copied."""
        image = source.show(image_id)
        if image["status"] != "active":
            raise exception.Conflict(
                f"The image is {image['status']}; only an active one can be "
                "copied."
            )
        self._check_size(image["size"])
        metadata.travelling(image, self._rules)
        source.check_downloadable(image)
        return image

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

    def _open_region(
        self,
        image: images.Image,
        there: ir_context.RequestContext,
        wanted: str | None,
    ) -> str:
        """Return the region of the copy, if its image service can be used."""
        ours = self._conf.region_id
        region = self._identity.destination_region(there, ours, wanted)
        if region == ours:
            # Our own region is available, as it has just shown us the image.
            # If its server has a single thread, a request over HTTP would wait
            # for this very one.
            if there.project_id == image.get("owner"):
                raise http_errors.BadRequest(
                    "The image is in this tenant and region already."
                )
            return region
        problem = self._availability.problem(region)
        if problem:
            raise exception.Conflict(problem.message)
        return region

    def _ask_region(self, region: str) -> probe.Problem | None:
        return probe.find_problem(
            self._identity.session,
            self._identity.catalogue,
            region,
            self._conf.api.destination_timeout,
        )
