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

"""Version 1.2 on the real cloud: many destinations, and what they become."""

import datetime
from typing import Any

import sqlalchemy as sa
from oslo_utils import uuidutils

from image_replicator.db import models
from image_replicator.tests.functional.cloud import api_base


class OrderTestCase(api_base.ApiTestCase):
    def order(
        self,
        image_id: str,
        *destinations: Any,
        user: str = "alice",
        **values: Any,
    ) -> Any:
        """Ask for copies, and return the jobs of the answer.

        :param destinations: names of projects, or whole ones
        """
        body = {
            "image_id": image_id,
            "destinations": [
                {"tenant_id": self.cloud.project_id(each)}
                if isinstance(each, str)
                else each
                for each in destinations
            ],
            **values,
        }
        reply = self.request_1_2("POST", "/jobs", json=body, user=user)
        self.assertEqual(202, reply.status_code, reply.text)
        return reply.json()["jobs"]

    def show(self, job_id: str) -> Any:
        """Return a job as version 1.2 shows it."""
        return self.request_1_2("GET", f"/jobs/{job_id}").json()

    def end(self, job_id: str) -> Any:
        """Wait until a job is over, and return it."""
        self.wait_for(job_id, "replicated", "error", "canceled")
        return self.show(job_id)


class TestOrders(OrderTestCase):
    def test_a_golden_image_goes_to_many_places(self) -> None:
        image = self.cloud.images("ot1").create(name="golden")
        jobs = self.order(
            image["id"],
            "destination",
            {
                "tenant_id": self.cloud.project_id("destination"),
                "region_id": "ot1",
                "name": "here",
            },
            "source",
        )
        # Uploads at once may fail on Glance's SQLite.
        self.start_worker(worker={"concurrency": 1})
        source = {"region_id": "ot1", "image_id": image["id"]}
        nearest = {"ot1": source, "ot2": source}
        for job, (region, project, name) in zip(
            jobs,
            (
                ("ot2", "destination", "golden"),
                ("ot1", "destination", "here"),
                ("ot2", "source", "golden"),
            ),
            strict=True,
        ):
            ended = self.end(job["job_id"])
            self.assertEqual("replicated", ended["status"], ended["error"])
            self.assertEqual(region, ended["destination_region_id"])
            copy = self.cloud.images(region, "alice", project).get(
                ended["destination_image_id"]
            )
            self.assertEqual(name, copy["name"])
            self.assertEqual(nearest[region], ended["read_from"])
            # The next copy to this region is read from this one.
            if region == "ot2":
                nearest[region] = {"region_id": region, "image_id": copy["id"]}

    def test_older_versions_show_what_they_always_did(self) -> None:
        image = self.cloud.images("ot1").create()
        (job,) = self.order(image["id"], "destination", priority="background")
        first = self.job(job["job_id"])
        second = self.job_1_1(job["job_id"])
        third = self.show(job["job_id"])
        self.assertEqual((10, 22, 27), (len(first), len(second), len(third)))
        self.assertEqual(
            {
                "priority",
                "read_from",
                "retry_at",
                "skipped",
                "waiting_for",
            },
            set(third) - set(second),
        )

    def test_when_the_next_attempt_begins(self) -> None:
        relay = self.relay("ot2")
        relay.refuse()
        self.start_worker(
            worker={
                "max_attempts": 9,
                "retry_delay": 30,
                "retry_max_delay": 60,
            }
        )
        image = self.cloud.images("ot1").create()
        (job,) = self.order(image["id"], "destination")

        def shown_with_time() -> Any:
            shown = self.show(job["job_id"])
            return shown if shown["retry_at"] else None

        shown = self.wait_until(shown_with_time, "a time of another attempt")
        wait = datetime.datetime.fromisoformat(
            shown["retry_at"]
        ) - datetime.datetime.fromisoformat(shown["updated_at"])
        self.assertGreater(wait.total_seconds(), 10)


class TestPriorities(OrderTestCase):
    def test_what_somebody_waits_for_is_done_first(self) -> None:
        images = self.cloud.images("ot1")
        late, later = (
            self.order(
                images.create()["id"], "destination", priority="background"
            )[0]["job_id"]
            for _each in range(2)
        )
        first = self.ask_for_copy(images.create()["id"])
        self.start_worker(worker={"concurrency": 1})
        ends = [
            self.end(job_id)["finished_at"] for job_id in (first, late, later)
        ]
        self.assertEqual(sorted(ends), ends)
        started = [
            self.show(job_id)["started_at"] for job_id in (first, late, later)
        ]
        self.assertEqual(sorted(started), started)

    def test_patience_ends(self) -> None:
        images = self.cloud.images("ot1")
        (job,) = self.order(
            images.create()["id"], "destination", priority="background"
        )
        worker = {
            "background_patience": 0.4,
            # It serves another region, so the job stays in the queue.
            "destination_regions": "ot1",
        }
        self.start_worker(worker=worker)
        self.wait_until(
            lambda: self.job_row(job["job_id"]).tier == 0, "an impatient job"
        )
        self.assertEqual("background", self.show(job["job_id"])["priority"])


