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

"""Our own words for a limit or a right that an image service enforces.

Glance's sentences may name projects and users that are not those of the user
who reads the job. So the user is told what they name, in our words.
"""

import re
from typing import Final

#: oslo.limit's words for Keystone's limits, one for each resource.
_UNIFIED: Final = re.compile(
    r"Resource (?P<name>[\w:]+) is over limit of (?P<limit>-?\d+) due to "
    r"current usage (?P<used>\d+) and delta (?P<more>\d+)"
)
#: Glance's words for the number of an image's properties, tags, and so on.
_NUMBER: Final = re.compile(
    r"number of allowed image (?P<name>\w+).*?"
    r"Attempted: (?P<asked>\d+), Maximum: (?P<limit>\d+)"
)
#: Glance's words for [DEFAULT] user_storage_quota.
_STORAGE: Final = re.compile(
    r"size of the data (?P<asked>\d+) will exceed the limit\.? "
    r"(?P<left>-?\d+) bytes remaining"
)
_TOO_LARGE: Final = re.compile(r"image is too large", re.IGNORECASE)
#: Glance's words for a property that only some roles may set.
_RESERVED: Final = re.compile(
    r"(?:Attribute|Property) '(?P<name>[^']+)' is (?:reserved|protected)"
)


def describe(text: str) -> str | None:
    """Return what a service refuses by; None if its answer does not say.

    :param text: the answer's words.
    """
    if found := _UNIFIED.search(text):
        return (
            f"the limit of {found['name']} is {found['limit']}, "
            f"{found['used']} are in use, and {found['more']} more are asked "
            "for"
        )
    if found := _NUMBER.search(text):
        return (
            f"an image may have {found['limit']} {found['name']}, and this "
            f"one has {found['asked']}"
        )
    if found := _STORAGE.search(text):
        return (
            f"the image has {found['asked']} bytes, and {found['left']} bytes "
            "are left of the storage quota"
        )
    if _TOO_LARGE.search(text):
        return "the image is larger than any may be"
    if found := _RESERVED.search(text):
        return f"the property {found['name']} is reserved for other roles"
    return None
