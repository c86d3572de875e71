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

"""The statuses and the progress of a job."""

import datetime
from typing import Any

import testtools

from image_replicator import jobs
from image_replicator.jobs import JobStatus

#: The changes of status in the published diagram.
DIAGRAM = """
replicate_requested -> replicating
replicate_requested -> cancel_requested
replicating -> replicated
replicating -> error
replicating -> cancel_requested
replicating -> replicate_requested
cancel_requested -> canceling
canceling -> canceled
canceling -> error
canceled -> replicate_requested
error -> replicate_requested
"""


def job(**values: Any) -> jobs.Job:
    now = datetime.datetime(2024, 1, 1)
    return jobs.Job(
        **{
            "id": "1",
            "status": JobStatus.REPLICATING,
            "source_image_id": "2",
            "source_image_name": "",
            "source_region_id": "ot1",
            "source_tenant_id": "a",
            "destination_region_id": "ot2",
            "destination_tenant_id": "b",
            "image_size": 1000,
            "request_id": "req-1",
            "created_at": now,
            "updated_at": now,
            **values,
        }
    )


class TestStatus(testtools.TestCase):
    def test_the_statuses_are_the_published_ones(self) -> None:
        published = set(DIAGRAM.replace("->", " ").split())
        self.assertEqual(published, {str(status) for status in JobStatus})

    def test_the_changes_are_those_of_the_diagram_and_no_other(self) -> None:
        changes = {
            f"{before} -> {after}"
            for before, following in jobs.TRANSITIONS.items()
            for after in following
        }
        self.assertEqual(set(DIAGRAM.strip().splitlines()), changes)

    def test_every_status_says_what_follows(self) -> None:
        self.assertEqual(set(JobStatus), set(jobs.TRANSITIONS))

    def test_the_final_statuses(self) -> None:
        self.assertEqual({"replicated", "canceled", "error"}, set(jobs.FINAL))
        self.assertEqual(set(JobStatus) - jobs.FINAL, set(jobs.ACTIVE))

    def test_the_statuses_that_can_be_canceled(self) -> None:
        self.assertEqual(
            {"replicate_requested", "replicating"}, set(jobs.CANCELABLE)
        )

    def test_the_statuses_that_can_be_retried(self) -> None:
        self.assertEqual({"canceled", "error"}, set(jobs.RETRYABLE))

    def test_each_run_has_attempts_of_its_own(self) -> None:
        self.assertEqual(3, job(claim_number=3).attempts)
        again = job(claim_number=5, uncounted_claims=3)
        self.assertEqual(2, again.attempts)


class TestProgress(testtools.TestCase):
    def test_it_is_a_whole_percentage_rounded_down(self) -> None:
        for copied, percent in (
            (0, 0),
            (9, 0),
            (10, 1),
            (499, 49),
            (999, 99),
            (1000, 100),
        ):
            progress = job(bytes_copied=copied).copy_progress
            self.assertEqual(percent, progress)
            self.assertIs(int, type(progress))

    def test_it_is_exact_for_huge_images(self) -> None:
        size = 2**60
        progress = job(image_size=size, bytes_copied=size - 1).copy_progress
        self.assertEqual(99, progress)

    def test_it_is_never_over_100(self) -> None:
        self.assertEqual(100, job(bytes_copied=1001).copy_progress)

    def test_an_empty_image_is_at_0_until_it_is_replicated(self) -> None:
        for status in JobStatus:
            expected = 100 if status is JobStatus.REPLICATED else 0
            progress = job(image_size=0, status=status).copy_progress
            self.assertEqual(expected, progress)
