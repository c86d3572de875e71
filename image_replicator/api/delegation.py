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

"""The right that a caller gives us, so that a copy is made with it later."""

import datetime
import random
import socket
from typing import Final

from keystoneauth1 import exceptions as ksa_exc
from oslo_config import cfg
from oslo_db import exception as db_exc
from oslo_log import log as logging
from oslo_utils import timeutils

from image_replicator import authority
from image_replicator import context as ir_context
from image_replicator import exception
from image_replicator import identity
from image_replicator import sealing
from image_replicator.db import delegations as db_delegations
from image_replicator.db import key_holders

LOG = logging.getLogger(__name__)

#: The most trusts that one request removes, as the caller waits meanwhile.
_MOST_REMOVED: Final = 2

#: The part of ``keep`` after which another use of a trust is recorded.
_RECORDED: Final = 24


class Delegations:
    """Takes callers' rights in trust.

    :param conf: has ``[delegation]``.
    :param keystone: makes the trusts, with the callers' tokens.
    :param store: the trusts that are known.
    :param holders: the nodes that have sealing keys.
    :raises ConfigurationError: if the sealing keys cannot be used.
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        keystone: identity.Identity,
        store: db_delegations.Delegations,
        holders: key_holders.KeyHolders,
    ) -> None:
        self._options = conf.delegation
        self._keystone = keystone
        self._store = store
        sealing.check(conf)
        self._sealer = sealing.Sealer.from_conf(conf)
        self._holders = holders
        self._keys_are_known = False

    def take(
        self,
        caller: ir_context.RequestContext,
        at_destination: ir_context.RequestContext,
        source_owner_id: str | None,
    ) -> authority.Authority:
        """Return the right to make a copy as the caller.

        :param caller: in the project that asks for the copy.
        :param at_destination: the caller in the destination project.
        :param source_owner_id: the project that owns the source image.
        :raises Forbidden: if the caller's token cannot give the right.
        :raises ServiceUnavailable: if Keystone does not answer.
        """
        user_id = str(caller.user_id)
        if not caller.restricted:
            trusts = self._trusts(caller, at_destination)
            if trusts:
                return authority.Authority(
                    user_id=user_id,
                    source_owner_id=source_owner_id,
                    source_trust_id=trusts[0],
                    destination_trust_id=trusts[1],
                )
        self._check_one_project(caller, at_destination)
        return authority.Authority(
            user_id=user_id,
            source_owner_id=source_owner_id,
            token=self._seal(caller),
        )

    def check(
        self,
        caller: ir_context.RequestContext,
        at_destination: ir_context.RequestContext,
    ) -> None:
        """Check whether the caller's token can give the right.

        Whether Keystone lets a federated user make a trust is not known before
        it is asked for one.

        :raises Forbidden: if the token cannot give it.
        """
        if caller.restricted:
            self._check_one_project(caller, at_destination)
            self._check_sealable(caller)

    @staticmethod
    def _check_one_project(
        caller: ir_context.RequestContext,
        at_destination: ir_context.RequestContext,
    ) -> None:
        if caller.project_id != at_destination.project_id:
            raise exception.Forbidden(
                "This token cannot give us the right to act in two projects "
                "for you. Use a token that was got with a password."
            )

    def _trusts(
        self,
        caller: ir_context.RequestContext,
        at_destination: ir_context.RequestContext,
    ) -> tuple[str, str] | None:
        """Return the trusts at the source and at the destination.

        :returns: None if the token cannot make them.
        """
        source = self._trust(caller, caller)
        if source is None:
            return None
        if caller.project_id == at_destination.project_id:
            return source, source
        destination = self._trust(caller, at_destination)
        return None if destination is None else (source, destination)

    def _trust(
        self,
        caller: ir_context.RequestContext,
        there: ir_context.RequestContext,
    ) -> str | None:
        """Return a trust for a project; a known one, or a new one.

        :param caller: whose token makes a new trust.
        :param there: the caller in the project.
        """
        user_id, project_id = str(caller.user_id), str(there.project_id)
        roles = tuple(sorted(set(there.roles)))
        known = self._store.find(user_id, project_id, roles)
        if (
            known
            and self._is_young(known)
            and self._store.touch(known, self._options.keep / _RECORDED)
        ):
            return known.trust_id
        expires_at = self._new_expiry()
        trust_id = self._keystone.make_trust(
            caller, project_id, roles, expires_at
        )
        if trust_id is None:
            return None
        kept = self._store.add(
            authority.Delegation(
                trust_id=trust_id,
                user_id=user_id,
                project_id=project_id,
                roles=roles,
                expires_at=expires_at,
            ),
            instead_of=known.trust_id if known else None,
        )
        if kept.trust_id != trust_id:
            # Another request at the same time was first.
            self._remove(caller, trust_id)
        return kept.trust_id

    def _is_young(self, known: authority.Delegation) -> bool:
        """Tell whether a trust is in the first half of its life."""
        if known.expires_at is None:
            return True
        lifetime: int = self._options.trust_lifetime
        left = (known.expires_at - timeutils.utcnow()).total_seconds()
        return left > lifetime / 2

    def _new_expiry(self) -> datetime.datetime:
        # Keystone refuses two trusts that differ in nothing, so the time has
        # a random part.
        seconds = self._options.trust_lifetime - random.random()  # nosec B311
        return timeutils.utcnow() + datetime.timedelta(seconds=seconds)

    def _seal(
        self, caller: ir_context.RequestContext
    ) -> authority.SealedToken:
        """Seal the caller's token.

        :raises Forbidden: if there is to be no key.
        :raises ServiceUnavailable: if the keys cannot be used.
        """
        sealer, expires_at = self._check_sealable(caller)
        try:
            sealed = sealer.seal(str(caller.auth_token))
        except sealing.KeysUnusable as error:
            LOG.error("No token can be sealed: %s", error)
            raise exception.ServiceUnavailable(
                "The image replicator cannot keep a token like this one now. "
                "Tell your operator, or use a token that was got with a "
                "password."
            ) from error
        self._tell_keys(sealer)
        return authority.SealedToken(sealed=sealed, expires_at=expires_at)

    def _check_sealable(
        self, caller: ir_context.RequestContext
    ) -> tuple[sealing.Sealer, datetime.datetime]:
        """Return what seals the caller's token, and the token's end.

        :raises Forbidden: if there is to be no key.
        """
        if self._sealer is None or caller.token_expires_at is None:
            raise exception.Forbidden(
                "This token cannot give us the right to make the copy for "
                "you, as an application credential or a trust cannot make "
                "trusts. Use a token that was got with a password."
            )
        return self._sealer, caller.token_expires_at

    def _tell_keys(self, sealer: sealing.Sealer) -> None:
        """Record once that this node seals tokens, and with which keys."""
        if self._keys_are_known:
            return
        self._keys_are_known = True
        try:
            self._holders.record(
                f"{socket.gethostname()} (API)", sealer.fingerprints()
            )
        except (db_exc.DBError, sealing.KeysUnusable) as error:
            LOG.warning("The sealing keys are not recorded: %s", error)

    def remove_unused(self, caller: ir_context.RequestContext) -> None:
        """Remove the caller's trusts that no job has needed for long.

        Only the user may remove them. Whatever fails is left for a later
        request.
        """
        if caller.restricted:
            return
        keep = self._options.keep
        try:
            unused = self._store.unused(
                str(caller.user_id), keep, _MOST_REMOVED
            )
            for known in unused:
                # A request that finds the row from now on makes a new trust.
                if self._store.remove_unused(known.trust_id, keep):
                    self._remove(caller, known.trust_id)
        except db_exc.DBError as error:
            LOG.warning("Unused trusts are not removed: %s", error)

    def _remove(
        self, caller: ir_context.RequestContext, trust_id: str
    ) -> None:
        try:
            self._keystone.remove_trust(caller, trust_id)
        except ksa_exc.ClientException as error:
            LOG.warning("Trust %s stays until it expires: %s", trust_id, error)
