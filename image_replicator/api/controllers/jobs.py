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

"""The controller of jobs."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Final
from urllib import parse

import webob
from oslo_config import cfg
from oslo_log import log as logging
from oslo_utils import strutils
from oslo_utils import uuidutils

from image_replicator import exception
from image_replicator import identity
from image_replicator import jobs
from image_replicator import policy
from image_replicator.api import admission
from image_replicator.api import delegation
from image_replicator.api import filters
from image_replicator.api import http_errors
from image_replicator.api import links
from image_replicator.api import ordering
from image_replicator.api import orders
from image_replicator.api import representation
from image_replicator.api import resource
from image_replicator.api import responses
from image_replicator.api import router
from image_replicator.api import versions
from image_replicator.db import listing
from image_replicator.db import stores

LOG = logging.getLogger(__name__)

#: The keys of a query that are not filters.
_PAGING: Final = frozenset(
    {"limit", "marker", "sort_key", "sort_dir", "all_tenants"}
)


class JobsController(resource.ItemController):
    """The jobs resource.

    :param conf: of the image replicator.
    :param stores: of the jobs.
    :param links: makes the links to jobs.
    """

    show_rule = policy.SHOW

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        stores: stores.Stores,
        enforcer: policy.Enforcer,
        identity: identity.Identity,
        delegations: delegation.Delegations,
        links: links.Links,
    ) -> None:
        self._conf = conf
        self._repository = stores.jobs
        self._enforcer = enforcer
        self._links = links
        self._admission = admission.Admission(
            conf, enforcer, identity, delegations
        )
        self._ordering = ordering.Ordering(
            conf, stores, self._admission, delegations
        )

    def target(self, tenant_id: str) -> Mapping[str, str]:
        """Return the target of the rules for a request that names no job."""
        return {"source_tenant_id": tenant_id}

    def find(self, item_id: str) -> resource.Item[jobs.Job]:
        """Return the job that has an ID.

        :raises NotFound: if there is none.
        """
        if not uuidutils.is_uuid_like(item_id):
            raise exception.NotFound("No job with this ID could be found.")
        job = self._repository.get(item_id)
        return resource.Item(
            named=job,
            target={
                "source_tenant_id": job.source_tenant_id,
                "destination_tenant_id": job.destination_tenant_id,
            },
            not_found=exception.JobNotFound(job.id),
        )

    def show(self, call: resource.Call[jobs.Job]) -> webob.Response:
        """Answer with one job."""
        (shown,) = self._represented(call, [call.named])
        return responses.json_response(shown)

    def index(self, call: resource.Call[None]) -> webob.Response:
        """Answer with a page of jobs, and a link to the next."""
        query = call.query
        all_tenants = strutils.bool_from_string(query.get("all_tenants"))
        if all_tenants:
            self._enforcer.authorize(policy.LIST_ALL_TENANTS, call.context, {})
        most = self._conf.api.max_limit
        limit = min(int(query.get("limit", most)), most)
        comparisons = []
        if call.version >= versions.V1_2:
            comparisons = filters.comparisons(query)
        page = listing.Page(
            # One more job than asked for shows whether there is a next page.
            limit=limit + 1,
            tenant_id=None if all_tenants else call.tenant_id,
            filters={
                key: value
                for key, value in query.items()
                if key not in _PAGING and isinstance(value, str)
            },
            comparisons=comparisons,
            sort_key=query.get("sort_key", "created_at"),
            descending=query.get("sort_dir", "desc") == "desc",
            marker=self._marker(call),
        )
        found = self._repository.list(page)
        shown = found[:limit]
        response = responses.json_response(self._represented(call, shown))
        if len(found) > limit:
            response.headers["Link"] = _next_link(call.request, query, shown)
        return response

    def _represented(
        self, call: resource.Call[Any], shown: Sequence[jobs.Job]
    ) -> list[dict[str, Any]]:
        """Return jobs as the request's version shows them."""
        positions: Mapping[str, int] = {}
        if call.version >= versions.V1_1:
            # One statement reads all positions, and none if no job waits.
            positions = self._repository.queue_positions(shown)
        return [
            representation.represent(job, call.version, positions)
            for job in shown
        ]

    def _marker(self, call: resource.Call[None]) -> jobs.Job | None:
        """Return the last job of the page before; None for the first page.

        :raises BadRequest: if there is no such job for this caller.
        """
        if "marker" not in call.query:
            return None
        try:
            item = self.find(call.query["marker"])
            self._enforcer.authorize_show(
                self.show_rule, call.context, item.target, item.not_found
            )
        except exception.NotFound as error:
            raise http_errors.BadRequest(
                "The marker is not the ID of a job."
            ) from error
        return item.named

    def create(self, call: resource.Call[None]) -> webob.Response:
        """Queue copies, or answer with what would become of them."""
        order = orders.order(call.body)
        key = None
        if call.version >= versions.V1_2:
            key = orders.key(call.request)
            if strutils.bool_from_string(call.query.get("dry_run")):
                return self._plan(call, order)
        accepted = self._ordering.accept(call, order, key)
        response = responses.json_response(accepted.body, status=202)
        if accepted.is_replayed:
            response.headers["Idempotency-Replayed"] = "true"
        if "job_id" in accepted.body:
            response.location = self._location(call, accepted.body["job_id"])
        return response

    def _plan(
        self, call: resource.Call[None], order: orders.Order
    ) -> webob.Response:
        plans = self._ordering.rehearse(call, order)
        return responses.json_response(
            {"plan": [representation.of_plan(plan) for plan in plans]}
        )

    def retry(self, call: resource.Call[jobs.Job]) -> webob.Response:
        """Queue a job once more, as another run of it.

        The caller's rights are checked as for a new job. The user who created
        the job may have lost them, and another user may ask for the retry.
        """
        job = call.named
        if job.status not in jobs.RETRYABLE:
            raise exception.NotRetryable(job.status)
        if job.source_region_id != self._conf.region_id:
            raise exception.Conflict(
                f"The source of the job is in region {job.source_region_id}; "
                "only the image service there can have it run once more."
            )
        plan = self._admission.admit(
            call,
            orders.Order(
                image_id=job.source_image_id,
                destinations=[
                    orders.Destination(
                        tenant_id=job.destination_tenant_id,
                        region_id=job.destination_region_id,
                        name=job.destination_image_name,
                    )
                ],
            ),
        )
        self._repository.request_retry(
            job.id,
            self._conf.api.max_active_jobs_per_tenant,
            self._admission.take(call, plan),
        )
        response = responses.empty_response(202)
        response.location = self._location(call, job.id)
        return response

    def delete(self, call: resource.Call[jobs.Job]) -> webob.Response:
        """Request the cancelation of a job; the job can still be read."""
        self._repository.request_cancel(call.named.id)
        return responses.empty_response()

    def _location(self, call: resource.Call[Any], job_id: str) -> str:
        path = f"{router.JOBS_PATH}/{job_id}"
        return self._links.location(call.request, path)


def _next_link(
    request: webob.Request, query: Mapping[str, Any], shown: list[jobs.Job]
) -> str:
    """Return the Link header for the next page.

    The reference is relative to the request's host, so that it is right
    behind any proxy.
    """
    following = parse.urlencode({**query, "marker": shown[-1].id}, doseq=True)
    path = links.Links.path(request, router.JOBS_PATH)
    return f'<{path}?{following}>; rel="next"'
