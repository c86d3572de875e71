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

"""Decides whether a copy that failed is tried again, and when."""

import dataclasses
import random
from collections.abc import Callable
from typing import Final

from image_replicator.errors import ErrorCode
from image_replicator.errors import Recovery

#: The most attempts of a copy that may have failed by accident.
_ONCE_MORE_ATTEMPTS: Final = 2


def may_pass(code: ErrorCode) -> bool:
    """Tell whether a copy that failed with this code may work later."""
    return code.recovery is not Recovery.FINAL


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policy:
    """The operator's limits on further attempts.

    :ivar max_attempts: the most attempts of a copy.
    :ivar delay: seconds before the second attempt, about; doubled for each
        further one.
    :ivar max_delay: the longest wait in seconds.
    """

    max_attempts: int
    delay: float
    max_delay: float

    def seconds_to_wait(
        self,
        code: ErrorCode,
        attempt: int,
        jitter: Callable[[], float] = random.random,
    ) -> float | None:
        """Return the seconds before the next attempt; None for no other one.

        :param code: of the error that ended the attempt.
        :param attempt: the number of that attempt, from 1.
        :param jitter: from 0 to 1. It takes up to half of the wait, so that
            copies which failed together do not come back together.
        """
        if attempt >= self._most(code) or not may_pass(code):
            return None
        # The power is bounded, as a float cannot hold that of a large number.
        doubled = self.delay * 2.0 ** min(attempt - 1, 64)
        return min(doubled, self.max_delay) * (1 - jitter() / 2)

    def _most(self, code: ErrorCode) -> int:
        if code.recovery is Recovery.ONCE_MORE:
            return min(self.max_attempts, _ONCE_MORE_ATTEMPTS)
        return self.max_attempts
