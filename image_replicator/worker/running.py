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

"""The jobs that a worker is working on."""

import collections
import threading

from image_replicator.jobs import Claim
from image_replicator.worker import transfer


class RunningJobs:
    """The copies that run and the cancelations that are under way.

    The worker's threads share it. It is keyed by claim, not by job: a worker
    that was halted may lose a job and claim it again while a thread still
    works by the lost claim.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._copies: dict[Claim, transfer.Transfer] = {}
        self._cancelations: set[Claim] = set()

    @property
    def copy_count(self) -> int:
        """The number of copies that run."""
        return len(self._copies)

    def copies(self) -> list[transfer.Transfer]:
        """Return the copies that run."""
        with self._lock:
            return list(self._copies.values())

    def tenants_with(self, count: int) -> set[str]:
        """Return the tenants that asked for so many of the copies, or more."""
        tenants = collections.Counter(
            copy.job.source_tenant_id for copy in self.copies()
        )
        return {
            tenant for tenant, number in tenants.items() if number >= count
        }

    def cancelations(self) -> list[Claim]:
        """Return the claims of the jobs that are being canceled."""
        with self._lock:
            return list(self._cancelations)

    def add_copy(self, copy: transfer.Transfer) -> None:
        """Add a copy that is about to run."""
        with self._lock:
            self._copies[copy.claim] = copy

    def remove_copy(self, copy: transfer.Transfer) -> None:
        """Remove a copy that has ended."""
        with self._lock:
            del self._copies[copy.claim]

    def add_cancelation(self, claim: Claim) -> None:
        """Add a job whose cancelation is about to begin."""
        with self._lock:
            self._cancelations.add(claim)

    def remove_cancelation(self, claim: Claim) -> None:
        """Remove a job whose cancelation has ended."""
        with self._lock:
            self._cancelations.remove(claim)
