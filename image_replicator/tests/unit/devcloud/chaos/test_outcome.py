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

"""The check of jobs and images finds each kind of violation."""

import dataclasses
import datetime
from typing import Any

import testtools

from devcloud.chaos import outcome
from devcloud.chaos import rights

MAX_ATTEMPTS = 3
NOW = datetime.datetime(2024, 2, 29, 12, 0)


class TestOutcome(testtools.TestCase):
    """A state with one job of each kind, and its images."""

    def setUp(self) -> None:
        super().setUp()
        self.sources = [
            outcome.Source(
                image_id=f"source {number}",
                name=f"image {number}",
                tenant_id="from",
                seed=f"seed {number}",
                size=100 * number,
            )
            for number in range(3)
        ]
        self.asks = [
            outcome.Ask(source, "to", f"job {number}")
            for number, source in enumerate(self.sources)
        ]
        self.asks[1].canceled = True
        done, canceled, failed = self.rows = [
            self._row(ask) for ask in self.asks
        ]
        self._replicate(done, self.sources[0])
        canceled["status"] = "canceled"
        failed.update(
            status="error",
            error_code="destination_unreachable",
            error_message="It does not answer.",
            attempts=MAX_ATTEMPTS,
        )
        self.images = [self._image(self.sources[0], "copy")]
        self.bytes = {"copy": self.sources[0].data()}
        self.stored = dict(self.bytes)
        self.taken: list[rights.Taken] = []

    def _row(self, ask: outcome.Ask) -> dict[str, Any]:
        return {
            "id": ask.job_id,
            "active": None,
            "source_image_id": ask.source.image_id,
            "source_tenant_id": ask.source.tenant_id,
            "destination_tenant_id": ask.tenant_id,
            "destination_image_id": None,
            "reserved_image_id": None,
            "image_size": ask.source.size,
            "bytes_copied": 0,
            "attempts": 1,
            "attempts_uncounted": 0,
            "lease_expires_at": None,
            "finished_at": NOW,
            "error_code": None,
            "error_message": None,
            "verification_algorithm": None,
            "verification_source": None,
            "verification_destination": None,
            "read_image_id": None,
            "waiting_for": None,
        }

    def _replicate(self, row: dict[str, Any], source: outcome.Source) -> None:
        row.update(
            status="replicated",
            destination_image_id="copy",
            bytes_copied=source.size,
            verification_algorithm="sha512",
            verification_source=source.sha512,
            verification_destination=source.sha512,
            read_image_id=source.image_id,
        )

    def _image(self, source: outcome.Source, image_id: str) -> dict[str, Any]:
        return {
            "id": image_id,
            "status": "active",
            "size": source.size,
            "name": source.name,
            "owner": "to",
            "visibility": "private",
            "tags": [],
            "os_hash_value": source.sha512,
            "updated_at": "1970-01-01T00:16:40Z",
        }

    def _violations(self) -> list[str]:
        return list(
            outcome.violations(
                outcome.World(
                    asks=self.asks,
                    rows=self.rows,
                    images=self.images,
                    read=self.bytes.__getitem__,
                    stored=self.stored.__getitem__,
                    max_attempts=MAX_ATTEMPTS,
                    rights_taken=self.taken,
                )
            )
        )

    def _assert_found(self, words: str) -> None:
        found = self._violations()
        self.assertTrue(any(words in each for each in found), found)

    def test_all_is_right(self) -> None:
        self.assertEqual([], self._violations())

    def test_an_image_that_is_not_of_the_data(self) -> None:
        self.rows[0]["read_image_id"] = "another"
        self._assert_found("was read from image another")

    def test_a_wait_without_an_end(self) -> None:
        self.rows[0]["waiting_for"] = "another"
        self._assert_found("waits for job another")

    def test_an_answer_that_was_not_clear(self) -> None:
        self.asks[2].job_id = None
        self.asks[2].unclear = 1
        self.assertEqual([], self._violations())

    # Jobs.

    def test_a_job_is_lost(self) -> None:
        del self.rows[1]
        self._assert_found("job job 1 is lost")

    def test_a_job_is_another(self) -> None:
        self.rows[1]["destination_tenant_id"] = "elsewhere"
        self._assert_found("job job 1 is (")

    def test_a_job_that_nobody_asked_for(self) -> None:
        self.asks[2].job_id = None
        self._assert_found("nobody asked for ('source 2', 'to')")

    def test_a_job_without_an_end(self) -> None:
        self.rows[2]["status"] = "replicating"
        self._assert_found("has not come to an end")

    def test_an_end_that_looks_like_none(self) -> None:
        for column, value in (
            ("active", True),
            ("lease_expires_at", NOW),
            ("finished_at", None),
        ):
            before = self.rows[2][column]
            self.rows[2][column] = value
            self._assert_found("looks as if it were not")
            self.rows[2][column] = before

    def test_an_image_that_is_still_to_be_removed(self) -> None:
        self.rows[2]["reserved_image_id"] = "rest"
        self._assert_found("leaves image rest to be removed")

    def test_a_copy_with_too_many_attempts_or_too_few(self) -> None:
        for attempts in (0, MAX_ATTEMPTS + 1):
            self.rows[0]["attempts"] = attempts
            self._assert_found(f"has {attempts} attempts")

    def test_a_copy_of_too_few_bytes(self) -> None:
        self.rows[0]["bytes_copied"] = 99
        self._assert_found("says 99 of 0 bytes")

    def test_evidence_that_is_wrong_or_missing(self) -> None:
        for side in ("source", "destination"):
            self._replicate(self.rows[0], self.sources[0])
            self.rows[0][f"verification_{side}"] = "0" * 128
            self._assert_found(f"the {side}'s hash was another")
        self.rows[0]["verification_algorithm"] = None
        self._assert_found("the source's hash was another")

    def test_a_copy_with_an_error(self) -> None:
        self.rows[0]["error_code"] = "source_unreachable"
        self._assert_found("shows the error source_unreachable")

    def test_a_cancelation_that_nobody_asked_for(self) -> None:
        self.asks[1].canceled = False
        self._assert_found("was not to be canceled")

    def test_an_image_that_is_shown_and_not_there(self) -> None:
        for row in self.rows[1:]:
            row["destination_image_id"] = "gone"
            self._assert_found(f"({row['status']}) shows an image")

    def test_a_failure_that_does_not_say_why(self) -> None:
        self.rows[2]["error_message"] = ""
        self._assert_found("does not say why")

    def _take(
        self, begin: float, end: float | None, user: str = "from"
    ) -> None:
        """Let a user lack the right for a time; the copy is made at 1000 s."""
        self.taken = [rights.Taken(user, "to", begin, end)]

    def test_an_image_that_its_user_could_not_have_made(self) -> None:
        for end in (None, 1001.0):
            self._take(999 - outcome.SLACK, end)
            self._assert_found("after its user lost the right")

    def test_an_image_that_its_user_could_have_made(self) -> None:
        for begin, end, user in (
            (1001 - outcome.SLACK, None, "from"),
            (0.0, 999.0, "from"),
            (0.0, None, "another"),
        ):
            self._take(begin, end, user)
            self.assertEqual([], self._violations())

    def test_a_right_that_is_lost(self) -> None:
        self.rows[2].update(error_code="destination_access_lost", attempts=1)
        self._assert_found("no right was taken")
        self._take(0, 1)
        self.assertEqual([], self._violations())

    def test_a_job_that_is_given_up_early(self) -> None:
        self.rows[2]["attempts"] = MAX_ATTEMPTS - 1
        self._assert_found("was given up at attempt 2")

    # Images.

    def test_an_image_is_missing(self) -> None:
        self.images.clear()
        self._assert_found("its image is not there")

    def test_an_image_that_is_nobody_s(self) -> None:
        self.images.append(self._image(self.sources[1], "rest"))
        self._assert_found("image rest (active) belongs to no job")

    def test_an_image_that_is_not_as_it_should_be(self) -> None:
        for name, value in (
            ("status", "queued"),
            ("size", 7),
            ("name", "another"),
            ("owner", "somebody"),
            ("visibility", "public"),
            ("tags", ["image_replicator:ot1"]),
            ("os_hash_value", "0" * 128),
        ):
            right = self.images[0][name]
            self.images[0][name] = value
            self._assert_found(f"has {name} {value!r}")
            self.images[0][name] = right

    def test_bytes_that_differ(self) -> None:
        for how, data in (("served", self.bytes), ("stored", self.stored)):
            data["copy"] = b"?"
            self._assert_found(f"has other bytes, as it is {how}")

    def test_a_source_s_bytes_follow_from_its_seed(self) -> None:
        one, two = self.sources[1:]
        self.assertEqual(one.data(), dataclasses.replace(one).data())
        self.assertEqual(100, len(one.data()))
        self.assertNotEqual(one.data(), two.data()[:100])
