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

"""Signs that something other than an image service answers.

A proxy, a login page or a web server may answer at the catalogue's URL of an
image service, and a TLS certificate may not be trusted. Such an error does not
pass by itself, so users and operators are told what it is.
"""

import ssl
from collections.abc import Iterator
from http import HTTPStatus
from typing import Final
from urllib import parse

import requests

#: The statuses of redirects. 300 is not one, as Glance lists its versions with
#: it.
_REDIRECTS: Final = frozenset(
    {
        HTTPStatus.MOVED_PERMANENTLY,
        HTTPStatus.FOUND,
        HTTPStatus.SEE_OTHER,
        HTTPStatus.TEMPORARY_REDIRECT,
        HTTPStatus.PERMANENT_REDIRECT,
    }
)

#: OpenSSL's reasons for failures that another try cannot change.
_HANDSHAKES: Final = {
    "WRONG_VERSION_NUMBER": "it does not speak TLS",
    "RECORD_LAYER_FAILURE": "it does not speak TLS",
    "HTTP_REQUEST": "it does not speak TLS",
    "UNSUPPORTED_PROTOCOL": "its version of TLS is not safe",
    "TLSV1_ALERT_PROTOCOL_VERSION": "its version of TLS is another",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it has no cipher in common with us",
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": "it wants a safer cipher",
    "DH_KEY_TOO_SMALL": "its key is too small",
    "EE_KEY_TOO_SMALL": "its key is too small",
    "CA_MD_TOO_WEAK": "its certificate's signature is too weak",
    "TLSV1_UNRECOGNIZED_NAME": "it does not serve this host",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a client's certificate",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not trust our certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not trust our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "our certificate has expired",
}

#: The most characters of a redirect's target that a message shows.
_MAX_TARGET: Final = 200


def redirect_target(reply: requests.Response) -> str | None:
    """Return where a reply redirects to.

    :returns: host and path of the target; the rest is left out, as it may be a
        secret. None if the reply is no redirect.
    """
    location = reply.headers.get("Location")
    if reply.status_code not in _REDIRECTS or not location:
        return None
    try:
        target = parse.urlsplit(parse.urljoin(reply.url, location))
        host = target.hostname or ""
        port = f":{target.port}" if target.port else ""
    except ValueError:
        return "no address"
    shown = f"{host}{port}{target.path}"
    return "".join(c if c.isprintable() else "?" for c in shown)[:_MAX_TARGET]


def is_web_page(reply: requests.Response) -> bool:
    """Tell whether a reply is HTML, by its headers.

    Glance's 204s have that type as well, but no body.
    """
    if reply.status_code == HTTPStatus.NO_CONTENT:
        return False
    return reply.headers.get("Content-Type", "").startswith("text/html")


def is_json(reply: requests.Response) -> bool:
    """Tell whether a reply is JSON, by its headers."""
    return reply.headers.get("Content-Type", "").startswith("application/json")


def tls_failure(error: BaseException) -> str | None:
    """Return why no TLS connection can be made, in a few words.

    :param error: what keystoneauth or requests raised.
    :returns: None if TLS is not the reason, or if another try may help, as
        after a broken connection.
    """
    for each in _causes(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return each.verify_message
        if isinstance(each, ssl.SSLError) and each.reason in _HANDSHAKES:
            return _HANDSHAKES[each.reason]
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all its causes, each once."""
    found = [error]
    # urllib3 keeps the cause in an argument, or in ``reason``.
    for each in found:
        yield each
        related = (
            each.__cause__,
            each.__context__,
            getattr(each, "reason", None),
            *each.args,
        )
        found += [
            other
            for other in related
            if isinstance(other, BaseException) and other not in found
        ]
