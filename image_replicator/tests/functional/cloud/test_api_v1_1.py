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

"""Version 1.1: the keys of a job, and the new operations."""

import datetime
from typing import Any
from typing import Final

from devcloud import proxy
from image_replicator.tests.functional.cloud import api_base

#: More bytes than all buffers between worker and Glance can hold.
DATA: Final = bytes(range(256)) * 65536

_KEYS_1_0: Final = {
    "copy_progress",
    "destination_image_id",
    "destination_region_id",
    "destination_tenant_id",
    "job_id",
    "source_image_id",
    "source_image_name",
    "source_region_id",
    "source_tenant_id",
    "status",
}


class ShownTestCase(api_base.ApiTestCase):
    def show(self, job_id: str) -> dict[str, Any]:
        """Return a job, after a check that it has all keys of version 1.0."""
        job = self.job_1_1(job_id)
        self.assertEqual(22, len(job))
        self.assertLessEqual(_KEYS_1_0, set(job))
        return job

    def assert_in_order(self, job: dict[str, Any], *names: str) -> None:
        """Check that the times of a job are in order."""
        times = [datetime.datetime.fromisoformat(job[n]) for n in names]
        self.assertEqual(sorted(times), times)
        for time in times:
            self.assertEqual(datetime.UTC, time.tzinfo)

    def assert_shows(self, expected: dict[str, Any], job: Any) -> None:
        self.assertEqual(expected, {key: job[key] for key in expected})


