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

"""Both image services, as the user of a job may use them.

A job's authority says whose right it is. It is read anew for each attempt, as
whoever retries a job brings their own right.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Final
from typing import NamedTuple

from keystoneauth1 import exceptions as ksa_exc
from keystoneauth1 import session as ksa_session
from oslo_config import cfg
from oslo_db import exception as db_exc
from oslo_log import log as logging

from image_replicator import authority as ir_authority
from image_replicator import exception
from image_replicator import nearness
from image_replicator import sealing
from image_replicator import user_auth
from image_replicator.db import authorities as db_authorities
from image_replicator.db import delegations as db_delegations
from image_replicator.errors import ErrorCode
from image_replicator.errors import Kind
from image_replicator.errors import Side
from image_replicator.images import client
from image_replicator.images import clients as image_clients
from image_replicator.images import service
from image_replicator.jobs import Job

LOG = logging.getLogger(__name__)

#: The failures that mean that the user's right does not suffice.
NO_RIGHT: Final = frozenset(
    {
        Kind.ACCESS_LOST,
        Kind.FORBIDDEN,
        Kind.UNAUTHORIZED,
        Kind.AUTHORITY_EXPIRED,
        Kind.AUTHORITY_MISSING,
    }
)


#: Seconds that a service may be silent where others have the data as well.
PATIENCE: Final = 10.0


class Readers(NamedTuple):
    """The services that send the bytes of one region's images.

    :ivar gateway: in front of the image service; None if there is none.
    """

    images: client.ImageClient
    gateway: client.ImageClient | None


class Access:
    """The image services of one job's copy, with the job's right.

    :param rights: of the user, by side; empty if the right is our own.
    :param found: the job's right; None if the right is our own.
    :param session: sends requests to Keystone when the copy has ended, whose
        own connections may be broken off by then.
    :param readers: returns the services of a region with a user's right.
    :param trustee: gets tokens for the user's further trusts.
    :ivar source: the images of the source region.
    :ivar destination: the images of the destination region.
    """

    def __init__(
        self,
        source: client.ImageClient,
        destination: client.ImageClient,
        rights: dict[Side, service.UserRight],
        found: ir_authority.Authority | None,
        session: ksa_session.Session,
        readers: Callable[[str, service.UserRight | None], Readers],
        trustee: user_auth.Trustee,
    ) -> None:
        self.source = source
        self.destination = destination
        self._rights = rights
        self._found = found
        self._session = session
        self._readers = readers
        self._trustee = trustee
        self._further: list[user_auth.TrustAuth] = []

    @property
    def is_user_s(self) -> bool:
        """Whether the right is a user's, and not our own."""
        return bool(self._rights)

    def reach(self, job: Job) -> nearness.Reach | None:
        """Return the images that may be read for the job.

        :returns: None if the right is our own, which is for the job's two
            images alone.
        """
        if self._found is None:
            return None
        return self._found.reach(
            job.source_tenant_id, job.destination_tenant_id
        )

    def readers(self, job: Job, replica: nearness.Replica) -> Readers:
        """Return the services that send the bytes of an image.

        :param replica: the source image, or another one within reach.
        """
        if replica.is_source:
            right = self._rights.get(Side.SOURCE)
            return Readers(
                self.source, self._readers(replica.region_id, right).gateway
            )
        return self._readers(replica.region_id, self._right_to(job, replica))

    def _right_to(
        self, job: Job, replica: nearness.Replica
    ) -> service.UserRight | None:
        if replica.trust_id and replica.tenant_id:
            trust = user_auth.TrustAuth(self._trustee, replica.trust_id)
            self._further.append(trust)
            return service.UserRight(trust, replica.tenant_id)
        if replica.tenant_id == job.destination_tenant_id:
            return self._rights.get(Side.DESTINATION)
        return self._rights.get(Side.SOURCE)

    def renew(self) -> None:
        """Prove with new tokens that the user still has the rights.

        :raises TransferError: if not, or if Keystone does not say.
        """
        if not self._rights:
            return
        self.source.renew_right()
        source, destination = (self._rights[side].auth for side in Side)
        if destination is not source:
            self.destination.renew_right()

    def explained(
        self, error: exception.TransferError, job: Job
    ) -> exception.TransferError:
        """Return the error, with its cause if that is a right.

        Glance answers alike for an image that does not exist and for one that
        the user may not see. Another project's image was visible before.
        """
        if (
            error.code is ErrorCode.SOURCE_NOT_FOUND
            and self._found
            and self._found.source_owner_id not in (None, job.source_tenant_id)
        ):
            return exception.TransferError(
                ErrorCode.SOURCE_ACCESS_LOST,
                "The source image cannot be seen any more in project "
                f"{job.source_tenant_id}: it is not shared with it any more, "
                "or was deleted.",
            )
        return error

    def trusts_that_are_gone(self) -> set[str]:
        """Return the trusts that Keystone does not have any more.

        Keystone is asked only if it was found not to have one of them. Users
        revoke both at once.
        """
        trusts = [
            right.auth
            for right in self._rights.values()
            if isinstance(right.auth, user_auth.TrustAuth)
        ]
        if any(trust.is_gone for trust in trusts):
            for trust in trusts:
                if not trust.is_gone:
                    with contextlib.suppress(ksa_exc.ClientException):
                        trust.renew(self._session)
        trusts += self._further
        return {trust.trust_id for trust in trusts if trust.is_gone}


