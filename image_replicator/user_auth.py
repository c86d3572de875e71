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

"""Tokens with the rights of users.

A trust gives us a token with some roles of a user in a project. It is got
with our own token, which is not scoped, so that Keystone neither sees our
password each time nor forbids to rescope a scoped token. A sealed token is the
user's own; it is sent with our service token, so that Keystone accepts it for
some time after it has expired.
"""

import datetime
from typing import Any
from typing import Final

from keystoneauth1 import access
from keystoneauth1 import exceptions as ksa_exc
from keystoneauth1 import service_token
from keystoneauth1 import session as ksa_session
from keystoneauth1 import token_endpoint
from keystoneauth1.identity import base
from keystoneauth1.identity import v3
from oslo_utils import timeutils

_GONE: Final = (
    "the trust that the user made for the copy is gone: it was revoked or has "
    "expired, or the user or the project was deleted"
)


class AccessLost(ksa_exc.ClientException):
    """Keystone does not let us act for the user any more.

    The message may be shown to the user.
    """


class TrustGone(AccessLost):
    """The trust does not exist any more."""


class AuthorityExpired(ksa_exc.ClientException):
    """The user's token has expired, and Keystone's time for it has, too."""


class Trustee:
    """Our user, to whom users' trusts give their rights.

    :param auth: gets our own tokens. An application credential, or another
        credential for one project only, cannot be used: Keystone gives no
        unscoped tokens for it, and does not let its tokens be rescoped.
    """

    def __init__(self, auth: Any) -> None:
        self._auth = auth
        methods = getattr(auth, "auth_methods", None)
        if methods:
            self._auth = v3.Auth(
                auth.auth_url,
                list(methods),
                unscoped=True,
                include_catalog=False,
            )

    @property
    def auth_url(self) -> str | None:
        """The URL of Keystone."""
        url: str | None = self._auth.auth_url
        return url

    def get_access(
        self, session: ksa_session.Session, trust_id: str
    ) -> access.AccessInfo:
        """Return a new token for a trust.

        :raises TrustGone: if the trust does not exist.
        :raises AccessLost: if the user does not have the right any more.
        :raises keystoneauth1.exceptions.ClientException: if Keystone does not
            serve us.
        """
        try:
            return self._scope(session, trust_id)
        except ksa_exc.Unauthorized:
            # It may be our own token that was revoked.
            self._auth.invalidate()
        try:
            return self._scope(session, trust_id)
        except ksa_exc.Unauthorized as error:
            # Keystone answers alike for a trust that is gone.
            if not self._is_shown(session, trust_id):
                raise TrustGone(_GONE) from error
            raise AccessLost(
                "the project of the user who asked for the copy is disabled"
            ) from error

    def _scope(
        self, session: ksa_session.Session, trust_id: str
    ) -> access.AccessInfo:
        ours = self._own_token(session)
        auth = v3.Token(
            self._auth.auth_url,
            ours,
            trust_id=trust_id,
            reauthenticate=False,
            include_catalog=False,
        )
        try:
            return auth.get_access(session)
        except ksa_exc.NotFound as error:
            raise TrustGone(_GONE) from error
        except ksa_exc.Forbidden as error:
            # The operator may have given us another user since.
            if not self._is_shown(session, trust_id):
                raise TrustGone(
                    "the trust that the user made for the copy was made for "
                    "another service user"
                ) from error
            raise AccessLost(
                "the user who asked for the copy is disabled, or has lost a "
                "role in the project"
            ) from error

    def _is_shown(self, session: ksa_session.Session, trust_id: str) -> bool:
        """Tell whether Keystone shows us a trust.

        It answers 403 if there is none, and if it was made for another user.
        """
        try:
            session.get(
                f"{self._auth.auth_url}/OS-TRUST/trusts/{trust_id}",
                auth=self._auth,
            )
        except (ksa_exc.Forbidden, ksa_exc.NotFound):
            return False
        except ksa_exc.ClientException:
            # It is not known, so the trust is kept.
            return True
        return True

    def _own_token(self, session: ksa_session.Session) -> str:
        """Return our own token.

        :raises keystoneauth1.exceptions.ClientException: if there is none.
        """
        try:
            token: str | None = self._auth.get_token(session)
        except ksa_exc.Unauthorized as error:
            # A 401 for the trust has another meaning.
            raise ksa_exc.AuthorizationFailure(str(error)) from error
        if token is None:
            raise ksa_exc.AuthorizationFailure("no token of our own")
        return token


class TrustAuth(base.BaseIdentityPlugin):
    """Gets tokens for one trust, and a new one before each expires.

    :ivar is_gone: whether Keystone was found not to have the trust any more.
    """

    def __init__(self, trustee: Trustee, trust_id: str) -> None:
        super().__init__(auth_url=trustee.auth_url)
        self._trustee = trustee
        self.trust_id = trust_id
        self.is_gone = False

    def get_auth_ref(self, session: ksa_session.Session) -> access.AccessInfo:
        """Return a new token; the errors are those of :class:`Trustee`."""
        try:
            return self._trustee.get_access(session, self.trust_id)
        except TrustGone:
            self.is_gone = True
            raise

    def renew(self, session: ksa_session.Session) -> None:
        """Get a new token, which shows that the right still exists.

        :raises keystoneauth1.exceptions.ClientException: as
            :meth:`get_auth_ref`.
        """
        self.invalidate()
        self.get_access(session)

    def refusal(
        self, session: ksa_session.Session
    ) -> ksa_exc.ClientException | None:
        """Return why a service refuses the token.

        :returns: None if there is a new token now.
        """
        try:
            self.renew(session)
        except ksa_exc.ClientException as error:
            return error
        return None


class SealedTokenAuth(service_token.ServiceTokenAuthWrapper):
    """Sends a user's token, with our service token beside it.

    :param token: the user's token.
    :param expires_at: when it expires; naive UTC.
    :param service_auth: gets our own tokens.
    """

    def __init__(
        self, token: str, expires_at: datetime.datetime, service_auth: Any
    ) -> None:
        super().__init__(
            token_endpoint.Token(service_auth.auth_url, token), service_auth
        )
        self._token = token
        self._expires_at = expires_at
        self._auth_url: str = service_auth.auth_url

    def renew(self, session: ksa_session.Session) -> None:
        """Ask Keystone whether the token is still good.

        :raises AuthorityExpired: if it has expired.
        :raises AccessLost: if it was revoked.
        :raises keystoneauth1.exceptions.ClientException: if Keystone does not
            serve us.
        """
        try:
            session.get(
                f"{self._auth_url}/auth/tokens?nocatalog&allow_expired=1",
                headers={
                    "X-Subject-Token": self._token,
                    # Without it, Keystone hides a token with access rules.
                    "OpenStack-Identity-Access-Rules": "1",
                },
                auth=self.service_auth,
                log=False,
            )
        except ksa_exc.NotFound as error:
            raise self._reason() from error

    def refusal(
        self, session: ksa_session.Session
    ) -> ksa_exc.ClientException | None:
        """Return why a service refuses the token.

        :returns: None if that is not known.
        """
        try:
            self.renew(session)
        except ksa_exc.ClientException as error:
            return error
        return self._reason()

    def _reason(self) -> ksa_exc.ClientException:
        if timeutils.utcnow() >= self._expires_at:
            return AuthorityExpired(
                "the token that the copy was asked for with has expired"
            )
        return AccessLost(
            "the token that the copy was asked for with was revoked: the "
            "application credential or trust is gone, or the user has lost a "
            "role"
        )


#: The credentials of a user.
UserAuth = TrustAuth | SealedTokenAuth
