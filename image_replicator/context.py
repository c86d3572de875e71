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

from typing import Any

from oslo_context import context

#: A key that only auth_token puts into a request's environ. A client can send
#: headers, but no keys of the environ.
TOKEN_AUTH = "keystone.token_auth"  # nosec B105: a name, not a secret


class RequestContext(context.RequestContext):
    """The context of oslo.context, with the authentication methods.

    :ivar token_methods: the authentication methods of the token, as Keystone
        names them: ``password``, ``token``, ``application_credential`` …
    """

    def __init__(
        self, *, token_methods: tuple[str, ...] = (), **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.token_methods = token_methods


def from_environ(environ: dict[str, Any]) -> RequestContext | None:
    """Return the caller's context; None if the caller has no identity.

    :param environ: the WSGI environ, after auth_token.
    """
    if not is_authenticated(environ):
        return None
    token = environ.get("keystone.token_info", {}).get("token", {})
    return RequestContext.from_environ(
        environ, token_methods=tuple(token.get("methods", ()))
    )


def is_authenticated(environ: dict[str, Any]) -> bool:
    """Tell whether auth_token is in the pipeline and confirmed the token."""
    return (
        environ.get(TOKEN_AUTH) is not None
        and environ.get("HTTP_X_IDENTITY_STATUS") == "Confirmed"
    )
