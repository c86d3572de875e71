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

"""A request for copies, as each version of the API writes it."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Final

import webob

from image_replicator.api import http_errors
from image_replicator.api import schemas
from image_replicator.jobs import IfPresent
from image_replicator.jobs import Priority

#: The header with a request's key. See
#: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
KEY_HEADER: Final = "Idempotency-Key"

#: Visible ASCII. A server joins a header that is sent twice with a blank.
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")

#: The keys of a body with a single destination.
_SINGLE: Final = ("tenant_id_dst", "region_id_dst", "name")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Destination:
    """A destination that the caller asks for.

    :ivar region_id: None for the region where the tenant belongs.
    :ivar name: of the copy; None for the source's.
    """

    tenant_id: str
    region_id: str | None = None
    name: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """A request for copies of one image.

    :ivar listed: whether the caller sent a list of destinations, so that the
        answer has a list of jobs.
    """

    image_id: str
    destinations: Sequence[Destination]
    listed: bool = False
    if_present: IfPresent = IfPresent.COPY
    priority: Priority = Priority.INTERACTIVE


def order(body: Mapping[str, Any]) -> Order:
    """Return the order in the body of any version.

    :param body: checked against the version's schema.
    :raises BadRequest: if it names no destination, one twice, or some in both
        ways.
    """
    listed = "destinations" in body
    if listed:
        destinations = _listed(body)
    else:
        destinations = [_single(body)]
    return Order(
        image_id=body["image_id"],
        destinations=destinations,
        listed=listed,
        if_present=IfPresent(body.get("if_present", IfPresent.COPY)),
        priority=Priority(body.get("priority", Priority.INTERACTIVE)),
    )


def _single(body: Mapping[str, Any]) -> Destination:
    if "tenant_id_dst" not in body:
        raise _invalid("'destinations' or 'tenant_id_dst' is required.")
    return Destination(
        tenant_id=body["tenant_id_dst"],
        region_id=body.get("region_id_dst"),
        name=body.get("name"),
    )


def _listed(body: Mapping[str, Any]) -> list[Destination]:
    both = [key for key in _SINGLE if key in body]
    if both:
        raise _invalid(
            f"it must not have both 'destinations' and {both[0]!r}."
        )
    found = [Destination(**each) for each in body["destinations"]]
    places: dict[tuple[str, str | None], int] = {}
    for place, each in enumerate(found):
        first = places.setdefault((each.tenant_id, each.region_id), place)
        if first != place:
            raise _invalid(
                f"destinations[{place}] is the same as destinations[{first}]."
            )
    return found


def key(request: webob.Request) -> str | None:
    """Return the request's idempotency key; None if it has none.

    :raises BadRequest: if it is not valid.
    """
    value: str | None = request.headers.get(KEY_HEADER)
    if value is not None and not _KEY.fullmatch(value):
        raise http_errors.BadRequest(
            f"The header {KEY_HEADER} must be 1 to 255 visible ASCII "
            "characters, and be sent once."
        )
    return value


def digest(body: Mapping[str, Any]) -> str:
    """Return what tells a request from any other, 64 characters."""
    text = json.dumps(body, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _invalid(sentence: str) -> http_errors.BadRequest:
    return schemas.invalid("body", sentence)
