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

"""Recognises that what answers for an image service is something else.

A proxy, a login page or a web server may stand where the catalogue says that
an image service is, and a TLS certificate may be one that nobody trusts. Such
an error does not pass by itself, so users and operators are told what it is.
"""

import ssl
from collections.abc import Iterator
from http import HTTPStatus
from typing import Final
from urllib import parse

import requests

#: Statuses by which a service sends its client elsewhere. 300 is not one:
#: Glance lists its versions with it.
_REDIRECTS: Final = frozenset(
    {
        HTTPStatus.MOVED_PERMANENTLY,
        HTTPStatus.FOUND,
        HTTPStatus.SEE_OTHER,
        HTTPStatus.TEMPORARY_REDIRECT,
        HTTPStatus.PERMANENT_REDIRECT,
    }
)

#: Characters of a redirect's target that are repeated.
_MAX_TARGET: Final = 200


def redirect_target(reply: requests.Response) -> str | None:
    """Return where a reply redirects to.

    :returns: host and path of the target, and nothing else of it, as the rest
        may be a secret; None if the reply is no redirect.
    """
    if reply.status_code not in _REDIRECTS:
        return None
    location = reply.headers.get("Location", "")
    try:
        target = parse.urlsplit(parse.urljoin(reply.url, location))
        host = target.hostname or ""
        port = f":{target.port}" if target.port else ""
    except ValueError:
        return "no address"
    shown = f"{host}{port}{target.path}"
    return "".join(c if c.isprintable() else "?" for c in shown)[:_MAX_TARGET]


def is_web_page(reply: requests.Response) -> bool:
    """Tell whether a reply is HTML, by its headers."""
    return reply.headers.get("Content-Type", "").startswith("text/html")


def tls_failure(error: BaseException) -> str:
    """Return the reason of a TLS connection that failed, in a few words.

    :param error: what keystoneauth or requests raised.
    """
    for each in _causes(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return each.verify_message
    return "no TLS connection can be made"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that led to it, each once."""
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
