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

"""A controller that does nothing, to measure the pipeline before it."""

from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

#: A path below Glance's, as those of the image replicator are.
PATH = "/v2/extension/empty"

_BODY = b'{"status": "empty"}'

_Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


def filter_factory(
    global_conf: dict[str, str], **local_conf: str
) -> Callable[[_Application], _Application]:
    """Build a filter for Glance's pipeline that answers one path."""

    def wrap(app: _Application) -> _Application:
        def answer(
            environ: dict[str, Any], start_response: Any
        ) -> Iterable[bytes]:
            if environ.get("PATH_INFO") != PATH:
                return app(environ, start_response)
            headers = [
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(_BODY))),
            ]
            start_response("200 OK", headers)
            return [_BODY]

        return answer

    return wrap
