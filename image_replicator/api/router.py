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

"""The routes: the operation of each method and path.

One row of ROUTES describes an operation: method, path, the version that added
it, the controller's action, the policy rule that allows it, and the schemas of
its query and body. A path with several actions has one row for each; the only
key of the request's body names the action.
"""

import dataclasses
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Final

import webob
from routes import mapper

from image_replicator import exception
from image_replicator import policy
from image_replicator.api import http_errors
from image_replicator.api import schemas
from image_replicator.api import versions

BASE_PATH: Final = "/v2/extension/image_replicator"
JOBS_PATH: Final = f"{BASE_PATH}/jobs"


Schema = Mapping[str, Any]
#: Schemas, by the version of the API that added each.
Schemas = Mapping[versions.Version, Schema]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Route:
    """One operation.

    :ivar key: the body's only key, if the path has several actions; else None.
    :ivar since: the version that added it; older versions do not have it.
    :ivar queries: JSON Schemas of the query; empty if no query is read.
    :ivar bodies: JSON Schemas of the body; empty if no body is read.
    """

    method: str
    path: str
    controller: str
    action: str
    rule: str
    key: str | None = None
    since: versions.Version = versions.V1_0
    queries: Schemas = dataclasses.field(default_factory=dict)
    bodies: Schemas = dataclasses.field(default_factory=dict)

    def query(self, version: versions.Version) -> Schema | None:
        """Return the schema of the query in a version."""
        return _newest(self.queries, version)

    def body(self, version: versions.Version) -> Schema | None:
        """Return the schema of the body in a version."""
        return _newest(self.bodies, version)


def _newest(schemas: Schemas, version: versions.Version) -> Schema | None:
    """Return the newest schema that a version has; None if it has none."""
    known = [since for since in schemas if since <= version]
    return schemas[max(known)] if known else None


ROUTES: Final = (
    Route(
        method="GET",
        path=BASE_PATH,
        controller="versions",
        action="index",
        rule=policy.VERSIONS,
    ),
    Route(
        method="GET",
        path=JOBS_PATH,
        controller="jobs",
        action="index",
        rule=policy.LIST,
        queries={
            versions.V1_0: schemas.LIST_JOBS,
            versions.V1_2: schemas.LIST_JOBS_1_2,
        },
    ),
    Route(
        method="POST",
        path=JOBS_PATH,
        controller="jobs",
        action="create",
        rule=policy.CREATE,
        queries={versions.V1_2: schemas.CREATE_QUERY},
        bodies={
            versions.V1_0: schemas.CREATE_JOB,
            versions.V1_1: schemas.CREATE_JOB_1_1,
            versions.V1_2: schemas.CREATE_JOBS,
        },
    ),
    Route(
        method="GET",
        path=JOBS_PATH + "/{job_id}",
        controller="jobs",
        action="show",
        rule=policy.SHOW,
    ),
    Route(
        method="DELETE",
        path=JOBS_PATH + "/{job_id}",
        controller="jobs",
        action="delete",
        rule=policy.CANCEL,
    ),
    Route(
        method="POST",
        path=JOBS_PATH + "/{job_id}/action",
        controller="jobs",
        action="retry",
        rule=policy.RETRY,
        key="retry",
        since=versions.V1_1,
        bodies={versions.V1_1: schemas.RETRY_JOB},
    ),
)


def is_ours(path: str) -> bool:
    """Tell whether a path is below the base path, even if it has no route."""
    return path == BASE_PATH or path.startswith(BASE_PATH + "/")


class Router:
    """The operations that a version has, as a Routes mapper.

    :param routes: of all versions.
    """

    def __init__(
        self, version: versions.Version, routes: Sequence[Route] = ROUTES
    ) -> None:
        known = [route for route in routes if route.since <= version]
        self._operations: dict[str, list[Route]] = {}
        self._mapper = mapper.Mapper(register=False)
        for route in known:
            name = f"{route.method} {route.path}"
            self._operations.setdefault(name, []).append(route)
            self._mapper.connect(
                route.path,
                operation=name,
                conditions={"method": [route.method]},
            )
        # A second route, without methods, tells a wrong method from a wrong
        # path.
        self._paths = mapper.Mapper(register=False)
        for path in dict.fromkeys(route.path for route in known):
            methods = [route.method for route in known if route.path == path]
            allowed = ", ".join(dict.fromkeys(methods))
            self._paths.connect(path, allowed=allowed)

    def match(
        self, request: webob.Request
    ) -> tuple[Sequence[Route], dict[str, str]]:
        """Return the routes of a method and path, and the path's variables.

        :returns: one route, or the route of each action if the path has
            several.
        :raises NotFound: if there is no such path.
        :raises MethodNotAllowed: if the path exists with other methods only.
        """
        found = self._mapper.match(request.path_info, request.environ)
        if found:
            return self._operations[found.pop("operation")], found
        path = self._paths.match(request.path_info)
        if path:
            raise http_errors.MethodNotAllowed(request.method, path["allowed"])
        raise exception.NotFound("There is nothing at this path.")