class TestShown(ShownTestCase):
    def test_jobs_that_wait(self) -> None:
        images = self.cloud.images("ot1")
        first, second = (
            self.ask_for_copy(images.create(b"12345")["id"]) for _ in range(2)
        )
        for place, job_id in enumerate((first, second), 1):
            job = self.show(job_id)
            self.assert_shows(
                {
                    "attempts": 0,
                    "bytes_copied": 0,
                    "bytes_per_second": None,
                    "error": None,
                    "eta_seconds": None,
                    "finished_at": None,
                    "image_size": 5,
                    "queue_position": place,
                    "started_at": None,
                    "status": "replicate_requested",
                    "verification": None,
                },
                job,
            )
            self.assert_in_order(job, "created_at", "updated_at")
        listed = self.request_1_1("GET", "/jobs").json()
        self.assertEqual([self.show(second), self.show(first)], listed)

    def test_job_that_runs(self) -> None:
        relay = self.relay("ot2")
        relay.throttle(1_000_000, proxy.Direction.UPLOAD)
        self.start_worker()
        image = self.cloud.images("ot1").create(DATA)
        job_id = self.ask_for_copy(image["id"])

        def shown_with_its_rate() -> dict[str, Any] | None:
            job = self.show(job_id)
            return job if job["eta_seconds"] is not None else None

        job = self.wait_until(shown_with_its_rate, "a job with a known rate")
        relay.throttle(None)
        left = len(DATA) - job["bytes_copied"]
        self.assertEqual(
            -(-left // job["bytes_per_second"]), job["eta_seconds"]
        )
        self.assert_shows(
            {
                "attempts": 1,
                "error": None,
                "finished_at": None,
                "image_size": len(DATA),
                "queue_position": None,
                "status": "replicating",
                "verification": None,
            },
            job,
        )
        self.assert_in_order(job, "created_at", "started_at", "updated_at")

    def test_job_that_is_done(self) -> None:
        self.start_worker()
        image = self.cloud.images("ot1").create(DATA)
        job_id = self.ask_for_copy(image["id"])
        self.wait_for(job_id, "replicated", "error")
        job = self.show(job_id)
        self.assert_shows(
            {
                "attempts": 1,
                "bytes_copied": len(DATA),
                "copy_progress": 100,
                "error": None,
                "eta_seconds": None,
                "image_size": len(DATA),
                "queue_position": None,
                "status": "replicated",
            },
            job,
        )
        self.assertGreater(job["bytes_per_second"], 0)
        self.assert_in_order(
            job, "created_at", "started_at", "finished_at", "updated_at"
        )
        copy = self.cloud.images("ot2", "alice", "destination").get(
            job["destination_image_id"]
        )
        self.assertEqual(
            {
                "algorithm": image["os_hash_algo"],
                "source": image["os_hash_value"],
                "destination": copy["os_hash_value"],
            },
            job["verification"],
        )
        self.assertEqual(image["os_hash_algo"], copy["os_hash_algo"])

    def test_job_that_failed(self) -> None:
        images = self.cloud.images("ot1")
        image_id = images.create()["id"]
        job_id = self.ask_for_copy(image_id)
        images.delete(image_id)
        self.start_worker()
        self.wait_for(job_id, "replicated", "error")
        job = self.show(job_id)
        self.assert_shows(
            {
                "attempts": 1,
                "bytes_copied": 0,
                "bytes_per_second": None,
                "destination_image_id": None,
                "eta_seconds": None,
                "queue_position": None,
                "status": "error",
                "verification": None,
            },
            job,
        )
        self.assertEqual({"code", "message"}, set(job["error"]))
        self.assertEqual("source_not_found", job["error"]["code"])
        self.assertIn("ot1", job["error"]["message"])
        self.assert_in_order(
            job, "created_at", "started_at", "finished_at", "updated_at"
        )

    def test_job_that_waits_for_another_attempt(self) -> None:
        self.relay("ot1").refuse()
        self.start_worker(
            worker={
                "max_attempts": 9,
                "retry_delay": 1000,
                "retry_max_delay": 1000,
            }
        )
        image = self.cloud.images("ot1").create()
        job_id = self.ask_for_copy(image["id"])
        self.wait_until(
            lambda: self.show(job_id)["error"], "an attempt that failed"
        )
        job = self.show(job_id)
        self.assertEqual("source_unreachable", job["error"]["code"])
        self.assert_shows(
            {
                "attempts": 1,
                "finished_at": None,
                "queue_position": 1,
                "status": "replicate_requested",
            },
            job,
        )


class TestName(api_base.ApiTestCase):
    def test_copy_has_the_name_that_was_asked_for(self) -> None:
        self.start_worker()
        image = self.cloud.images("ot1").create(name="source")
        for tenant, name in (("destination", "Копия 'q' \\"), ("source", "")):
            reply = self.copy_1_1(image["id"], tenant, name=name)
            self.assertEqual(202, reply.status_code, reply.text)
            job = self.wait_for(reply.json()["job_id"], "replicated", "error")
            self.assertEqual("replicated", job["status"])
            self.assertEqual("source", job["source_image_name"])
            images = self.cloud.images("ot2", "alice", tenant)
            copy = images.get(job["destination_image_id"])
            self.assertEqual(name, copy["name"])

    def test_name_that_glance_does_not_take_is_refused_at_once(self) -> None:
        image_id = self.cloud.images("ot1").create(b"data")["id"]
        client = self.cloud.image_client("ot2")
        for name, status in (("\U0001f427", 400), ("\uffee", 201)):
            image = client.post(
                "/v2/images", json={"name": name}, raise_exc=False
            )
            self.assertEqual(status, image.status_code, image.text)
        reply = self.copy_1_1(image_id, name="a \U0001f427")
        self.assert_error(400, reply, "name must be")


class TestRegion(api_base.ApiTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.image_id = self.cloud.images("ot1").create()["id"]

    def test_the_requested_region_is_the_destination(self) -> None:
        for region in ("ot1", "ot2"):
            reply = self.copy_1_1(self.image_id, region_id_dst=region)
            self.assertEqual(202, reply.status_code, reply.text)
            job = self.job(reply.json()["job_id"])
            self.assertEqual(region, job["destination_region_id"])

    def test_it_comes_before_the_tag(self) -> None:
        tenant = self.new_project(tags=["region:ot1"])
        reply = self.copy_1_1(self.image_id, tenant, region_id_dst="ot2")
        job = self.job(reply.json()["job_id"])
        self.assertEqual("ot2", job["destination_region_id"])

    def test_region_that_is_not_there(self) -> None:
        for region in ("nowhere", "OT2", "ot2 ", "../ot2"):
            reply = self.copy_1_1(self.image_id, region_id_dst=region)
            self.assert_error(409, reply, region, "no image service")
        self.assertEqual(0, self.count_jobs())

    def test_image_is_there_already(self) -> None:
        reply = self.copy_1_1(self.image_id, "source", region_id_dst="ot1")
        self.assert_error(400, reply, "already")
        self.assertEqual(0, self.count_jobs())


class TestVersions(api_base.ApiTestCase):
    def test_version_1_0_is_what_it_was(self) -> None:
        """Check version 1.0 with and without a header that asks for it."""
        image_id = self.cloud.images("ot1").create()["id"]
        job_id = self.copy_1_1(image_id, name="x").json()["job_id"]
        for headers in ({}, {api_base.VERSION: "image-replicator 1.0"}):
            reply = self.request("GET", f"/jobs/{job_id}", headers=headers)
            self.assertEqual(sorted(_KEYS_1_0), list(reply.json()))
            self.assertEqual(
                "image-replicator 1.0", reply.headers[api_base.VERSION]
            )
            self.assertEqual(
                f"{api_base.VERSION}, X-Auth-Token", reply.headers["Vary"]
            )
            action = self.request(
                "POST",
                f"/jobs/{job_id}/action",
                headers=headers,
                json={"retry": {}},
            )
            self.assert_error(404, action, "nothing at this path")

    def test_keys_of_version_1_1_are_unknown_in_1_0(self) -> None:
        body = {
            "image_id": self.cloud.images("ot1").create()["id"],
            "tenant_id_dst": self.cloud.project_id("destination"),
        }
        for key in ("region_id_dst", "name"):
            reply = self.request("POST", "/jobs", json=body | {key: "ot2"})
            self.assert_error(400, reply, key, "not known here")

    def test_version_that_is_spoken_is_told(self) -> None:
        for asked, told in (("1.1", "1.1"), ("latest", "1.2")):
            headers = {api_base.VERSION: f"image-replicator {asked}"}
            reply = self.request("GET", "/jobs", headers=headers)
            self.assertEqual(200, reply.status_code)
            self.assertEqual(
                f"image-replicator {told}", reply.headers[api_base.VERSION]
            )
            self.assertEqual(
                f"{api_base.VERSION}, X-Auth-Token", reply.headers["Vary"]
            )
