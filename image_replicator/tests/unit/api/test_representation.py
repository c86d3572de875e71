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

"""All keys of a job in version 1.1, in every status."""

import datetime
from typing import Any
from typing import Final

import sqlalchemy as sa

from image_replicator.jobs import JobStatus
from image_replicator.tests.unit.api import base

_NOON: Final = datetime.datetime(2026, 11, 23, 12)

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


class RepresentationTestCase(base.ApiTestCase):
    def show(self, job_id: str) -> dict[str, Any]:
        """Return a job in version 1.1; check that the list shows the same."""
        shown = self.get(f"/jobs/{job_id}", headers=base.V1_1)
        self.assertEqual(200, shown.status_int, shown.body)
        listed = self.get("/jobs", headers=base.V1_1).json
        self.assertIn(shown.json, listed)
        job: dict[str, Any] = shown.json
        return job

    def assert_shown(self, expected: dict[str, Any], **values: Any) -> None:
        """Check some keys of a job whose row has these values."""
        job = self.show(self.add_job(**values))
        self.assertEqual(expected, {key: job[key] for key in expected})


class TestKeys(RepresentationTestCase):
    def test_ten_keys_of_version_1_0_and_twelve_more(self) -> None:
        job_id = self.add_job()
        first = self.get(f"/jobs/{job_id}").json
        self.assertEqual(_KEYS_1_0, set(first))
        self.assertEqual(
            first
            | {
                "attempts": 0,
                "bytes_copied": 0,
                "bytes_per_second": None,
                "created_at": "2016-06-10T04:34:45Z",
                "error": None,
                "eta_seconds": None,
                "finished_at": None,
                "image_size": 100,
                "queue_position": 1,
                "started_at": None,
                "updated_at": "2016-06-10T04:34:45Z",
                "verification": None,
            },
            self.show(job_id),
        )

    def test_keys_are_the_same_in_every_status(self) -> None:
        keys = set(self.show(self.add_job()))
        self.assertEqual(22, len(keys))
        for status in JobStatus:
            job_id = self.add_job(status=status, active=None)
            self.assertEqual(keys, set(self.show(job_id)))


class TestTimes(RepresentationTestCase):
    def test_times_are_utc_in_whole_seconds(self) -> None:
        names = ("created_at", "updated_at", "started_at", "finished_at")
        for microsecond in (0, 1, 499_999, 999_999):
            time = _NOON.replace(microsecond=microsecond)
            self.assert_shown(
                dict.fromkeys(names, "2026-11-23T12:00:00Z"),
                active=None,
                **dict.fromkeys(names, time),
            )


class TestFigures(RepresentationTestCase):
    def test_attempts_are_those_of_this_run(self) -> None:
        self.assert_shown({"attempts": 2}, claim_number=7, uncounted_claims=5)

    def test_bytes_of_a_huge_image(self) -> None:
        figures = {
            "image_size": 2**62,
            "bytes_copied": 2**61,
            "bytes_per_second": 2**40,
        }
        self.assert_shown(figures | {"copy_progress": 50}, **figures)

    def test_time_left_is_rounded_up(self) -> None:
        for copied, rate, expected in (
            (0, 1, 100),
            (0, 100, 1),
            (1, 100, 1),
            (0, 99, 2),
            (100, 1, 0),
            (101, 1, 0),
            (0, 2**40, 1),
        ):
            self.assert_shown(
                {"eta_seconds": expected, "bytes_per_second": rate},
                status=JobStatus.REPLICATING,
                active=None,
                bytes_copied=copied,
                bytes_per_second=rate,
            )

    def test_time_left_is_not_known_without_a_rate(self) -> None:
        for rate in (None, 0):
            self.assert_shown(
                {"eta_seconds": None, "bytes_per_second": rate},
                status=JobStatus.REPLICATING,
                bytes_per_second=rate,
                active=None,
            )

    def test_only_a_running_job_has_time_left(self) -> None:
        for status in set(JobStatus) - {JobStatus.REPLICATING}:
            self.assert_shown(
                {"eta_seconds": None, "bytes_per_second": 5},
                status=status,
                bytes_per_second=5,
                active=None,
            )


class TestError(RepresentationTestCase):
    def test_why_a_job_failed(self) -> None:
        self.assert_shown(
            {"error": {"code": "source_not_found", "message": "Gone."}},
            status=JobStatus.ERROR,
            error_code="source_not_found",
            error_message="Gone.",
        )

    def test_why_a_job_waits_for_another_attempt(self) -> None:
        self.assert_shown(
            {
                "error": {"code": "source_busy", "message": "Busy."},
                "attempts": 1,
                "queue_position": 1,
            },
            claim_number=1,
            retry_at=_NOON,
            error_code="source_busy",
            error_message="Busy.",
        )


class TestVerification(RepresentationTestCase):
    def test_the_hashes_of_a_verified_copy(self) -> None:
        self.assert_shown(
            {
                "verification": {
                    "algorithm": "sha512",
                    "source": "5" * 128,
                    "destination": "d" * 128,
                }
            },
            status=JobStatus.REPLICATED,
            verification_algorithm="sha512",
            verification_source="5" * 128,
            verification_destination="d" * 128,
        )


class TestQueue(RepresentationTestCase):
    def test_places_count_from_one_in_the_order_of_turns(self) -> None:
        ids = [self.add_job(turn=turn) for turn in (3, 1, 2)]
        places = [self.show(job_id)["queue_position"] for job_id in ids]
        self.assertEqual([3, 1, 2], places)

    def test_places_count_jobs_that_the_caller_may_not_see(self) -> None:
        self.add_job(
            source_tenant_id=base.OTHER, destination_tenant_id=base.OTHER
        )
        job_id = self.add_job(turn=1)
        self.assertEqual(2, self.show(job_id)["queue_position"])

    def test_only_a_waiting_job_has_a_place(self) -> None:
        for status in set(JobStatus) - {JobStatus.REPLICATE_REQUESTED}:
            self.assert_shown(
                {"queue_position": None}, status=status, active=None
            )


class TestStatements(RepresentationTestCase):
    """The number of statements of requests that programs send often."""

    def statements(self, path: str, **kwargs: Any) -> int:
        """Return the number of statements of a request."""
        seen: list[str] = []

        def note(*args: Any) -> None:
            seen.append(args[2])

        event = (sa.Engine, "before_cursor_execute", note)
        sa.event.listen(*event)
        try:
            self.assertEqual(200, self.get(path, **kwargs).status_int)
        finally:
            sa.event.remove(*event)
        return sum("SELECT" in statement for statement in seen)

    def setUp(self) -> None:
        super().setUp()
        # The first request also reads the database's version.
        self.get("/jobs")

    def test_version_1_0_takes_one(self) -> None:
        path = f"/jobs/{self.add_job()}"
        self.assertEqual(1, self.statements(path))
        self.assertEqual(1, self.statements("/jobs"))

    def test_version_1_1_takes_one_where_nothing_waits(self) -> None:
        for status in set(JobStatus) - {JobStatus.REPLICATE_REQUESTED}:
            job_id = self.add_job(status=status, active=None)
            path = f"/jobs/{job_id}"
            self.assertEqual(1, self.statements(path, headers=base.V1_1))
        self.assertEqual(1, self.statements("/jobs", headers=base.V1_1))

    def test_places_of_all_jobs_of_a_page_take_one_more(self) -> None:
        for number in range(5):
            job_id = self.add_job(turn=number)
        path = f"/jobs/{job_id}"
        self.assertEqual(2, self.statements(path, headers=base.V1_1))
        self.assertEqual(2, self.statements("/jobs", headers=base.V1_1))
