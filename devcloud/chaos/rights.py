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

"""Takes rights from users, gives them back, and remembers when."""

import dataclasses
import time
from collections.abc import Iterator
from collections.abc import Sequence

from devcloud import cloud

_ROLE = "member"


@dataclasses.dataclass
class Taken:
    """A time without a right.

    :ivar source_tenant_id: the project of the user who lacks it
    :ivar destination_tenant_id: the project in which the role is missing
    :ivar begin: seconds since the epoch; Keystone had taken it by then
    :ivar end: from then on it was given back; None while it is not
    """

    source_tenant_id: str
    destination_tenant_id: str
    begin: float
    end: float | None = None


class Rights:
    """The roles of the users in the destination tenants."""

    def __init__(self, running: cloud.Cloud) -> None:
        self._cloud = running
        self._taken: dict[str, Taken] = {}
        self.history: list[Taken] = []

    def take(self, subject: str) -> None:
        """Take a user's role.

        :param subject: the numbers of the user and the destination tenant
        """
        user, tenant = subject.split()
        user_id, project_id = self._ids(user, tenant)
        self._cloud.identity.revoke(user_id, project_id, _ROLE)
        taken = Taken(
            self._cloud.project_id(f"from-{user}"), project_id, time.time()
        )
        self._taken[subject] = taken
        self.history.append(taken)

    def give(self, subject: str) -> None:
        """Give the role back."""
        self._taken.pop(subject).end = time.time()
        self._cloud.identity.grant(*self._ids(*subject.split()), _ROLE)

    def give_all(self) -> None:
        """Give back all that is taken."""
        for subject in list(self._taken):
            self.give(subject)

    def _ids(self, user: str, tenant: str) -> tuple[str, str]:
        return (
            self._cloud.user(f"user-{user}").id,
            self._cloud.project_id(f"to-{tenant}"),
        )


def lacking(
    history: Sequence[Taken], source_tenant_id: str, destination_tenant_id: str
) -> Iterator[Taken]:
    """Yield the times in which a user could not make a copy."""
    for taken in history:
        if (taken.source_tenant_id, taken.destination_tenant_id) == (
            source_tenant_id,
            destination_tenant_id,
        ):
            yield taken
