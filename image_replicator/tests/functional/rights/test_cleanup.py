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

"""Unfinished copies whose user may not remove them any more.

And jobs whose right was given back.
"""

from devcloud import services
from image_replicator.tests.functional.rights import base

_DATA = bytes(range(256)) * 16384


class TestCleanup(base.RightsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.asker = self.new_asker()

    def _lose_amid_the_copy(self, cleanup: str, **properties: str) -> str:
        """Take the role at the destination in the middle of the upload.

        :param properties: that a user of the destination sets on the copy
            before
        :returns: the job's id
        """
        relay = self.relay("ot1")
        relay.hold_after(len(_DATA) // 2)
        image_id = self.images_of(self.asker).create(_DATA)["id"]
        job_id = self.ask(self.asker, image_id)
        self.worker = self.start_worker(delegation={"cleanup": cleanup})
        self.assertTrue(relay.wait_until_held())
        (copy_id,) = self.wait_until(
            lambda: self.left_in(self.asker.destination), "a copy"
        )
        if properties:
            there = self.images_of(self.asker, at_destination=True)
            there.update(copy_id, **properties)
        self.take_role(self.asker, self.asker.destination)
        relay.release()
        return job_id

    def test_by_default_it_is_left_and_listed(self) -> None:
        job_id = self._lose_amid_the_copy("none")
        self.assert_failed(job_id, "destination_access_lost")
        (left,) = self.left_in(self.asker.destination)
        self.assertEqual(left, self.job_row(job_id).reserved_image_id)
        self.assertIn(left, self.orphans())

    def test_an_operator_lets_us_remove_it(self) -> None:
        with self.administrator():
            job_id = self._lose_amid_the_copy("service")
            self.assert_failed(job_id, "destination_access_lost")
            self.wait_until(
                lambda: not self.left_in(self.asker.destination), "no copy"
            )

    def _check_key(self, name: str) -> None:
        """Name a key in the copy, which Glance would delete with it."""
        with self.administrator():
            job_id = self._lose_amid_the_copy("service", **{name: "a key"})
            self.assert_failed(job_id, "destination_access_lost")
            self.wait_for_log(
                self.worker, f"it names an encryption key, in {name}"
            )
        (left,) = self.left_in(self.asker.destination)
        self.assertEqual(left, self.job_row(job_id).reserved_image_id)

    def test_a_copy_that_names_a_key_of_cinder_s_stays(self) -> None:
        self._check_key("cinder_encryption_key_id")

    def test_a_copy_that_names_a_key_of_an_image_stays(self) -> None:
        self._check_key("os_encrypt_key_id")


class TestGivenBack(base.RightsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.asker = self.new_asker()
        image = self.images_of(self.asker).create()
        self.job_id = self.ask(self.asker, image["id"])

    def test_a_role_is_given_back(self) -> None:
        self.take_role(self.asker, self.asker.destination)
        self.start_worker()
        self.assert_failed(self.job_id, "destination_access_lost")
        self.cloud.identity.grant(
            self.cloud.user(self.asker.name).id,
            self.cloud.project_id(self.asker.destination),
            "member",
        )
        self.retry_as(self.asker, self.job_id)
        self.assert_copied(self.job_id)

    def test_trusts_that_were_revoked_are_made_anew(self) -> None:
        service_id = self.cloud.user(services.SERVICE_USER).id
        trusts = self.trusts(self.asker)
        self.assertEqual(
            [service_id] * 2,
            [trust["trustee_user_id"] for trust in trusts.values()],
        )
        for project_id, trust in trusts.items():
            self.assertFalse(trust["impersonation"])
            self.revoke_trust(self.asker, project_id)
        self.start_worker()
        message = self.assert_failed(self.job_id, "source_access_lost")
        self.assertIn("trust", message)
        self.retry_as(self.asker, self.job_id)
        self.assert_copied(self.job_id)
