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

The host of a link never comes from the request: the client chooses the
``Host`` header, and another client or a cache may get the link. A prefix that
``http_proxy_to_wsgi`` or the server puts into ``SCRIPT_NAME`` is kept.
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

#: Links have the address that the catalogue has for users.
_INTERFACES: Final = ["public", "internal"]


class Links:
    """Makes links.

    :param conf: of the image replicator.
    :param session: has our own credentials, to read the catalogue.
    """

    def __init__(
        self, conf: cfg.ConfigOpts, session: ksa_session.Session
    ) -> None:
        self._conf = conf
        self._catalogue = catalogue.Catalogue(session, _INTERFACES)

    def href(self, request: webob.Request, path: str) -> str:
        """Return a link for the body of a response.

        :param path: begins with a slash, and has no prefix of a proxy.
        :returns: a URL below ``[api] public_endpoint``; a path if that is not
            set.
        """
        endpoint: str | None = self._conf.api.public_endpoint
        return self._below(endpoint, request, path)

    def location(self, request: webob.Request, path: str) -> str:
        """Return a link for the header ``Location``.

        Middleware around us, such as auth_token, turns a path in this header
        into a URL with the request's ``Host``. So the link is a URL below the
        catalogue's endpoint if ``public_endpoint`` is not set.

        :returns: a URL; a path if the catalogue is not available either.
        """
        endpoint = self._conf.api.public_endpoint or self._catalogued()
        return self._below(endpoint, request, path)

    @staticmethod
    def path(request: webob.Request, path: str) -> str:
        """Return a link without a host."""
        prefix = request.environ.get("SCRIPT_NAME", "").encode("latin-1")
        # After two slashes at the beginning, a client would read a host.
        quoted = parse.quote(prefix.strip(b"/"))
        return f"/{quoted}{path}" if quoted else path

    def _below(
        self, endpoint: str | None, request: webob.Request, path: str
    ) -> str:
        if endpoint is None:
            return self.path(request, path)
        return f"{endpoint.rstrip('/')}{path}"

    def _catalogued(self) -> str | None:
        """Return our own image service's endpoint; None if it is not known."""
        region: str = self._conf.region_id
        try:
            return self._catalogue.image_url(region)
        except ksa_exc.ClientException as error:
            LOG.warning(
                "No link to the image service of %s: %s", region, error
            )
            return None
