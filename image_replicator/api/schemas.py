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

"""JSON Schemas of queries and bodies, and the check against them."""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Final

import jsonschema

from image_replicator.api import http_errors
from image_replicator.db import listing
from image_replicator.jobs import IfPresent
from image_replicator.jobs import JobStatus
from image_replicator.jobs import Priority

# The caller sees the description in an error. The patterns end with \Z, as
# Python's $ would allow a newline behind the value.
_UUID: Final = {
    "type": "string",
    "pattern": r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z",
    "description": "a UUID",
}
#: A project's id becomes a part of a path in Keystone, so it has no character
#: with a meaning there.
_TENANT_ID: Final = {
    "type": "string",
    "pattern": r"^[A-Za-z0-9_-]{1,64}\Z",
    "description": "the ID of a project",
}
#: PostgreSQL stores no NUL in a text.
_NAME: Final = {
    "type": "string",
    "pattern": r"^[^\x00-\x1f\x7f]{0,255}\Z",
    "description": "at most 255 characters, none of them a control character",
}

#: A new name is checked more strictly than one in a filter: it may have no C1
#: control characters, and no lone surrogates, which JSON allows.
_NO_CONTROLS: Final = r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]"
#: Glance refuses characters of four bytes in UTF-8, whatever its database.
_NO_FOUR_BYTES: Final = (
    r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff\U00010000-\U0010ffff]"
)
_NEW_NAME: Final = {
    "type": "string",
    "pattern": rf"^{_NO_FOUR_BYTES}{{0,255}}\Z",
    "description": "at most 255 characters, none of them a control character "
    "or one of four bytes in UTF-8, such as an emoji",
}
_REGION_ID: Final = {
    "type": "string",
    "pattern": rf"^{_NO_CONTROLS}{{1,255}}\Z",
    "description": "the ID of a region, 1 to 255 characters",
}

CREATE_JOB: Final = {
    "type": "object",
    "properties": {"image_id": _UUID, "tenant_id_dst": _TENANT_ID},
    "required": ["image_id", "tenant_id_dst"],
    "additionalProperties": False,
    "description": "a JSON object",
}

_SINGLE: Final = {
    "image_id": _UUID,
    "tenant_id_dst": _TENANT_ID,
    "region_id_dst": _REGION_ID,
    "name": _NEW_NAME,
}

CREATE_JOB_1_1: Final = CREATE_JOB | {"properties": _SINGLE}

#: The most destinations of one request.
MAX_DESTINATIONS: Final = 64

#: The form of version 1.1, or the same with a list of destinations. The
#: controller's :mod:`~image_replicator.api.orders` tells the two apart.
CREATE_JOBS: Final = CREATE_JOB_1_1 | {
    "properties": {
        **_SINGLE,
        "destinations": {
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_DESTINATIONS,
            "description": f"a list of 1 to {MAX_DESTINATIONS} destinations",
            "items": {
                "type": "object",
                "properties": {
                    "tenant_id": _TENANT_ID,
                    "region_id": _REGION_ID,
                    "name": _NEW_NAME,
                },
                "required": ["tenant_id"],
                "additionalProperties": False,
                "description": "a JSON object",
            },
        },
        "if_present": {"enum": [choice.value for choice in IfPresent]},
        "priority": {"enum": [priority.value for priority in Priority]},
    },
    "required": ["image_id"],
}

_BOOLEAN: Final = {
    "type": "string",
    "pattern": r"^([Tt]rue|[Ff]alse|1|0)\Z",
    "description": "true or false",
}

CREATE_QUERY: Final = {
    "type": "object",
    "properties": {"dry_run": _BOOLEAN},
    "additionalProperties": False,
}

RETRY_JOB: Final = {
    "type": "object",
    "properties": {
        "retry": {
            "type": "object",
            "maxProperties": 0,
            "description": "an empty JSON object",
        },
    },
    "description": "a JSON object",
}

