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

"""Keystone's catalogue: the image services of the regions, and the gateways.

keystoneauth reads the catalogue once, with the token, and keeps it for the
hours that a token is valid. A region that joins the cloud meanwhile would not
be seen. So this module looks the catalogue up itself.
"""

import threading
import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Final

from keystoneauth1 import exceptions as ksa_exc
from keystoneauth1 import plugin
from keystoneauth1 import session as ksa_session
from keystoneauth1.access import service_catalog
from oslo_log import log as logging

LOG = logging.getLogger(__name__)

IMAGE_SERVICE: Final = "image"

#: The service type of an image-replicator-gateway.
DATA_SERVICE: Final = "image-data"

#: Seconds after which the catalogue is looked up again.
MAX_AGE: Final = 300.0

#: Seconds at least between two lookups, however many regions are missing and
#: however often Keystone does not answer.
MIN_INTERVAL: Final = 10.0

#: Seconds that a lookup may take. The thread that makes it has other work.
_PATIENCE: Final = 5.0


class Catalogue:
    """The URL of each region's image service; several threads may use it.

    The first use takes the catalogue that comes with our token. It is looked
    up again when it is older than ``MAX_AGE``, and when a region is missing,
    at most every ``MIN_INTERVAL``. While Keystone does not answer, the known
    catalogue stays in use.

    :param session: with our own credentials.
    :param interfaces: of the endpoints, the preferred one first. The endpoint
        of a region is of the first of these that the region has.
    :param clock: seconds, never going back.
    """

    def __init__(
        self,
        session: ksa_session.Session,
        interfaces: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._interfaces = interfaces
        self._clock = clock
        self._lock = threading.Lock()
        self._urls: Mapping[str, str] | None = None
        self._data_urls: Mapping[str, str] = {}
        self._old_at = 0.0
        self._next_lookup = 0.0
        self._failure: Exception | None = None

    def image_regions(self) -> frozenset[str]:
        """Return the names of the regions that have an image service.

        :raises keystoneauth1.exceptions.ClientException: if no catalogue is
            known, and Keystone returns none.
        """
        return frozenset(self._known())

    def has_images(self, region: str) -> bool:
        """Tell whether a region has an image service.

        :raises keystoneauth1.exceptions.ClientException: as
            :meth:`image_url`.
        """
        return region in self._known() or region in self.look_again()

    def image_url(self, region: str) -> str:
        """Return the URL of a region's image service, without a version.

        :raises keystoneauth1.exceptions.EndpointNotFound: if the region has
            none in a catalogue of the last seconds.
        :raises keystoneauth1.exceptions.ClientException: if the region is not
            in the known catalogue, and Keystone returns no new one.
        """
        url = self._known().get(region) or self.look_again().get(region)
        if url is None:
            raise ksa_exc.EndpointNotFound(
                f"the catalogue has no image service in region {region}"
            )
        return url

    def data_url(self, region: str) -> str | None:
        """Return the URL of a region's gateway in the known catalogue.

        :raises keystoneauth1.exceptions.ClientException: if no catalogue is
            known, and Keystone returns none.
        """
        self._known()
        return self._data_urls.get(region)

    def look_again(self) -> Mapping[str, str]:
        """Look the catalogue up, unless that was done in the last seconds.

        :returns: the URLs of the image services, by region.
        :raises keystoneauth1.exceptions.ClientException: if Keystone did not
            answer when it was asked last.
        """
        known = self._known()
        with self._lock:
            if self._clock() >= self._next_lookup:
                self._look_up()
            if self._failure:
                raise ksa_exc.ClientException(
                    f"the catalogue could not be looked up: {self._failure}"
                )
            return self._urls or known

    def _known(self) -> Mapping[str, str]:
        """Return the catalogue; one thread at a time renews an old one."""
        if self._urls is None:
            with self._lock:
                if self._urls is None:
                    self._take_from_token()
        elif self._clock() >= self._old_at and self._lock.acquire(
            blocking=False
        ):
            try:
                self._look_up()
            finally:
                self._lock.release()
        assert self._urls is not None  # nosec B101: it was just read
        return self._urls

    def _take_from_token(self) -> None:
        auth: Any = self._session.auth
        catalog = auth.get_access(self._session).service_catalog
        self._store(catalog)

    def _look_up(self) -> None:
        """Ask Keystone; keep the known catalogue if it returns none."""
        self._next_lookup = self._clock() + MIN_INTERVAL
        try:
            self._store(self._fetch())
        except ksa_exc.ClientException as error:
            LOG.warning(
                "Going on with the known catalogue: Keystone does not give "
                "a new one: %s",
                error,
            )
            self._failure = error
            self._old_at = self._next_lookup

    def _fetch(self) -> service_catalog.ServiceCatalog:
        """Return the catalogue that Keystone has now.

        :raises keystoneauth1.exceptions.ClientException: if it returns none.
        """
        reply = self._session.get(
            "/auth/catalog",
            # The URL that gave us our token serves the catalogue as well.
            endpoint_filter={
                "service_type": "identity",
                "interface": plugin.AUTH_INTERFACE,
                "version": "3",
            },
            headers={"Accept": "application/json"},
            timeout=_PATIENCE,
        )
        try:
            catalog = service_catalog.ServiceCatalogV3(reply.json()["catalog"])
            _urls(catalog, IMAGE_SERVICE, self._interfaces)
            return catalog
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            # The answer may be a web page.
            raise ksa_exc.InvalidResponse(reply) from error

    def _store(self, catalog: service_catalog.ServiceCatalog) -> None:
        now = self._clock()
        self._data_urls = _urls(catalog, DATA_SERVICE, self._interfaces)
        self._urls = _urls(catalog, IMAGE_SERVICE, self._interfaces)
        self._old_at = now + MAX_AGE
        self._next_lookup = now + MIN_INTERVAL
        self._failure = None


def _urls(
    catalog: service_catalog.ServiceCatalog,
    service_type: str,
    interfaces: Sequence[str],
) -> dict[str, str]:
    """Return the URLs of the services of a type by region.

    keystoneauth, given several interfaces, takes the first that any region
    has, and leaves out the regions that do not have it.
    """
    endpoints = catalog.get_endpoints_data(service_type=service_type)
    urls: dict[str, str] = {}
    for interface in interfaces:
        wanted = catalog.normalize_interface(interface)
        for endpoint in endpoints.get(service_type, ()):
            region, url = endpoint.region_name, endpoint.url
            if region and url and endpoint.interface == wanted:
                urls.setdefault(region, url.rstrip("/").removesuffix("/v2"))
    return urls