class AccessControl:
    """Opens the image services for jobs.

    :param clients: makes the clients of the image services.
    :param session: has our own credentials.
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        authorities: db_authorities.Authorities,
        delegations: db_delegations.Delegations,
        clients: image_clients.ImageClients,
        session: ksa_session.Session,
    ) -> None:
        self._options = conf.delegation
        self._authorities = authorities
        self._delegations = delegations
        self._clients = clients
        self._session = session
        self._auth = session.auth
        self._trustee = user_auth.Trustee(session.auth)
        self._sealer = sealing.Sealer.from_conf(conf)

    def open(
        self, job: Job, session: ksa_session.Session | None = None
    ) -> Access:
        """Return the image services with the job's right.

        :param session: sends the requests; None for the shared one.
        :raises TransferError: if the job has no right that can be used.
        :raises DBError: if the database cannot be used.
        """
        found = self._authorities.get(job.id)
        rights = self._rights(job, found)
        return Access(
            self._client(job.source_region_id, Side.SOURCE, session, rights),
            self._client(
                job.destination_region_id, Side.DESTINATION, session, rights
            ),
            rights,
            found,
            self._session,
            functools.partial(self._readers, session),
            self._trustee,
        )

    def _readers(
        self,
        session: ksa_session.Session | None,
        region: str,
        right: service.UserRight | None,
    ) -> Readers:
        return Readers(
            self._clients.client(
                region, Side.SOURCE, session, right, PATIENCE
            ),
            self._clients.gateway(region, session, right),
        )

    def as_service(self, job: Job) -> client.ImageClient | None:
        """Return the destination with our own right to clean up.

        :returns: None unless the operator gave us that right.
        """
        if self._options.cleanup != "service":
            return None
        return self._client(
            job.destination_region_id, Side.DESTINATION, None, {}
        )

    def forget_trusts_gone(self, used: Access) -> None:
        """Let the next job have a new trust where the old one is gone."""
        for trust_id in used.trusts_that_are_gone():
            try:
                self._delegations.remove(trust_id)
            except db_exc.DBError as error:
                # The next job that uses it comes here again.
                LOG.warning("Trust %s is still known: %s", trust_id, error)

    def _client(
        self,
        region: str,
        side: Side,
        session: ksa_session.Session | None,
        rights: dict[Side, service.UserRight],
    ) -> client.ImageClient:
        return self._clients.client(region, side, session, rights.get(side))

    def _rights(
        self, job: Job, found: ir_authority.Authority | None
    ) -> dict[Side, service.UserRight]:
        """Return the rights of the user; nothing for our own right."""
        if found is None:
            self._check_legacy()
            return {}
        projects = {
            Side.SOURCE: job.source_tenant_id,
            Side.DESTINATION: job.destination_tenant_id,
        }
        auths = self._auths(found)
        return {
            side: service.UserRight(auths[side], project_id)
            for side, project_id in projects.items()
        }

    def _check_legacy(self) -> None:
        if self._options.legacy != "service":
            raise exception.TransferError(
                ErrorCode.AUTHORITY_MISSING,
                "The job was created by a release that did not ask for the "
                "right of the user. Retry it.",
            )

    def _auths(
        self, found: ir_authority.Authority
    ) -> dict[Side, user_auth.UserAuth]:
        if found.token:
            auth = self._sealed(found.token)
            return {Side.SOURCE: auth, Side.DESTINATION: auth}
        assert found.source_trust_id  # nosec B101: it has a token or trusts
        assert found.destination_trust_id  # nosec B101
        trusts = {
            trust_id: user_auth.TrustAuth(self._trustee, trust_id)
            for trust_id in (found.source_trust_id, found.destination_trust_id)
        }
        return {
            Side.SOURCE: trusts[found.source_trust_id],
            Side.DESTINATION: trusts[found.destination_trust_id],
        }

    def _sealed(
        self, token: ir_authority.SealedToken
    ) -> user_auth.SealedTokenAuth:
        """Return the credentials of a sealed token.

        :raises TransferError: if this worker has not the key.
        """
        try:
            if self._sealer is None:
                raise sealing.CannotOpen("no sealing keys are configured")
            opened = self._sealer.open(token.sealed)
        except sealing.CannotOpen as error:
            LOG.error("[delegation] sealing_keys: %s", error)
            raise exception.TransferError(
                ErrorCode.AUTHORITY_UNREADABLE,
                "The worker does not have the key of the token that the copy "
                "was asked for with.",
            ) from error
        return user_auth.SealedTokenAuth(opened, token.expires_at, self._auth)
