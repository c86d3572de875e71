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

"""Bodies that come in chunks (``Transfer-Encoding: chunked``).

The WSGI specification has no way to read them, as it takes the length from the
headers. Servers add one of two ways: most end ``wsgi.input`` where the body
ends, and set ``wsgi.input_terminated``; uWSGI has a function of its own.
"""

import functools
import importlib
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

from image_replicator.api import http_errors


def are_sent(environ: Mapping[str, Any]) -> bool:
    """Tell whether a request has a body in chunks."""
    encoding = environ.get("HTTP_TRANSFER_ENCODING", "")
    return "chunked" in encoding.lower()


def read(environ: Mapping[str, Any], limit: int) -> bytes:
    """Return the body of a request that sends it in chunks.

    :param limit: the most bytes of the body; at most one chunk more is read.
    :returns: the body; if it is longer than ``limit``, its beginning, which is
        longer than ``limit`` as well.
    :raises LengthRequired: if the server cannot read it.
    :raises OSError: if the body ends too early.
    """
    next_piece = _reader(environ, limit + 1)
    body = b""
    while len(body) <= limit:
        piece = next_piece()
        if not piece:
            break
        body += piece
    return body


def _reader(environ: Mapping[str, Any], size: int) -> Callable[[], bytes]:
    if environ.get("wsgi.input_terminated"):
        return functools.partial(environ["wsgi.input"].read, size)
    try:
        # The module exists only in processes of uWSGI.
        uwsgi: Any = importlib.import_module("uwsgi")
    except ImportError:
        raise http_errors.LengthRequired(
            "This server does not read a chunked body; send one with a "
            "Content-Length."
        ) from None
    next_piece: Callable[[], bytes] = uwsgi.chunked_read
    return next_piece
