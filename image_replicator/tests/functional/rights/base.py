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

"""Base of the tests of users' rights, on a cloud that guards them all."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any
from typing import cast

from oslo_utils import uuidutils

from devcloud import guarded
from devcloud import images
from devcloud import services
from image_replicator.tests.functional.cloud import base


@dataclasses.dataclass(frozen=True)
class Asker:
    """A user who asks for copies, with two projects of their own.

    :ivar name: of the user
    :ivar source: the name of the project that asks
    :ivar destination: the name of the project that gets the copies
    """

    name: str
    source: str
    destination: str


class RightsTestCase(base.CloudTestCase):
    """A test of users' rights."""

    kind = guarded.GuardedCloud
    cloud: guarded.GuardedCloud

    def new_asker(
        self,
        at_source: tuple[str, ...] = ("member",),
        at_destination: tuple[str, ...] = ("member",),
    ) -> Asker:
        """Create a user and two projects.

        :param at_source: the user's roles in the source project
        :param at_destination: the user's roles in the destination project
        """
        name = f"user-{uuidutils.generate_uuid()[:8]}"
        asker = Asker(name, f"source-of-{name}", f"destination-of-{name}")
        self.cloud.create_project(asker.source)
        self.cloud.create_project(asker.destination)
        self.cloud.create_user(
            name,
            {asker.source: at_source, asker.destination: at_destination},
        )
        return asker

    def images_of(
        self, asker: Asker, at_destination: bool = False
    ) -> images.Images:
        """Return an asker's images in the source, or in the destination."""
        if at_destination:
            return self.cloud.images("ot2", asker.name, asker.destination)
        return self.cloud.images("ot1", asker.name, asker.source)

    def ask(self, asker: Asker, image_id: str, **kwargs: Any) -> str:
        """Request a copy as an asker; return the job's id."""
        return self.ask_for_copy(
            image_id,
            asker.destination,
            user=asker.name,
            project=asker.source,
            **kwargs,
        )

    def retry_as(self, asker: Asker, job_id: str) -> None:
        """Retry a job as an asker."""
        reply = self.retry(job_id, user=asker.name, project=asker.source)
        self.assertEqual(202, reply.status_code, reply.text)

    def take_role(self, asker: Asker, project: str) -> None:
        """Take the asker's role in a project."""
        self.cloud.identity.revoke(
            self.cloud.user(asker.name).id,
            self.cloud.project_id(project),
            "member",
        )

    def trusts(self, asker: Asker) -> dict[str, dict[str, Any]]:
        """Return the asker's trusts, by the projects' ids."""
        session = self.cloud.session(asker.name, asker.source)
        user_id = self.cloud.user(asker.name).id
        shown = session.get(
            f"{self._trusts_url()}?trustor_user_id={user_id}"
        ).json()
        return {trust["project_id"]: trust for trust in shown["trusts"]}

    def revoke_trust(self, asker: Asker, project_id: str) -> None:
        """Revoke the asker's trust for a project, as the asker."""
        trust_id = self.trusts(asker)[project_id]["id"]
        session = self.cloud.session(asker.name, asker.source)
        session.delete(f"{self._trusts_url()}/{trust_id}")

    def _trusts_url(self) -> str:
        return f"{self.cloud.auth_url}/OS-TRUST/trusts"

    @contextlib.contextmanager
    def administrator(self) -> Iterator[None]:
        """Make our user an administrator, as an operator may choose to."""
        user_id = self.cloud.user(services.SERVICE_USER).id
        project_id = self.cloud.project_id(services.SERVICE_PROJECT)
        self.cloud.identity.grant(user_id, project_id, "admin")
        try:
            yield
        finally:
            self.cloud.identity.revoke(user_id, project_id, "admin")

    def end(self, job_id: str) -> dict[str, Any]:
        """Wait until a job is over; return it as an administrator sees it."""
        return self.wait_for(
            job_id,
            "replicated",
            "error",
            "canceled",
            user="admin",
            project="admin",
        )

    def assert_copied(self, job_id: str) -> dict[str, Any]:
        """Wait until a job is replicated; return the copy."""
        job = self.end(job_id)
        row = self.job_row(job_id)
        self.assertEqual(
            "replicated",
            job["status"],
            f"{row.error_code} {row.error_message}",
        )
        copy = self.cloud.images("ot2", "admin", "admin").get(
            job["destination_image_id"]
        )
        self.assertEqual("active", copy["status"])
        self.assertEqual(job["destination_tenant_id"], copy["owner"])
        return copy

    def assert_failed(self, job_id: str, *codes: str) -> str:
        """Wait until a job is in error with one of the codes.

        :returns: the message, which names neither our user nor our project
        """
        job = self.end(job_id)
        row = self.job_row(job_id)
        self.assertEqual("error", job["status"])
        self.assertIn(row.error_code, codes, row.error_message)
        for own_id in (
            self.cloud.user(services.SERVICE_USER).id,
            self.cloud.project_id(services.SERVICE_PROJECT),
        ):
            self.assertNotIn(own_id, row.error_message)
        return cast(str, row.error_message)

    def left_in(self, project: str, region: str = "ot2") -> dict[str, str]:
        """Return the statuses of a project's images, by id."""
        owner = self.cloud.project_id(project)
        return {
            image_id: image["status"]
            for image_id, image in self.images_in(region).items()
            if image["owner"] == owner
        }
