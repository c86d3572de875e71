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

"""The versions of this API."""

import webob

from image_replicator.api import links
from image_replicator.api import resource
from image_replicator.api import responses
from image_replicator.api import router
from image_replicator.api import versions


class VersionsController(resource.Controller):
    """Lists the versions that ``OpenStack-API-Version`` can ask for.

    :param links: makes the links to versions.
    """

    def __init__(self, links: links.Links) -> None:
        self._links = links

    def index(self, call: resource.Call[None]) -> webob.Response:
        """Answer with the range of versions."""
        href = self._links.href(call.request, router.BASE_PATH)
        document = {
            "id": "v1",
            "status": "CURRENT",
            "min_version": str(versions.VERSIONS[0]),
            "version": str(versions.VERSIONS[-1]),
            "links": [{"rel": "self", "href": href}],
        }
        return responses.json_response({"versions": [document]})
