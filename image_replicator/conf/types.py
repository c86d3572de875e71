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

"""Types and bounds of options that oslo.config does not have."""

from typing import Any
from typing import Final

from oslo_config import types

#: The longest time that an option can have, in seconds.
DAY: Final = 24 * 3600.0

#: The most characters of a region's name that the database can store.
_MAX_LENGTH: Final = 255


class NotBlank(types.String):
    """A string that is not empty and has more than blanks.

    An option that is written without a value is an error, as its default would
    not apply.

    :param max_length: the most characters; None for any number.
    """

    def __init__(self, max_length: int | None = None) -> None:
        super().__init__(max_length=max_length, type_name="string value")

    def __call__(self, value: Any) -> str:
        text: str = super().__call__(value)
        if not text.strip():
            raise ValueError("empty; remove the option to have its default")
        return text


class ListedRegion(NotBlank):
    """The name of a region in a list.

    If an item is refused, oslo.config joins it with the next one by a comma,
    and tries again.
    """

    def __init__(self) -> None:
        super().__init__(max_length=_MAX_LENGTH)

    def __call__(self, value: Any) -> str:
        name = super().__call__(value)
        if "," in name:
            raise ValueError("has an empty item, or a comma too many")
        return name


class RegionLimits(types.Dict):
    """A number of at least 1 for each of some regions."""

    def __init__(self) -> None:
        super().__init__(types.Integer(min=1))

    def __call__(self, value: Any) -> dict[str, int]:
        limits: dict[str, int] = super().__call__(value)
        for region in limits:
            REGION(region)
        return limits


REGION: Final = NotBlank(max_length=_MAX_LENGTH)
