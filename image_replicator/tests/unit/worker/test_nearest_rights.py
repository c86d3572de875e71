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

"""Tests of the right with which a nearer copy is read."""

from image_replicator import authority
from image_replicator import jobs
from image_replicator import user_auth
from image_replicator.tests.unit.worker import test_access


class TestNearestCopy(test_access.AccessTestCase):
    """A copy that was made for another tenant of the user is read."""

    def setUp(self) -> None:
        super().setUp()
        first = self.delegated()
        self.start()
        self.is_started = True
        self.made = self.wait_for(first, "replicated")
        self.stores.delegations.add(
            authority.Delegation(
                trust_id="at the first",
                user_id="user",
                project_id=self.made.destination_tenant_id,
                roles=("member",),
            )
        )

    def copy(self) -> jobs.Job:
        """Have the image copied to another tenant."""
        job_id = self.stores.jobs.create(
            jobs.NewJob(
                source_image_id=self.made.source_image_id,
                source_image_name="",
                source_region_id="ot1",
                source_tenant_id=test_access.SOURCE,
                destination_region_id="ot2",
                destination_tenant_id="another",
                image_size=self.made.image_size,
                request_id="req-2",
            ),
            authority=authority.Authority(
                user_id="user",
                source_owner_id=test_access.SOURCE,
                source_trust_id="at source",
                destination_trust_id="at another",
            ),
        )
        return self.wait_for(job_id, "replicated", "error")

    def trusts(self) -> list[str]:
        """Return the trusts with which data at the destination was read."""
        return [
            seen.headers["X-Auth-Token"].rsplit(" ", 1)[0]
            for seen in self.destination.requests
            if (seen.command, seen.kind) == ("GET", "file")
        ]

    def known(self) -> bool:
        """Return whether the trust is still known."""
        roles = ("member",)
        tenant = self.made.destination_tenant_id
        return self.stores.delegations.find("user", tenant, roles) is not None

    def test_it_is_read_with_the_user_s_trust_for_that_tenant(self) -> None:
        job = self.copy()
        self.assertEqual(("replicated", 1), (job.status, job.attempts))
        self.assertEqual(["at the first"], self.trusts())
        self.assertEqual(self.made.destination_image_id, job.read_image_id)
        self.assertTrue(self.known())

    def test_a_right_that_is_lost(self) -> None:
        self.trustee.errors["at the first"] = user_auth.AccessLost("lost")
        job = self.copy()
        self.assertEqual(("replicated", 1), (job.status, job.attempts))
        self.assertEqual([], self.trusts())
        self.assertEqual(job.source_image_id, job.read_image_id)
        self.assertTrue(self.known())

    def test_a_trust_that_is_gone_is_forgotten(self) -> None:
        self.trustee.errors["at the first"] = user_auth.TrustGone("gone")
        job = self.copy()
        self.assertEqual(("replicated", 1), (job.status, job.attempts))
        self.wait_until(lambda: not self.known(), "forgotten")
