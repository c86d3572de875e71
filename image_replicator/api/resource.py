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

"""One request, from its headers to its answer.

Authenticate, find the operation, authorise, parse, validate, call, answer.
Policy comes before the body: a caller without rights learns nothing from
validation.
"""

import dataclasses
import json
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import Final
from typing import Protocol

import webob
from oslo_context import context as oslo_context
from oslo_db import exception as db_exc
from oslo_log import log as logging

from image_replicator import context
from image_replicator import exception
from image_replicator import policy
from image_replicator.api import responses
from image_replicator.api import router
from image_replicator.api import schemas
from image_replicator.api import versions
from image_replicator.images import caller
from image_replicator.jobs import Job

LOG = logging.getLogger(__name__)

#: Bytes. The largest body that makes sense has ids and a name in it.
MAX_BODY: Final = 64 * 1024

#: How to ask an image service as the caller: from the environ and the caller.
AskFactory = Callable[[Mapping[str, Any], context.RequestContext], caller.Ask]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Call:
    """What an action is called with; all of it authorised and valid.

    :ivar version: of the API, that the request speaks.
    :ivar tenant_id: the project that the caller's token is scoped to.
    :ivar job: the job that the path names, where it names one.
    :ivar images: the source region's images, as the caller sees them.
    """

    who: context.RequestContext
    version: versions.Version
    tenant_id: str
    request: webob.Request
    job: Job | None
    query: Mapping[str, str]
    body: Mapping[str, Any]
    images: caller.SourceImages


class Controller(Protocol):
    """What holds the actions that ROUTES names."""

    def find(self, job_id: str | None = None) -> Job | None:
        """Return the job that the path names, if it names one.

        :raises NotFound: if there is none.
        """


class Resource:
    """The operations of ROUTES as a WSGI application.

    :param controllers: by the names that ROUTES has for them.
    """

    def __init__(
        self,
        controllers: Mapping[str, Controller],
        enforcer: policy.Enforcer,
        ask_factory: AskFactory,
    ) -> None:
        self._controllers = controllers
        self._enforcer = enforcer
        self._ask_factory = ask_factory
        self._routers = {
            version: router.Router(version) for version in versions.VERSIONS
        }

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        request = webob.Request(environ)
        known = context.from_environ(environ)
        request_id = (
            known.request_id if known else oslo_context.generate_request_id()
        )
        # What is said before a version is agreed on is the first one's.
        version = versions.VERSIONS[0]
        try:
            who = _authenticated(known, environ)
            version = versions.negotiate(request)
            response = self._answer(request, who, version)
        except Exception as error:
            response = responses.error_response(
                request, _api_error(error, request_id)
            )
        versions.announce(response, version)
        response.headers["X-Openstack-Request-Id"] = request_id
        return response(environ, start_response)

    def _answer(
        self,
        request: webob.Request,
        who: context.RequestContext,
        version: versions.Version,
    ) -> webob.Response:
        route, path = self._routers[version].match(_checked_path(request))
        controller = self._controllers[route.controller]
        tenant_id = _tenant_of(who)
        job = controller.find(**path)
        self._authorize(route, who, tenant_id, job)
        call = Call(
            who=who,
            version=version,
            tenant_id=tenant_id,
            request=request,
            job=job,
            query=_query(request, route),
            body=_body(request, route.body(version)),
            images=caller.SourceImages(
                self._ask_factory(request.environ, who)
            ),
        )
        response: webob.Response = getattr(controller, route.action)(call)
        return response

    def _authorize(
        self,
        route: router.Route,
        who: context.RequestContext,
        tenant_id: str,
        job: Job | None,
    ) -> None:
        if job is None:
            target = {"source_tenant_id": tenant_id}
            self._enforcer.authorize(route.rule, who, target)
            return
        self._enforcer.authorize_sight(who, job)
        if route.rule != policy.SHOW:
            self._enforcer.authorize(route.rule, who, policy.target_of(job))


def _authenticated(
    known: context.RequestContext | None, environ: Mapping[str, Any]
) -> context.RequestContext:
    if known is not None:
        return known
    if context.TOKEN_AUTH not in environ:
        LOG.error(
            "No auth_token stands before the image replicator in the paste "
            "pipeline, so it knows no caller and refuses all."
        )
    raise exception.Unauthorized()


def _tenant_of(who: context.RequestContext) -> str:
    if not who.project_id:
        raise exception.Forbidden(
            "A token that is scoped to a project is needed."
        )
    return who.project_id


def _checked_path(request: webob.Request) -> webob.Request:
    """Return the request, if its path can be read as UTF-8 at all."""
    try:
        _ = request.path_info
    except UnicodeDecodeError as error:
        raise exception.NotFound("There is nothing at this path.") from error
    return request


def _query(request: webob.Request, route: router.Route) -> dict[str, str]:
    if route.query is None:
        return {}
    try:
        pairs = list(request.GET.items())
    except UnicodeDecodeError as error:
        raise exception.BadRequest("The query is not UTF-8.") from error
    query = dict(pairs)
    if len(query) < len(pairs):
        raise exception.BadRequest("The query names a key more than once.")
    return schemas.validate(query, route.query, "query")


def _body(
    request: webob.Request, schema: router.Schema | None
) -> dict[str, Any]:
    if schema is None:
        return {}
    try:
        parsed = json.loads(_read_body(request))
        return schemas.validate(parsed, schema, "body")
    except ValueError as error:
        raise exception.BadRequest("The body is not JSON.") from error
    except RecursionError as error:
        raise exception.BadRequest("The body is nested too deeply.") from error


def _read_body(request: webob.Request) -> bytes:
    try:
        length = request.content_length or 0
    except ValueError:
        length = -1
    if length < 0:
        raise exception.BadRequest("The Content-Length is not a number.")
    if length > MAX_BODY:
        raise exception.PayloadTooLarge(
            f"The body is larger than {MAX_BODY} bytes."
        )
    try:
        body: bytes = request.body_file_raw.read(length)
    except OSError as error:
        raise exception.BadRequest("The body ended too early.") from error
    if len(body) < length:
        raise exception.BadRequest("The body ended too early.")
    return body


def _api_error(error: Exception, request_id: str) -> exception.APIError:
    """Turn what went wrong into what may be said about it."""
    if isinstance(error, exception.APIError):
        return error
    if isinstance(error, db_exc.DBError | db_exc.CantStartEngineError):
        LOG.error("The database does not serve us", exc_info=error)
        return exception.ServiceUnavailable(
            "The database does not answer; try again later."
        )
    LOG.error("Request %s failed", request_id, exc_info=error)
    return exception.APIError(f"Request {request_id} failed.")
