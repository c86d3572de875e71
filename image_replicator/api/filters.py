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

"""The operators in the filters of a listing, since version 1.2.

They are those of OpenStack's guideline:
https://specs.openstack.org/openstack/api-sig/guidelines/pagination_filter_sort.html
"""

import datetime
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any
from typing import Final

from oslo_utils import timeutils

from image_replicator.api import http_errors
from image_replicator.api import schemas
from image_replicator.db import listing
from image_replicator.jobs import JobStatus

_STATUSES: Final = [status.value for status in JobStatus]

_TIME_OPERATORS: Final = ("gt", "gte", "lt", "lte")


def comparisons(query: Mapping[str, Any]) -> list[listing.Comparison]:
    """Return the comparisons that a query asks for.

    :param query: the values of a key are a list, as a range has two of them.
    :raises BadRequest: if an operator, a status or a time is not valid.
    """
    found = [_of_status(value) for value in query.get("status", ())]
    for key in sorted(listing.TIMES & query.keys()):
        found += [_of_time(key, value) for value in query[key]]
    _check_once(found)
    return found


def _of_status(value: str) -> listing.Comparison:
    """Return the comparison of ``STATUS`` or ``in:STATUS,STATUS``."""
    operator, colon, listed = value.partition(":")
    if not colon:
        wanted = [value]
    elif operator == "in":
        wanted = listed.split(",")
    else:
        raise _invalid(f"status must be {_any_status()}, or in: before some.")
    for status in wanted:
        if status not in _STATUSES:
            raise _invalid(f"status must be {_any_status()}.")
    return listing.Comparison("status", "in", sorted(set(wanted)))


def _any_status() -> str:
    return f"one of {', '.join(_STATUSES)}"


def _of_time(key: str, value: str) -> listing.Comparison:
    """Return the comparison of ``OPERATOR:TIME``."""
    operator, _, time = value.partition(":")
    try:
        if operator not in _TIME_OPERATORS:
            raise ValueError(operator)
        return listing.Comparison(key, operator, _time(time))
    except (ValueError, OverflowError) as error:
        raise _invalid(
            f"{key} must be gt:, gte:, lt: or lte: before a time in ISO 8601, "
            "such as gte:2026-11-26T12:00:00Z."
        ) from error


def _time(text: str) -> datetime.datetime:
    """Return a time as naive UTC.

    :raises ValueError: if it is not in the format.
    :raises OverflowError: if UTC has no such year.
    """
    # A blank that was a plus sign would otherwise be read as some other time.
    if not text.isascii() or " " in text:
        raise ValueError(text)
    parsed: datetime.datetime = timeutils.normalize_time(
        timeutils.parse_isotime(text)
    )
    return parsed


def _check_once(found: Iterable[listing.Comparison]) -> None:
    """Check that no key has one operator twice.

    :raises BadRequest: if one has.
    """
    seen: set[tuple[str, str]] = set()
    for each in found:
        if (each.column, each.operator) in seen:
            raise _invalid(f"it names {each.column} more than once.")
        seen.add((each.column, each.operator))


def _invalid(sentence: str) -> http_errors.BadRequest:
    return schemas.invalid("query", sentence)
