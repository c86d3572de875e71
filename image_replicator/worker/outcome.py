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

"""The ways in which an attempt to copy an image ends."""

import dataclasses
import enum

from image_replicator.errors import ErrorCode
from image_replicator.jobs import Present
from image_replicator.jobs import Verification
from image_replicator.nearness import Replica


@dataclasses.dataclass(frozen=True)
class Replicated:
    """The copy is complete and verified.

    :ivar verification: the hashes that were compared.
    :ivar bytes_per_second: the mean rate; None for an image without bytes.
    :ivar read_from: the image that the bytes, or the last of them, came from.
    """

    verification: Verification
    bytes_per_second: int | None
    read_from: Replica


@dataclasses.dataclass(frozen=True)
class Skipped:
    """No copy was made, as the destination has the data already."""

    present: Present


class StopReason(enum.StrEnum):
    """The reasons for which a copy is stopped; the values are for the log."""

    CANCELED = "the user canceled the job"
    #: The worker gives the job back.
    SHUTDOWN = "the worker is shutting down"
    CLAIM_LOST = "the job does not belong to this worker any more"


@dataclasses.dataclass(frozen=True)
class Failed:
    """The copy failed.

    :ivar code: the kind of failure.
    :ivar message: what happened; it is shown to the user.
    :ivar retry_in: seconds until the next attempt; None for no other attempt.
    """

    code: ErrorCode
    message: str
    retry_in: float | None = None


Outcome = Replicated | Skipped | StopReason | Failed
