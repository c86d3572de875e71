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

"""The versions of the API, and the choice of one for each request."""

from typing import Final

import microversion_parse
import webob

from image_replicator.api import http_errors

SERVICE_TYPE: Final = "image-replicator"
HEADER: Final = "OpenStack-API-Version"

Version = microversion_parse.Version

V1_0: Final = Version(1, 0)
V1_1: Final = Version(1, 1)
V1_2: Final = Version(1, 2)

#: All versions, oldest first. A request that asks for none always gets the
#: first. Routes, schemas and keys of a job name the version that added them.
VERSIONS: Final = (V1_0, V1_1, V1_2)

_NAMES: Final = [str(version) for version in VERSIONS]


def negotiate(request: webob.Request) -> Version:
    """Return the version that the request asks for.

    :raises BadRequest: if the header has no version.
    :raises NotAcceptable: if there is no such version.
    """
    if HEADER not in request.headers:
        return VERSIONS[0]
    try:
        return microversion_parse.extract_version(
            request.headers, SERVICE_TYPE, _NAMES
        )
    except TypeError as error:
        raise http_errors.BadRequest(
            f"The header {HEADER} must be '{SERVICE_TYPE} MAJOR.MINOR' or "
            f"'{SERVICE_TYPE} latest'."
        ) from error
    except ValueError as error:
        raise http_errors.NotAcceptable(
            f"This version is not spoken here; {_NAMES[0]} to "
            f"{_NAMES[-1]} are."
        ) from error


def announce(response: webob.Response, version: Version) -> None:
    """Name the version in the response's headers.

    The 401 already has a ``Vary``, and is the same in every version.
    """
    response.headers[HEADER] = f"{SERVICE_TYPE} {version}"
    response.headers.setdefault("Vary", HEADER)
