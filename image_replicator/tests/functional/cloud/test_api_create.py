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

"""Requests for copies: images, regions and duplicates."""

import collections
import json
from typing import Any

from glance.policies.image import list_rules as glance_rules
from oslo_utils import uuidutils

from image_replicator.tests.functional.cloud import api_base


class TestSourceImage(api_base.ApiTestCase):
    def create(self, data: bytes | None = b"data", **properties: Any) -> str:
        image = self.cloud.images("ot1").create(data, **properties)
        image_id: str = image["id"]
        return image_id

    def test_body_in_chunks_is_read(self) -> None:
        body = json.dumps(
            {
                "image_id": self.create(),
                "tenant_id_dst": self.cloud.project_id("destination"),
            }
        ).encode()
        # requests sends a body without a length in chunks.
        chunks = iter([body[:10], body[10:]])
        token = self.cloud.token()
        reply = self.send("POST", token=token, data=chunks)
        self.assertEqual(202, reply.status_code, reply.text)

    def test_links_do_not_take_the_host_of_the_request(self) -> None:
        """Glance's middleware would add it to a path."""
        host = {"Host": "evil.example.com", "X-Forwarded-Host": "evil.too"}
        token = self.cloud.token()
        versions = self.send(path="", token=token, headers=host)
        self.assertEqual(
            [{"rel": "self", "href": "/v2/extension/image_replicator"}],
            versions.json()["versions"][0]["links"],
        )
        body = {
            "image_id": self.create(),
            "tenant_id_dst": self.cloud.project_id("destination"),
        }
        reply = self.send("POST", token=token, headers=host, json=body)
        self.assertEqual(
            f"{self.cloud.endpoint('ot1')}/v2/extension/image_replicator"
            f"/jobs/{reply.json()['job_id']}",
            reply.headers["Location"],
        )

    def test_job_is_as_the_request_says(self) -> None:
        image_id = self.create(name="cirros")
        reply = self.copy(image_id)
        self.assertEqual(202, reply.status_code, reply.text)
        job_id = reply.json()["job_id"]
        self.assertEqual(
            f"{self.cloud.endpoint('ot1')}/v2/extension/image_replicator"
            f"/jobs/{job_id}",
            reply.headers["Location"],
        )
        self.assertEqual(
            {
                "copy_progress": 0,
                "destination_image_id": None,
                "destination_region_id": "ot2",
                "destination_tenant_id": self.cloud.project_id("destination"),
                "job_id": job_id,
                "source_image_id": image_id,
                "source_image_name": "cirros",
                "source_region_id": "ot1",
                "source_tenant_id": self.cloud.project_id("source"),
                "status": "replicate_requested",
            },
            self.job(job_id),
        )

    def test_image_with_a_name_of_many_scripts(self) -> None:
        name = "Убунту ☃ 'q' \"qq\" \\ %s" + "x" * 200
        reply = self.copy(self.create(name=name))
        job = self.job(reply.json()["job_id"])
        self.assertEqual(name, job["source_image_name"])

    def test_image_that_does_not_exist(self) -> None:
        image_id = uuidutils.generate_uuid()
        self.assert_error(404, self.copy(image_id), image_id)

    def test_image_that_was_deleted(self) -> None:
        image_id = self.create()
        self.cloud.images("ot1").delete(image_id)
        self.assert_error(404, self.copy(image_id), image_id)

    def test_image_of_another_tenant(self) -> None:
        images = self.cloud.images("ot1", "alice", "destination")
        private = images.create()["id"]
        self.assert_error(404, self.copy(private), private)
        self.assertEqual(0, self.count_jobs())

    def test_image_that_another_tenant_shows_to_all(self) -> None:
        images = self.cloud.images("ot1", "alice", "destination")
        community = images.create(visibility="community")["id"]
        reply = self.copy(community)
        self.assertEqual(202, reply.status_code, reply.text)
        job = self.job(reply.json()["job_id"])
        self.assertEqual(
            self.cloud.project_id("source"), job["source_tenant_id"]
        )

    def test_image_of_the_other_region(self) -> None:
        image_id = self.cloud.images("ot2").create()["id"]
        self.assert_error(404, self.copy(image_id))

    def test_image_without_data(self) -> None:
        self.assert_error(409, self.copy(self.create(None)), "queued")

    def test_image_that_was_deactivated(self) -> None:
        image_id = self.create()
        self.cloud.image_client("ot1", "admin", "admin").post(
            f"/v2/images/{image_id}/actions/deactivate"
        )
        self.assert_error(409, self.copy(image_id), "deactivated")

    def test_image_with_a_property_that_cannot_travel(self) -> None:
        for name in ("kernel_id", "ramdisk_id", "cinder_encryption_key_id"):
            value = uuidutils.generate_uuid()
            image_id = self.create(b"data", **{name: value})
            self.assert_error(409, self.copy(image_id), name)

    def test_image_that_may_not_be_downloaded(self) -> None:
        """Glance's policy is checked at each request."""
        image_id = self.create(name="secret")
        self.addCleanup(self.let_download, _default_rule("download_image"))
        self.let_download("!")
        self.assert_error(403, self.copy(image_id), "download")
        self.assertEqual(0, self.count_jobs())
        self.let_download("role:member")
        self.assertEqual(202, self.copy(image_id).status_code)

    def let_download(self, rule: str) -> None:
        """Change the rule in the policy file, which Glance reads again."""
        directory = self.cloud.glances["ot1"].directory
        rules = json.dumps({"download_image": rule})
        (directory / "policy.yaml").write_text(rules)


