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

"""The factory of the clients of image services."""

import dataclasses

from keystoneauth1 import exceptions as ksa_exc
from keystoneauth1 import session as ksa_session
from oslo_config import cfg
from oslo_log import log as logging

from image_replicator import catalogue
from image_replicator.conf import region as conf_region
from image_replicator.errors import Side
from image_replicator.images import client as image_client
from image_replicator.images import service as image_service

LOG = logging.getLogger(__name__)


def gateway_url(
    conf: cfg.ConfigOpts, catalogue: catalogue.Catalogue, region: str
) -> str | None:
    """Return the URL of a region's gateway; None if the region has none.

    :raises keystoneauth1.exceptions.ClientException: if only the catalogue can
        tell, and Keystone returns none.
    """
    url = conf_region.data_endpoint(conf, region)
    if url is None:
        url = catalogue.data_url(region)
    return url and url.rstrip("/")


class ImageClients:
    """Creates the clients of image services.

    :param conf: has ``[service_auth]`` and ``[transfer]``.
    :param session: has our own credentials.
    """

    def __init__(
        self, conf: cfg.ConfigOpts, session: ksa_session.Session
    ) -> None:
        self._conf = conf
        self._session = session
        self._catalogue = catalogue.Catalogue(
            session, conf.service_auth.valid_interfaces
        )
        self._timeouts = image_client.Timeouts(
            connect=conf.transfer.connect_timeout,
            read=conf.transfer.read_timeout,
            upload_response=conf.transfer.upload_response_timeout,
        )

    def client(
        self,
        region_id: str,
        side: Side,
        session: ksa_session.Session | None = None,
        user: image_service.UserRight | None = None,
        patience: float | None = None,
    ) -> image_client.ImageClient:
        """Return a client of one region's image service.

        :param side: of the copy that the region is on.
        :param session: sends the requests; None for the shared one.
        :param user: with whose right the requests are made; None for ours.
        :param patience: seconds at most of its timeouts for data, where
            another service can be asked instead; None for those of
            ``[transfer]``.
        """
        service = image_service.ImageService(
            session or self._session, region_id, self._catalogue, side, user
        )
        timeouts = self._timeouts
        if patience is not None:
            timeouts = dataclasses.replace(
                timeouts,
                connect=min(timeouts.connect, patience),
                read=min(timeouts.read, patience),
            )
        return image_client.ImageClient(service, timeouts)

    def gateway(
        self,
        region_id: str,
        session: ksa_session.Session | None = None,
        user: image_service.UserRight | None = None,
    ) -> image_client.ImageClient | None:
        """Return a client that downloads images of a region by its gateway.

        The parameters are those of :meth:`client`.

        :returns: None if the region has no gateway.
        """
        try:
            url = gateway_url(self._conf, self._catalogue, region_id)
        except ksa_exc.ClientException as error:
            # The image service itself is asked for next, and tells it.
            LOG.info("No gateway is known: %s", error)
            return None
        if url is None:
            return None
        service = image_service.ImageService(
            session or self._session,
            region_id,
            self._catalogue,
            Side.SOURCE,
            user,
            url,
        )
        return image_client.ImageClient(service, self._timeouts)
