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

"""The WSGI application: handles a request from its headers to its response.

The steps are: authenticate, find the operation and the thing that its path
names, authorise, parse, validate, call, respond. The policy is checked before
the body is validated, so a caller without rights learns nothing from
validation.
"""

import dataclasses
import functools
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import ClassVar
from typing import Generic
from typing import TypeVar

import webob
from oslo_context import context as oslo_context
from oslo_log import log as logging

from image_replicator import context as ir_context
from image_replicator import exception
from image_replicator import policy
from image_replicator.api import http_errors
from image_replicator.api import parsing
from image_replicator.api import responses
from image_replicator.api import router
from image_replicator.api import versions
from image_replicator.images import caller

LOG = logging.getLogger(__name__)

#: Returns the way to ask an image service as the caller, given the environ and
#: the caller.
AskFactory = Callable[
    [Mapping[str, Any], ir_context.RequestContext], caller.Ask
]

#: The type of the thing that a path names; None for a path without an ID.
Named = TypeVar("Named")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item(Generic[Named]):
    """A thing that the ID in a path names.

    :ivar target: the target of the policy's rules.
    :ivar not_found: the error for a caller who may not know that it exists; it
        is the same as if it did not exist.
    """

    named: Named
    target: Mapping[str, str]
    not_found: exception.NotFound


@dataclasses.dataclass(frozen=True, kw_only=True)
class Call(Generic[Named]):
    """The arguments of an action, authorised and validated.

    :ivar version: of the API, for this request.
    :ivar tenant_id: the project that the caller's token is scoped to.
    :ivar named: the thing that the path's ID names; None for a path without an
        ID.
    :ivar ask_as: returns the way to ask the source region's image service, as
        the caller in one project or another.
    """

    context: ir_context.RequestContext
    version: versions.Version
    tenant_id: str
    request: webob.Request
    named: Named
    query: Mapping[str, Any]
    body: Mapping[str, Any]
    ask_as: Callable[[ir_context.RequestContext], caller.Ask]

    @property
    def images(self) -> caller.SourceImages:
        """The source region's images, as the caller sees them."""
        return caller.SourceImages(self.ask_as(self.context))


class Controller:
    """Base of controllers: each has a method for each action in ROUTES.

    Each such method takes a :class:`Call` and returns the response.
    """

    def target(self, tenant_id: str) -> Mapping[str, str]:
        """Return the target of the rules for a path without an ID.

        :param tenant_id: the project that the caller's token is scoped to.
        """
        return {"project_id": tenant_id}


class ItemController(Controller):
    """Base of the controllers of things that have IDs.

    :cvar show_rule: a caller to whom this rule denies a thing must not learn
        that it exists.
    """

    show_rule: ClassVar[str]

    def find(self, item_id: str) -> Item[Any]:
        """Return the thing that has an ID.

        :raises NotFound: if there is none.
        """
        raise NotImplementedError


class Resource:
    """The WSGI application that serves a table of routes.

    :param controllers: by their names in the table.
    """

    def __init__(
        self,
        controllers: Mapping[str, Controller],
        enforcer: policy.Enforcer,
        ask_factory: AskFactory,
        routes: Sequence[router.Route] = router.ROUTES,
    ) -> None:
        self._controllers = controllers
        self._enforcer = enforcer
        self._ask_factory = ask_factory
        self._routers = {
            version: router.Router(version, routes)
            for version in versions.VERSIONS
        }

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        request = webob.Request(environ)
        known = ir_context.from_environ(environ)
        request_id = (
            known.request_id if known else oslo_context.generate_request_id()
        )
        # Until the version is known, the response is of the first one.
        version = versions.VERSIONS[0]
        try:
            context = _authenticated(known, environ)
            version = versions.negotiate(request)
            response = self._answer(request, context, version)
        except Exception as error:
            response = responses.error_response(
                request, http_errors.api_error(error, request_id)
            )
        versions.announce(response, version)
        responses.forbid_caching(response)
        response.headers["X-Openstack-Request-Id"] = request_id
        return responses.send(response, environ, start_response)

    def _answer(
        self,
        request: webob.Request,
        context: ir_context.RequestContext,
        version: versions.Version,
    ) -> webob.Response:
        routes, path = self._routers[version].match(_checked_path(request))
        controller = self._controllers[routes[0].controller]
        tenant_id = _tenant_of(context)
        item = self._find(controller, context, path)
        target = item.target if item else controller.target(tenant_id)
        body = parsing.Body(request)
        route = self._allowed(routes, context, target, body)
        call = Call(
            context=context,
            version=version,
            tenant_id=tenant_id,
            request=request,
            named=item.named if item else None,
            query=parsing.query(request, route.query(version)),
            body=body.validated(route.body(version)),
            ask_as=functools.partial(self._ask_factory, request.environ),
        )
        response: webob.Response = getattr(controller, route.action)(call)
        return response

    def _find(
        self,
        controller: Controller,
        context: ir_context.RequestContext,
        path: Mapping[str, str],
    ) -> Item[Any] | None:
        """Return the thing that the path names; None for a path without an ID.

        :raises NotFound: if it does not exist, or the caller may not see it.
        """
        if not path:
            return None
        assert isinstance(controller, ItemController)
        (item_id,) = path.values()
        item = controller.find(item_id)
        self._enforcer.authorize_show(
            controller.show_rule, context, item.target, item.not_found
        )
        return item

    def _allowed(
        self,
        routes: Sequence[router.Route],
        context: ir_context.RequestContext,
        target: Mapping[str, str],
        body: parsing.Body,
    ) -> router.Route:
        """Return the route that the request asks for, if the policy allows it.

        :raises Forbidden: if it does not. A caller who may do none of a path's
            actions is not told of errors in the body.
        """
        by_key = {route.key: route for route in routes if route.key}
        if not by_key:
            (route,) = routes
            self._enforcer.authorize(route.rule, context, target)
            return route
        try:
            route = by_key[body.one_key(list(by_key))]
        except http_errors.APIError:
            rules = [route.rule for route in routes]
            self._enforcer.authorize_any(rules, context, target)
            raise
        self._enforcer.authorize(route.rule, context, target)
        return route


def _authenticated(
    known: ir_context.RequestContext | None, environ: Mapping[str, Any]
) -> ir_context.RequestContext:
    if known is not None:
        return known
    if ir_context.TOKEN_AUTH not in environ:
        LOG.error(
            "No auth_token stands before the image replicator in the paste "
            "pipeline, so it knows no caller and refuses all."
        )
    raise http_errors.Unauthorized()


def _tenant_of(context: ir_context.RequestContext) -> str:
    if not context.project_id:
        raise exception.Forbidden(
            "A token that is scoped to a project is needed."
        )
    return context.project_id


def _checked_path(request: webob.Request) -> webob.Request:
    """Return the request, if its path is valid UTF-8."""
    try:
        _ = request.path_info
    except UnicodeDecodeError as error:
        raise exception.NotFound("There is nothing at this path.") from error
    return request