def _default_rule(name: str) -> str:
    """Return the default of a rule of Glance."""
    (rule,) = (rule for rule in glance_rules() if rule.name == name)
    default: str = rule.check_str
    return default


class TestRegion(api_base.ApiTestCase):
    """The destination region of a copy."""

    def setUp(self) -> None:
        super().setUp()
        self.image_id = self.cloud.images("ot1").create()["id"]

    def region_of(self, reply: Any) -> str:
        self.assertEqual(202, reply.status_code, reply.text)
        region: str = self.job(reply.json()["job_id"])["destination_region_id"]
        return region

    def test_only_other_region_without_a_tag(self) -> None:
        self.assertEqual("ot2", self.region_of(self.copy(self.image_id)))

    def test_region_of_the_tag(self) -> None:
        for region in ("ot1", "ot2"):
            tenant = self.new_project(tags=["other", f"region:{region}"])
            reply = self.copy(self.image_id, tenant)
            self.assertEqual(region, self.region_of(reply))

    def test_tag_with_a_region_that_offers_no_images(self) -> None:
        tenant = self.new_project(tags=["region:nowhere"])
        self.assert_error(409, self.copy(self.image_id, tenant), "nowhere")

    def test_more_than_one_tag(self) -> None:
        tenant = self.new_project(tags=["region:ot1", "region:ot2"])
        self.assert_error(
            409, self.copy(self.image_id, tenant), "more than one region tag"
        )

    def test_image_is_there_already(self) -> None:
        tenant = self.new_project(tags=["region:ot1"])
        images = self.cloud.images("ot1", "alice", tenant)
        image_id = images.create()["id"]
        reply = self.copy(image_id, tenant, project=tenant)
        self.assert_error(400, reply, "already")
        self.assertEqual(0, self.count_jobs())

    def test_same_tenant_in_another_region(self) -> None:
        reply = self.copy(self.image_id, "source")
        self.assertEqual("ot2", self.region_of(reply))

    def test_region_that_is_down(self) -> None:
        self.take_down("ot2")
        self.assert_error(409, self.copy(self.image_id), "ot2", "try again")
        self.assertEqual(0, self.count_jobs())
        # The quota does not matter within one region.
        tenant = self.new_project(tags=["region:ot1"])
        reply = self.copy(self.image_id, tenant)
        self.assertEqual("ot1", self.region_of(reply))


class TestDouble(api_base.ApiTestCase):
    """Only one active job may make the same copy."""

    def test_many_ask_at_once_and_one_is_served(self) -> None:
        image_id = self.cloud.images("ot1").create()["id"]
        self.cloud.token()
        replies = self.at_once(lambda number: self.copy(image_id))
        statuses = collections.Counter(reply.status_code for reply in replies)
        self.assertEqual({202: 1, 409: api_base.CROWD - 1}, statuses)
        for reply in replies:
            if reply.status_code == 409:
                self.assert_error(409, reply, "already under way")
        self.assertEqual(1, self.count_jobs())

    def test_the_same_image_goes_to_many_tenants_at_once(self) -> None:
        image_id = self.cloud.images("ot1").create()["id"]
        tenants = [self.new_project() for _ in range(4)]
        replies = self.at_once(
            lambda number: self.copy(image_id, tenants[number]), 4
        )
        self.assertEqual([202] * 4, [r.status_code for r in replies])


class TestCancel(api_base.ApiTestCase):
    def test_waiting_job(self) -> None:
        image_id = self.cloud.images("ot1").create()["id"]
        job_id = self.ask_for_copy(image_id)
        reply = self.cancel(job_id)
        self.assertEqual(204, reply.status_code, reply.text)
        self.assertEqual(b"", reply.content)
        self.assertNotIn("Content-Type", reply.headers)
        self.assertEqual("cancel_requested", self.job(job_id)["status"])
        self.assert_error(409, self.cancel(job_id), "cancel_requested")

    def test_many_cancel_at_once_and_one_is_served(self) -> None:
        (job_id,) = self.add_jobs({})
        self.cloud.token()
        replies = self.at_once(lambda number: self.cancel(job_id))
        statuses = collections.Counter(reply.status_code for reply in replies)
        self.assertEqual({204: 1, 409: api_base.CROWD - 1}, statuses)
