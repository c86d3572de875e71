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

"""The caller of a request, as auth_token found it, and the request's id."""

import datetime
from collections.abc import Mapping
from typing import Any
from typing import Final

from oslo_context import context
from oslo_utils import timeutils

#: A key that only auth_token puts into a request's environ. A client can send
#: headers, but no keys of the environ.
TOKEN_AUTH = "keystone.token_auth"  # nosec B105: a name, not a secret

#: The methods of tokens that are good for one project on purpose. Keystone
#: lets them neither be rescoped nor make trusts, though not every release of
#: it refuses the former.
_RESTRICTED: Final = frozenset(
    {"application_credential", "ec2credential", "oauth1", "oauth2_credential"}
)

#: The parts of a token that was made by delegation.
_DELEGATIONS: Final = ("OS-TRUST:trust", "OS-OAUTH1", "application_credential")


class RequestContext(context.RequestContext):
    """The context of oslo.context, with what else we need of the token.

    :ivar restricted: whether the token is good for one project only, and
        cannot make trusts, as that of an application credential or a trust.
    :ivar token_expires_at: naive UTC; None if it is not known.
    """

    def __init__(
        self,
        *,
        restricted: bool = False,
        token_expires_at: datetime.datetime | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.restricted = restricted
        self.token_expires_at = token_expires_at


def from_environ(environ: dict[str, Any]) -> RequestContext | None:
    """Return the caller's context; None if the caller has no identity.

    :param environ: the WSGI environ, after auth_token.
    """
    if not is_authenticated(environ):
        return None
    token = environ.get("keystone.token_info", {}).get("token", {})
    caller = RequestContext.from_environ(
        environ,
        restricted=_is_restricted(token),
        token_expires_at=_expiry(token),
    )
    # auth_token takes a token from either header.
    caller.auth_token = caller.auth_token or environ.get(
        "HTTP_X_STORAGE_TOKEN"
    )
    return caller


def _is_restricted(token: Mapping[str, Any]) -> bool:
    return not _RESTRICTED.isdisjoint(token.get("methods", ())) or any(
        part in token for part in _DELEGATIONS
    )


def _expiry(token: Mapping[str, Any]) -> datetime.datetime | None:
    text = token.get("expires_at")
    if not text:
        return None
    return timeutils.normalize_time(timeutils.parse_isotime(text))


def is_authenticated(environ: dict[str, Any]) -> bool:
    """Tell whether auth_token is in the pipeline and confirmed the token."""
    return (
        environ.get(TOKEN_AUTH) is not None
        and environ.get("HTTP_X_IDENTITY_STATUS") == "Confirmed"
    )
