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

"""One image to several projects of a far region, on the real cloud."""

from typing import Any

from devcloud import proxy
from image_replicator.tests.functional.cloud import base
from image_replicator.tests.functional.cloud import test_api_v1_2

USER = "everywhere"
PROJECTS = ("near-1", "near-2", "near-3")
DATA = base.DATA


class NearestTestCase(test_api_v1_2.OrderTestCase):
    """A test with a user of several projects, and a link to ``ot1``."""

    def setUp(self) -> None:
        super().setUp()
        try:
            self.cloud.user(USER)
        except KeyError:
            for name in PROJECTS:
                self.cloud.create_project(name)
            roles = dict.fromkeys((*PROJECTS, "source"), "member")
            self.cloud.create_user(USER, roles)
        self.link = self.relay("ot1")
        self.image = self.cloud.images("ot1").create(DATA, name="golden")

    def ask(self, *projects: str) -> list[str]:
        """Ask for copies as the user; return the jobs."""
        jobs = self.order(self.image["id"], *projects, user=USER)
        return [job["job_id"] for job in jobs]

    def start(self, **transfer: Any) -> Any:
        # Uploads at once may fail on Glance's SQLite.
        return self.start_worker(
            worker={
                "concurrency": 2,
                # All jobs are asked for by one tenant.
                "max_copies_per_tenant": 2,
                "max_attempts": 5,
                "lease_time": 5,
            },
            transfer=transfer,
        )

    def replicated(self, *job_ids: str) -> list[Any]:
        """Wait until jobs are replicated, and check their images."""
        ended = [self.end(job_id) for job_id in job_ids]
        for job in ended:
            self.assertEqual("replicated", job["status"], job["error"])
            (project,) = (
                name
                for name in PROJECTS
                if self.cloud.project_id(name) == job["destination_tenant_id"]
            )
            copies = self.cloud.images("ot2", USER, project)
            image_id = job["destination_image_id"]
            self.assertTrue(copies.read(image_id) == DATA)
            self.assertEqual("golden", copies.get(image_id)["name"])
        return ended

    def read_from(self, job: Any) -> tuple[str, str]:
        return job["read_from"]["region_id"], job["read_from"]["image_id"]

    def carried(self) -> int:
        """Return the bytes that came from ``ot1``."""
        return self.link.passed(proxy.Direction.DOWNLOAD)


class TestNearest(NearestTestCase):
    def test_the_bytes_cross_the_link_once(self) -> None:
        jobs = self.ask(*PROJECTS)
        self.start()
        first, *others = sorted(
            self.replicated(*jobs), key=lambda job: job["finished_at"]
        )
        self.assertEqual(("ot1", self.image["id"]), self.read_from(first))
        done = {
            ("ot2", job["destination_image_id"]) for job in (first, *others)
        }
        for job in others:
            self.assertIn(self.read_from(job), done)
        self.assertLess(self.carried(), 1.1 * len(DATA))

    def test_the_others_can_be_seen_to_wait(self) -> None:
        self.link.hold_after(len(DATA) // 2)
        jobs = self.ask(*PROJECTS[:2])
        self.start()
        self.assertTrue(self.link.wait_until_held())
        waiting = self.wait_until(
            lambda: next(
                (job for job in map(self.show, jobs) if job["waiting_for"]),
                None,
            ),
            "a job that waits",
        )
        (first,) = set(jobs) - {waiting["job_id"]}
        self.assertEqual(
            (first, "replicate_requested", 0),
            (waiting["waiting_for"], waiting["status"], waiting["attempts"]),
        )
        self.link.release()
        for job in self.replicated(*jobs):
            self.assertIsNone(job["waiting_for"])

    def test_the_one_that_is_waited_for_is_canceled(self) -> None:
        self.link.hold_after(len(DATA) // 2)
        first, second = self.ask(*PROJECTS[:2])
        self.start()
        self.assertTrue(self.link.wait_until_held())
        waited = self.wait_until(
            lambda: next(
                filter(
                    None,
                    (self.show(job)["waiting_for"] for job in (first, second)),
                ),
                None,
            ),
            "a job that waits",
        )
        self.link.release()
        self.cancel(waited, user=USER)
        (other,) = {first, second} - {waited}
        self.replicated(other)

    def test_the_worker_of_the_one_that_is_waited_for_dies(self) -> None:
        self.link.hold_after(len(DATA) // 2)
        jobs = self.ask(*PROJECTS[:2])
        worker = self.start()
        self.assertTrue(self.link.wait_until_held())
        self.wait_until(
            lambda: any(self.show(job)["waiting_for"] for job in jobs),
            "a job that waits",
        )
        worker.kill()
        self.link.release()
        self.start()
        first, second = sorted(
            self.replicated(*jobs), key=lambda job: job["finished_at"]
        )
        self.assertEqual("ot1", self.read_from(first)[0])
        self.assertEqual("ot2", self.read_from(second)[0])

    def test_one_that_is_stuck_is_left_at_the_missing_byte(self) -> None:
        near = self.relay("ot2")
        (first,) = self.ask(PROJECTS[0])
        self.start()
        self.replicated(first)
        before = self.carried()
        near.hold_after(len(DATA) // 2)
        (second,) = self.ask(PROJECTS[1])
        self.assertTrue(near.wait_until_held())
        self.wait_until(
            lambda: self.read_from(self.show(second))[0] == "ot1",
            "another image that is read",
        )
        near.release()
        (job,) = self.replicated(second)
        self.assertEqual(1, job["attempts"])
        self.assertLess(self.carried() - before, 0.9 * len(DATA))

    def test_without_the_right_to_it_it_is_not_read(self) -> None:
        (first,) = self.ask(PROJECTS[0])
        self.start()
        self.replicated(first)
        # Another user has a copy made, who has no role in that project.
        before = self.carried()
        job = self.end(self.ask_for_copy(self.image["id"]))
        self.assertEqual(("ot1", self.image["id"]), self.read_from(job))
        self.assertGreater(self.carried() - before, len(DATA))

    def test_the_role_was_lost_since(self) -> None:
        (first,) = self.ask(PROJECTS[2])
        self.start()
        self.replicated(first)
        user, project = self.cloud.user(USER), PROJECTS[2]
        identity = self.cloud.identity
        project_id = self.cloud.project_id(project)
        identity.revoke(user.id, project_id, "member")
        self.addCleanup(identity.grant, user.id, project_id, "member")
        (second,) = self.ask(PROJECTS[1])
        (job,) = self.replicated(second)
        self.assertEqual(1, job["attempts"])
        self.assertEqual(("ot1", self.image["id"]), self.read_from(job))

    def test_a_dry_run_tells(self) -> None:
        (first,) = self.ask(PROJECTS[0])
        self.start()
        (done,) = self.replicated(first)
        body = {
            "image_id": self.image["id"],
            "destinations": [
                {"tenant_id": self.cloud.project_id(PROJECTS[1])}
            ],
        }
        reply = self.request_1_2(
            "POST", "/jobs?dry_run=true", json=body, user=USER
        )
        (plan,) = reply.json()["plan"]
        self.assertEqual(
            ("ot2", done["destination_image_id"]), self.read_from(plan)
        )
