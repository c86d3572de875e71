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

"""The rights of users with which copies are made, as the database keeps them.

The API, the database and the worker share these types. This module imports
none of them.
"""

import dataclasses
import datetime

from image_replicator.nearness import Reach


@dataclasses.dataclass(frozen=True, kw_only=True)
class Delegation:
    """A trust by which a user lets our service user act in a project.

    :ivar trust_id: Keystone's id of the trust.
    :ivar user_id: the user who made it, the trustor.
    :ivar roles: the names of the roles that it gives, sorted.
    :ivar expires_at: naive UTC; None if it does not expire.
    :ivar used_at: when a job was last created with it; naive UTC, by the
        database's clock.
    """

    trust_id: str
    user_id: str
    project_id: str
    roles: tuple[str, ...]
    expires_at: datetime.datetime | None = None
    used_at: datetime.datetime | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class SealedToken:
    """A user's token, encrypted with a key that the database does not have.

    :ivar sealed: the encrypted token; not a secret without the key.
    :ivar expires_at: when the token expires; naive UTC.
    """

    sealed: str = dataclasses.field(repr=False)
    expires_at: datetime.datetime


@dataclasses.dataclass(frozen=True, kw_only=True)
class Authority:
    """The right by which a job's copy is made.

    It has either both trusts, which are one if both projects are one, or a
    token.

    :ivar user_id: the user who asked for the copy, or for its retry.
    :ivar source_owner_id: the project that owns the source image.
    :ivar source_trust_id: for the project that asked for the copy.
    :ivar destination_trust_id: for the destination project.
    """

    user_id: str
    source_owner_id: str | None = None
    source_trust_id: str | None = None
    destination_trust_id: str | None = None
    token: SealedToken | None = None

    def reach(self, source_tenant: str, destination_tenant: str) -> Reach:
        """Return the images that may be read for a job with this right.

        A token holds in its own project alone. Who has given us trusts may
        read what they give.

        :param source_tenant: of the job.
        :param destination_tenant: of the job.
        """
        return Reach(
            source_tenant_id=source_tenant,
            destination_tenant_id=destination_tenant,
            user_id=None if self.token else self.user_id,
        )