class TestPresent(OrderTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.data = uuidutils.generate_uuid().encode()
        self.image = self.cloud.images("ot1").create(self.data)
        self.there = self.cloud.images("ot2", "alice", "destination")
        self.before = set(self.images_in("ot2"))

    def test_a_copy_is_skipped_at_once(self) -> None:
        copied = self.order(self.image["id"], "destination")[0]["job_id"]
        self.start_worker()
        copy = self.end(copied)["destination_image_id"]
        (job,) = self.order(self.image["id"], "destination", if_present="skip")
        shown = self.show(job["job_id"])
        self.assertEqual("replicated", shown["status"])
        self.assertTrue(shown["skipped"])
        self.assertEqual(copy, shown["destination_image_id"])
        digest = self.image["os_hash_value"]
        self.assertEqual(
            {"algorithm": "sha512", "source": digest, "destination": digest},
            shown["verification"],
        )
        self.assertIsNone(shown["read_from"])
        self.assertEqual(self.before | {copy}, set(self.images_in("ot2")))

    def test_the_worker_looks_once_more(self) -> None:
        (job,) = self.order(self.image["id"], "destination", if_present="skip")
        self.assertFalse(self.show(job["job_id"])["skipped"])
        copy = self.there.create(self.data)["id"]
        self.start_worker()
        shown = self.end(job["job_id"])
        self.assertEqual("replicated", shown["status"], shown["error"])
        self.assertTrue(shown["skipped"])
        self.assertEqual(copy, shown["destination_image_id"])
        self.assertEqual(100, shown["copy_progress"])
        self.assertEqual(self.before | {copy}, set(self.images_in("ot2")))

    def test_an_earlier_attempt_s_image_is_not_the_tenant_s(self) -> None:
        """A worker that died after its copy leaves a whole image."""
        (job,) = self.order(self.image["id"], "destination", if_present="skip")
        left = self.there.create(self.data)["id"]
        with self.database() as connection:
            connection.execute(
                sa.update(models.Job)
                .where(models.Job.id == job["job_id"])
                .values(reserved_image_id=left, destination_image_id=left)
            )
        self.start_worker()
        shown = self.end(job["job_id"])
        self.assertEqual("replicated", shown["status"], shown["error"])
        self.assertFalse(shown["skipped"])
        self.assertNotEqual(left, shown["destination_image_id"])
        self.assertNotIn(left, self.images_in("ot2"))


class TestFilters(OrderTestCase):
    def _listed(self, **query: Any) -> list[str]:
        reply = self.request_1_2("GET", "/jobs", params=query)
        self.assertEqual(200, reply.status_code, reply.text)
        return [job["job_id"] for job in reply.json()]

    def test_by_statuses_and_times(self) -> None:
        images = self.cloud.images("ot1")
        first, second = (
            self.ask_for_copy(images.create()["id"]) for _each in range(2)
        )
        self.cancel(first)
        hour = datetime.timedelta(hours=1)
        with self.database() as connection:
            connection.execute(
                sa.update(models.Job)
                .where(models.Job.id == first)
                .values(created_at=models.Job.updated_at)
            )
        now = datetime.datetime.now(datetime.UTC)
        past, future = (
            f"{moment.isoformat()}" for moment in (now - hour, now + hour)
        )
        for query, expected in (
            ({"status": "in:cancel_requested,canceled"}, {first}),
            (
                {"status": "in:cancel_requested,replicate_requested"},
                {first, second},
            ),
            ({"created_at": f"gt:{past}"}, {first, second}),
            ({"created_at": f"lt:{past}"}, set()),
            (
                {"created_at": [f"gte:{past}", f"lte:{future}"]},
                {first, second},
            ),
            ({"updated_at": f"gt:{future}"}, set()),
            ({"finished_at": f"lt:{future}"}, set()),
            (
                {"created_at": f"gt:{past}", "status": "cancel_requested"},
                {first},
            ),
        ):
            self.assertEqual(expected, set(self._listed(**query)), str(query))

    def test_pages_keep_the_range(self) -> None:
        images = self.cloud.images("ot1")
        ids = [self.ask_for_copy(images.create()["id"]) for _each in range(3)]
        past = "2020-01-01T00:00:00+00:00"
        future = "2100-01-01T00:00:00Z"
        reply = self.request_1_2(
            "GET",
            "/jobs",
            params={
                "created_at": [f"gt:{past}", f"lt:{future}"],
                "limit": 2,
            },
        )
        link = reply.headers["Link"]
        path = link.partition("<")[2].partition(">")[0].partition("/jobs")[2]
        following = self.request_1_2("GET", f"/jobs{path}")
        self.assertEqual(200, following.status_code, following.text)
        found = [job["job_id"] for job in reply.json() + following.json()]
        self.assertEqual(ids[::-1], found)
        self.assertNotIn("Link", following.headers)
