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

"""Our own credentials for Keystone, checked before they are used."""

import os
import ssl
from typing import Any
from typing import Final
from urllib import parse

from keystoneauth1 import exceptions as ksa_exc
from keystoneauth1 import loading
from keystoneauth1 import plugin
from keystoneauth1 import session as ksa_session
from keystoneauth1.identity import generic
from oslo_config import cfg

from image_replicator import exception
from image_replicator.conf import checking
from image_replicator.conf import service_auth

#: The names of interfaces, in Keystone and in its old clients.
_INTERFACES: Final = frozenset(
    name + suffix
    for name in ("public", "internal", "admin")
    for suffix in ("", "URL")
)

#: Seconds; no request to Keystone takes longer.
_LONGEST_TIMEOUT: Final = 24 * 3600.0

#: The values of auth_type that stand for a user's name and password.
_PASSWORD_TYPES: Final = frozenset({"password", "v3password"})

#: Options at least one of which must be set, for these values of auth_type.
_NEEDED: Final = (
    ("username", "user_id"),
    ("password",),
)

#: Options that have no effect unless one of the others is set, too.
_DOMAINS: Final = (
    ("username", ("user_domain_name", "user_domain_id")),
    ("project_name", ("project_domain_name", "project_domain_id")),
)
_DEFAULT_DOMAIN: Final = ("default_domain_name", "default_domain_id")


def service_session(conf: cfg.ConfigOpts) -> ksa_session.Session:
    """Return a session with our own credentials; it opens no connection yet.

    :param conf: has ``[service_auth]``.
    :raises ConfigurationError: if an option is wrong; the message names it.
    """
    group = service_auth.GROUP
    try:
        _check_group(conf[group])
        auth = _load_plugin(conf)
        session: ksa_session.Session = loading.load_session_from_conf_options(
            conf, group
        )
        session.auth = _of_version_3(auth, session)
        _with_version(session.auth)
    except (cfg.NoSuchOptError, cfg.TemplateSubstitutionError) as error:
        # oslo.config's message has the text after the '$', which may be the
        # second half of a password.
        raise exception.ConfigurationError(
            f"[{group}]: {checking.BAD_REFERENCE}"
        ) from error
    except (ksa_exc.ClientException, cfg.Error) as error:
        raise exception.ConfigurationError(f"[{group}]: {error}") from error
    return session


def _load_plugin(conf: cfg.ConfigOpts) -> plugin.BaseAuthPlugin:
    """Return the plugin that gets our tokens, with checked options."""
    group: str = conf[service_auth.GROUP].auth_section or service_auth.GROUP
    if group != service_auth.GROUP:
        loading.register_auth_conf_options(conf, group)
    name = conf[group].auth_type
    if not name:
        raise _refused(
            group,
            "auth_type",
            "not set; the image replicator needs credentials of its own",
        )
    try:
        auth = loading.load_auth_from_conf_options(conf, service_auth.GROUP)
    except ksa_exc.NoMatchingPlugin as error:
        raise _refused(
            group, "auth_type", f"there is no plugin {name}"
        ) from error
    except ksa_exc.MissingRequiredOptions as error:
        missing = error.options[0].dest
        raise _refused(group, missing, "not set") from error
    _check_url(group, getattr(auth, "auth_url", None))
    if name in _PASSWORD_TYPES:
        _check_user(group, conf[group])
    assert auth is not None  # nosec B101: it has an auth_url
    return auth


def _of_version_3(
    auth: plugin.BaseAuthPlugin, session: ksa_session.Session
) -> plugin.BaseAuthPlugin:
    """Return the plugin for version 3 of Keystone's API, the one we use.

    The plugin for all versions first asks which ones there are. If a proxy
    answers that with 401, keystoneauth waits for ever for a lock that it holds
    itself.
    """
    if not isinstance(auth, generic.base.BaseGenericPlugin):
        return auth
    return auth.create_plugin(session, (3, 0), auth.auth_url) or auth


def _with_version(auth: Any) -> None:
    """Let the plugin's URL end with the version, as keystoneauth's does.

    keystoneauth adds it to requests for tokens alone, and our requests begin
    with the same URL.
    """
    url = auth.auth_url.rstrip("/")
    auth.auth_url = url if url.endswith("/v3") else f"{url}/v3"


def _check_url(group: str, text: str | None) -> None:
    """Refuse a URL of Keystone to which no request can be sent."""
    if not text:
        raise _refused(group, "auth_url", "not set")
    try:
        url = parse.urlsplit(text)
        port_is_valid = url.port != 0
    except ValueError as error:
        raise _refused(group, "auth_url", "not a URL") from error
    if url.scheme not in ("http", "https"):
        raise _refused(
            group, "auth_url", "begins with neither http:// nor https://"
        )
    if not url.hostname or not port_is_valid or text != "".join(text.split()):
        raise _refused(group, "auth_url", "names no host and port")
    if url.username is not None:
        # Messages of errors have the URL.
        raise _refused(group, "auth_url", "has a user's name in it")


def _check_user(group: str, values: Any) -> None:
    """Refuse a user or project that Keystone could not find."""
    for names in _NEEDED:
        if not any(values[name] for name in names):
            raise _refused(group, names[0], "not set")
    for name, domains in _DOMAINS:
        known = [*domains, *(d for d in _DEFAULT_DOMAIN if d in values)]
        if values[name] and not any(values[domain] for domain in known):
            raise _refused(group, domains[0], f"not set, but {name} is")


def _check_group(values: Any) -> None:
    """Refuse options with which no session works, whatever its plugin."""
    group = service_auth.GROUP
    if not values.valid_interfaces:
        raise _refused(group, "valid_interfaces", "empty")
    for name in values.valid_interfaces:
        if name not in _INTERFACES:
            raise _refused(
                group,
                "valid_interfaces",
                f"there is no interface '{name}'; there are public, internal "
                "and admin",
            )
    if values.timeout is not None and not (
        0 < values.timeout <= _LONGEST_TIMEOUT
    ):
        raise _refused(group, "timeout", "not between 0 and 86400 seconds")
    _check_tls(group, values)


def _check_tls(group: str, values: Any) -> None:
    """Refuse files with which no TLS connection can be made."""
    context = ssl.create_default_context()
    if values.cafile:
        is_directory = os.path.isdir(values.cafile)
        try:
            context.load_verify_locations(
                **{"capath" if is_directory else "cafile": values.cafile}
            )
        except OSError as error:
            raise _refused(group, "cafile", _reason(error)) from error
    if values.keyfile and not values.certfile:
        raise _refused(group, "certfile", "not set, but keyfile is")
    if values.certfile:
        try:
            # Without a password OpenSSL would ask a terminal for it.
            context.load_cert_chain(
                values.certfile,
                values.keyfile,
                password="",  # nosec B106: empty, so no secret
            )
        except OSError as error:
            raise _refused(
                group, "certfile", f"with its keyfile: {_reason(error)}"
            ) from error


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return "holds nothing that TLS could use"
    return error.strerror or str(error)


def _refused(
    group: str, option: str, reason: str
) -> exception.ConfigurationError:
    return exception.ConfigurationError(f"[{group}] {option}: {reason}")