#: Values of a query are strings; the controller converts them.
_LIST: Final[Mapping[str, Any]] = {
    "limit": {
        "type": "string",
        "pattern": r"^[1-9][0-9]{0,8}\Z",
        "description": "a whole number from 1 to 999999999",
    },
    "marker": _UUID,
    "sort_key": {"enum": sorted(listing.SORT_KEYS)},
    "sort_dir": {"enum": ["asc", "desc"]},
    "all_tenants": _BOOLEAN,
    "status": {"enum": [status.value for status in JobStatus]},
    "source_image_id": _UUID,
    "source_image_name": _NAME,
    "destination_image_id": _UUID,
    "destination_region_id": _NAME,
    "destination_tenant_id": _NAME,
}

LIST_JOBS: Final = {
    "type": "object",
    "properties": _LIST,
    "additionalProperties": False,
}

#: A key that may be named more than once; each value is checked by
#: :mod:`~image_replicator.api.filters`.
_COMPARISONS: Final = {"type": "array"}

LIST_JOBS_1_2: Final = LIST_JOBS | {
    "properties": {
        **_LIST,
        "status": _COMPARISONS,
        **{key: _COMPARISONS for key in sorted(listing.TIMES)},
    },
}

#: The most characters of an unknown key that an error repeats.
_MAX_KEY: Final = 40


def validate(
    instance: Any, schema: Mapping[str, Any], name: str
) -> dict[str, Any]:
    """Return the instance if the schema allows it.

    :param name: the instance's name in the error: ``body`` or ``query``.
    :raises BadRequest: with one sentence on what is wrong and where.
    """
    validator = jsonschema.Draft202012Validator(schema)
    error = jsonschema.exceptions.best_match(validator.iter_errors(instance))
    if error is not None:
        raise invalid(name, _sentence(error))
    checked: dict[str, Any] = instance
    return checked


def one_key(body: Any, known: Sequence[str]) -> str:
    """Return the only key of a body, which names the action.

    :param known: the keys of all actions.
    :raises BadRequest: if the body is not an object with exactly one of them.
    """
    if not isinstance(body, dict):
        raise invalid("body", "it must be a JSON object.")
    if not body.keys() <= set(known):
        raise invalid("body", _unknown_key(body, known))
    if not body:
        names = " or ".join(repr(name) for name in known)
        raise invalid("body", f"{names} is a required property.")
    if len(body) > 1:
        raise invalid("body", "it must name one action.")
    (key,) = body
    return str(key)


def invalid(name: str, sentence: str) -> http_errors.BadRequest:
    """Return the error on a body or a query.

    :param name: ``body`` or ``query``.
    :param sentence: on what is wrong and where.
    """
    return http_errors.BadRequest(f"The {name} is not valid: {sentence}")


def _sentence(error: jsonschema.ValidationError) -> str:
    """Return the sentence for the caller on an error of jsonschema."""
    rule: Any = error.schema
    where = _place(error.absolute_path) or "it"
    if error.validator == "required":
        return f"{_within(error)}{error.message}."
    if error.validator == "additionalProperties":
        given: Any = error.instance
        unknown = _unknown_key(given, list(rule["properties"]))
        return f"{_within(error)}{unknown}"
    if error.validator == "enum":
        return f"{where} must be one of {', '.join(rule['enum'])}."
    return f"{where} must be {rule['description']}."


def _within(error: jsonschema.ValidationError) -> str:
    """Return the beginning of a sentence about a part of the instance."""
    place = _place(error.absolute_path)
    return f"in {place}, " if place else ""


def _place(path: Iterable[str | int]) -> str:
    """Return a place in the instance, such as ``destinations[0].name``."""
    place = ""
    for key in path:
        place += f"[{key}]" if isinstance(key, int) else f".{key}"
    return place.removeprefix(".")


def _unknown_key(given: Iterable[str], known: Sequence[str]) -> str:
    """Return the sentence for the caller on the first unknown key."""
    unknown = min(key for key in given if key not in known)
    return (
        f"{unknown[:_MAX_KEY]!a} is not known here; known are "
        f"{', '.join(known)}."
    )
