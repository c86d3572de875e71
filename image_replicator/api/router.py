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

"""Paths to operations.

One row of ROUTES is the whole contract of an operation: method, path, the
version that brought it, the controller's action, the policy rule that allows
it, and what its query and body must look like.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any
from typing import Final

import routes
import webob

from image_replicator import exception
from image_replicator import policy
from image_replicator.api import schemas
from image_replicator.api import versions

BASE_PATH: Final = "/v2/extension/image_replicator"
JOBS_PATH: Final = f"{BASE_PATH}/jobs"


Schema = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Route:
    """One operation.

    :ivar since: the version that brought it; there is none in those before.
    :ivar query: JSON Schema of the query; None where none is read.
    :ivar bodies: JSON Schemas of the body, each by the version that brought
        it; none where none is read.
    """

    method: str
    path: str
    controller: str
    action: str
    rule: str
    since: versions.Version = versions.V1_0
    query: Schema | None = None
    bodies: Mapping[versions.Version, Schema] = dataclasses.field(
        default_factory=dict
    )

    def body(self, version: versions.Version) -> Schema | None:
        """Return the schema of the body in a version."""
        known = [since for since in self.bodies if since <= version]
        return self.bodies[max(known)] if known else None


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
        query=schemas.LIST_JOBS,
    ),
    Route(
        method="POST",
        path=JOBS_PATH,
        controller="jobs",
        action="create",
        rule=policy.CREATE,
        bodies={
            versions.V1_0: schemas.CREATE_JOB,
            versions.V1_1: schemas.CREATE_JOB_1_1,
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
        since=versions.V1_1,
        bodies={versions.V1_1: schemas.JOB_ACTION},
    ),
)


def is_ours(path: str) -> bool:
    """Tell whether a path is below the base path, known or not."""
    return path == BASE_PATH or path.startswith(BASE_PATH + "/")


class Router:
    """What ROUTES has for a version, as a Routes mapper."""

    def __init__(self, version: versions.Version) -> None:
        rows = [route for route in ROUTES if route.since <= version]
        self._routes = {(r.controller, r.action): r for r in rows}
        self._mapper = routes.Mapper(register=False)
        for route in rows:
            self._mapper.connect(
                route.path,
                controller=route.controller,
                action=route.action,
                conditions={"method": [route.method]},
            )
        # A second, without methods, tells a wrong method from a wrong path.
        self._paths = routes.Mapper(register=False)
        for path in dict.fromkeys(route.path for route in rows):
            allowed = [route.method for route in rows if route.path == path]
            self._paths.connect(path, allowed=", ".join(allowed))

    def match(self, request: webob.Request) -> tuple[Route, dict[str, str]]:
        """Return the operation and the path's variables.

        :raises NotFound: if there is no such path.
        :raises MethodNotAllowed: if there is, with other methods.
        """
        found = self._mapper.match(request.path_info, request.environ)
        if found:
            name = (found.pop("controller"), found.pop("action"))
            return self._routes[name], found
        path = self._paths.match(request.path_info)
        if path:
            raise exception.MethodNotAllowed(request.method, path["allowed"])
        raise exception.NotFound("There is nothing at this path.")
