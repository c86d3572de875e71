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

"""Links to resources of the API.

A link never takes its host from the request: the client chooses the ``Host``
header, and another client or a cache may be given the link. A prefix that
``http_proxy_to_wsgi`` or the server puts into ``SCRIPT_NAME`` stays.
"""

from typing import Final
from urllib import parse

import webob
from keystoneauth1 import exceptions as ksa_exc
from keystoneauth1 import session as ksa_session
from oslo_config import cfg
from oslo_log import log as logging

from image_replicator import catalogue

LOG = logging.getLogger(__name__)

#: Users are given the address that is meant for them.
_INTERFACES: Final = ["public", "internal"]


class Links:
    """Makes links.

    :param conf: of the image replicator.
    :param session: has our own credentials, for the catalogue.
    """

    def __init__(
        self, conf: cfg.ConfigOpts, session: ksa_session.Session
    ) -> None:
        self._conf = conf
        self._catalogue = catalogue.Catalogue(session, _INTERFACES)

    def href(self, request: webob.Request, path: str) -> str:
        """Return a link for a body.

        :param path: begins with a slash, and is without a proxy's prefix.
        :returns: a URL below ``[api] public_endpoint``; a path, where that is
            not set.
        """
        endpoint: str | None = self._conf.api.public_endpoint
        return self._below(endpoint, request, path)

    def location(self, request: webob.Request, path: str) -> str:
        """Return a link for the header ``Location``.

        Middleware around us, such as auth_token, makes a URL of a path that
        stands there, with the request's ``Host``. So this one is below the
        endpoint that the catalogue has, where ``public_endpoint`` is not set.

        :returns: a path, where the catalogue cannot be had either.
        """
        endpoint = self._conf.api.public_endpoint or self._catalogued()
        return self._below(endpoint, request, path)

    @staticmethod
    def path(request: webob.Request, path: str) -> str:
        """Return a link that begins with no host."""
        prefix = request.environ.get("SCRIPT_NAME", "").encode("latin-1")
        # Two slashes at the beginning would make a host of what follows.
        quoted = parse.quote(prefix.strip(b"/"))
        return f"/{quoted}{path}" if quoted else path

    def _below(
        self, endpoint: str | None, request: webob.Request, path: str
    ) -> str:
        if endpoint is None:
            return self.path(request, path)
        return f"{endpoint.rstrip('/')}{path}"

    def _catalogued(self) -> str | None:
        """Return the endpoint of our own image service, if it is known."""
        region: str = self._conf.region_id
        try:
            return self._catalogue.image_url(region)
        except ksa_exc.ClientException as error:
            LOG.warning(
                "No link to the image service of %s: %s", region, error
            )
            return None
