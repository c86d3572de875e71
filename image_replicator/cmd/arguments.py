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

"""The types of arguments of image-replicator-manage."""

import argparse
from collections.abc import Callable


def age(bound: int) -> Callable[[str], float]:
    """Return the function that parses an age.

    :param bound: the age must be below it, so that its date is valid.
    """

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = -1
        # This comparison is false for NaN, too.
        if not 0 <= number < bound:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a number from 0 to {bound}"
            )
        return number

    return read


def count(text: str) -> int:
    """Parse a whole number above 0."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a whole number above 0"
        )
    return int(text)
