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

"""Limits, policies and reserved properties, which the user's rights meet.

Each is tried with a user who is stopped and with one who is not.
"""

from typing import Any

from devcloud import guarded
from image_replicator.tests.functional.rights import base

_MEBIBYTE = 1 << 20


class GuardTestCase(base.RightsTestCase):
    """A test of what a Glance refuses."""

    def copy_of(self, asker: base.Asker, **properties: Any) -> str:
        """Create an image of an asker, and request a copy.

        :returns: the job's id
        """
        image = self.images_of(asker).create(**properties)
        return self.ask(asker, image["id"])

    def assert_refused(self, job_id: str, code: str, *words: str) -> None:
        """Check a job's error, and words of its message."""
        message = self.assert_failed(job_id, code)
        for word in words:
            self.assertIn(word, message)


class TestQuotas(GuardTestCase):
    def test_the_number_of_images_by_keystone_s_limits(self) -> None:
        asker, free = self.new_asker(), self.new_asker()
        self.cloud.limit(asker.destination, image_count_total=1)
        there = self.images_of(asker, at_destination=True).create()
        job_id, free_job_id = self.copy_of(asker), self.copy_of(free)
        self.start_worker()
        self.assert_refused(
            job_id,
            "destination_quota_exceeded",
            "the limit of image_count_total is 1, 1 are in use",
            self.cloud.project_id(asker.destination),
        )
        self.assertEqual(
            {there["id"]: "active"}, self.left_in(asker.destination)
        )
        self.assert_copied(free_job_id)

    def test_bytes_by_keystone_s_limits(self) -> None:
        asker = self.new_asker()
        self.cloud.limit(asker.destination, image_size_total=1)
        sources = self.images_of(asker)
        large, small = (
            self.ask(asker, sources.create(bytes(size))["id"])
            for size in (2 * _MEBIBYTE, _MEBIBYTE)
        )
        self.start_worker()
        self.assert_refused(
            large,
            "destination_quota_exceeded",
            "the limit of image_size_total is 1",
            "2 more are asked for",
            self.cloud.project_id(asker.destination),
        )
        copy = self.assert_copied(small)
        self.assertEqual(
            {copy["id"]: "active"}, self.left_in(asker.destination)
        )

    def test_bytes_by_glance_s_own_quota(self) -> None:
        """A copy from ot2 to ot1, whose Glance has such a quota."""
        asker = self.new_asker()
        left = 2 * _MEBIBYTE
        self.cloud.images("ot1", asker.name, asker.destination).create(
            bytes(guarded.STORAGE_QUOTA - left)
        )
        sources = self.cloud.images("ot2", asker.name, asker.source)
        self.start_worker(region="ot1")
        large = sources.create(bytes(left + 1))["id"]
        self.assert_refused(
            self.ask(asker, large, region="ot2"),
            "destination_quota_exceeded",
            f"{left} bytes are left",
        )
        small = sources.create(b"small")["id"]
        job = self.end(self.ask(asker, small, region="ot2"))
        self.assertEqual("replicated", job["status"])
        images = self.left_in(asker.destination, "ot1")
        self.assertEqual(["active"] * 2, list(images.values()))


class TestPolicies(GuardTestCase):
    """A role at one side takes an operation from the user."""

    def test_who_may_not_download_is_refused_at_once(self) -> None:
        role = guarded.FORBIDDING["download_image"]
        asker = self.new_asker(at_source=("member", role))
        image = self.images_of(asker).create()
        reply = self.request(
            "POST",
            "/jobs",
            json={
                "image_id": image["id"],
                "tenant_id_dst": self.cloud.project_id(asker.destination),
            },
            user=asker.name,
            project=asker.source,
        )
        self.assertEqual(403, reply.status_code, reply.text)
        self.assertIn("download", reply.text)

    def test_who_may_not_add_or_upload(self) -> None:
        download, *others = guarded.FORBIDDING.values()
        askers = [
            self.new_asker(at_destination=("member", role)) for role in others
        ]
        # Nothing is downloaded from the destination, and added at the source.
        free = self.new_asker(
            at_source=("member", *others), at_destination=("member", download)
        )
        image = self.cloud.images("ot1").create(visibility="community")
        jobs = [self.ask(asker, image["id"]) for asker in (*askers, free)]
        self.start_worker()
        for asker, job_id in zip(askers, jobs, strict=False):
            self.assert_refused(job_id, "destination_forbidden")
            self.assertEqual({}, self.left_in(asker.destination))
        self.assert_copied(jobs[-1])


class TestProperties(GuardTestCase):
    def test_what_the_user_may_not_see_stays_behind(self) -> None:
        asker = self.new_asker()
        image = self.images_of(asker).create(plain="seen")
        self.cloud.images("ot1", "admin", "admin").update(
            image["id"], secret_code="1234"
        )
        self.assertNotIn("secret_code", self.images_of(asker).get(image["id"]))
        job_id = self.ask(asker, image["id"])
        self.start_worker()
        copy = self.assert_copied(job_id)
        self.assertEqual("seen", copy["plain"])
        self.assertNotIn("secret_code", copy)

    def test_what_the_user_may_not_set_is_refused(self) -> None:
        paying = ("member", guarded.PAYING)
        asker = self.new_asker(at_source=paying)
        payer = self.new_asker(at_source=paying, at_destination=paying)
        job_id = self.copy_of(asker, paid_tier="gold")
        paid_job_id = self.copy_of(payer, paid_tier="gold")
        self.start_worker()
        self.assert_refused(
            job_id, "destination_forbidden", "paid_tier", "other roles"
        )
        self.assertEqual({}, self.left_in(asker.destination))
        self.assertEqual("gold", self.assert_copied(paid_job_id)["paid_tier"])
