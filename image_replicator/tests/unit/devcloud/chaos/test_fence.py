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

"""The check of the log of writes finds each kind of violation."""

import dataclasses
import datetime
from typing import Any

import testtools

from devcloud.chaos import audit
from devcloud.chaos import fence

BEGIN = datetime.datetime(2024, 2, 29, 12, 0)
LEASE = 2.0  # seconds

ONE, TWO, API = "w1", "w2", "api"
OWNER = {name: f"{name}:17:abc" for name in (ONE, TWO)}


class Log:
    """A log with writes like those of the image replicator.

    :ivar writes: the writes so far
    """

    def __init__(self, job_id: str = "job") -> None:
        self._job_id = job_id
        self._now = 0.0
        self._state: audit.State | None = None
        self.writes: list[audit.Write] = []
        self.make()

    def wait(self, seconds: float = LEASE + 1) -> None:
        """Advance the clock."""
        self._now += seconds

    def write(self, writer: str | None, **changes: Any) -> None:
        """Log a write.

        :param changes: of the row; ``lease`` renews it
        """
        self._now += 0.01
        assert self._state
        if changes.pop("lease", False):
            changes["lease_expires_at"] = self._time(LEASE)
        self._log(writer, dataclasses.replace(self._state, **changes))

    def make(self) -> None:
        """Log the creation of the job."""
        self._log(API, audit.State("replicate_requested"))

    def delete(self) -> None:
        """Log the deletion of the job."""
        self._log(API, None)

    def _log(self, writer: str | None, new: audit.State | None) -> None:
        self.writes.append(
            audit.Write(
                seq=len(self.writes),
                at=self._time(0),
                writer=writer,
                job_id=self._job_id,
                old=self._state,
                new=new,
            )
        )
        self._state = new

    def _time(self, later: float) -> datetime.datetime:
        return BEGIN + datetime.timedelta(seconds=self._now + later)

    # Writes to a job

    def claim(self, worker: str, attempts: int = 1, **changes: Any) -> None:
        self.write(
            worker,
            worker_id=OWNER[worker],
            lease=True,
            **{"status": "replicating", "attempts": attempts, **changes},
        )

    def prepare(self, worker: str, image: str = "image") -> None:
        self.write(worker, reserved_image_id=image)
        self.write(worker, destination_image_id=image)

    def clean(self, worker: str) -> None:
        self.write(worker, destination_image_id=None, reserved_image_id=None)

    def release(self, writer: str, **changes: Any) -> None:
        self.write(writer, worker_id=None, lease_expires_at=None, **changes)

    def finish(self, worker: str, **changes: Any) -> None:
        self.write(
            worker,
            lease_expires_at=None,
            **{
                "status": "replicated",
                "reserved_image_id": None,
                **changes,
            },
        )


class TestFence(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.log = Log()

    def _assert_right(self) -> None:
        self.assertEqual([], list(fence.violations(self.log.writes)))

    def _assert_found(self, words: str) -> None:
        found = list(fence.violations(self.log.writes))
        self.assertTrue(any(words in each for each in found), found)

    def _begin(self) -> None:
        self.log.claim(ONE)
        self.log.prepare(ONE)

    # Allowed writes

    def test_a_copy(self) -> None:
        self._begin()
        self.log.write(ONE, lease=True)
        self.log.finish(ONE)
        self._assert_right()

    def test_a_copy_where_nobody_can_tell_who_writes(self) -> None:
        self._begin()
        self.log.finish(ONE)
        self.log.writes = [
            dataclasses.replace(write, writer=None)
            for write in self.log.writes
        ]
        self._assert_right()

    def test_a_copy_that_another_worker_takes_over(self) -> None:
        self._begin()
        self.log.wait()
        self.log.release(TWO, status="replicate_requested")
        self.log.claim(TWO, 2)
        self.log.clean(TWO)
        self.log.prepare(TWO, "another image")
        self.log.finish(TWO)
        self._assert_right()

    def test_a_copy_that_is_given_back(self) -> None:
        self._begin()
        self.log.clean(ONE)
        self.log.release(ONE, status="replicate_requested")
        self.log.claim(TWO, 2)
        self._assert_right()

    def test_a_cancelation(self) -> None:
        self._begin()
        self.log.write(API, status="cancel_requested")
        self.log.write(ONE, status="canceling")
        self.log.release(ONE)
        self.log.claim(TWO, 2, status="canceling")
        self.log.clean(TWO)
        self.log.write(TWO, status="canceled", lease_expires_at=None)
        self._assert_right()

    def test_a_failure_that_is_swept_up_after(self) -> None:
        self._begin()
        self.log.write(ONE, status="error", lease_expires_at=None)
        self.log.clean(TWO)
        self._assert_right()

    # Violations

    def test_a_change_that_there_is_not(self) -> None:
        self.log.write(API, status="replicated")
        self._assert_found("went from replicate_requested to replicated")

    def test_a_job_that_is_over_and_changes(self) -> None:
        self._begin()
        self.log.finish(ONE)
        self.log.clean(ONE)
        self._assert_found("was replicated and changed all the same")

    def test_an_end_that_is_written_to(self) -> None:
        self._begin()
        self.log.write(ONE, status="error", lease_expires_at=None)
        self.log.write(ONE, attempts=2)
        self._assert_found("was error and changed all the same")

    def test_a_claim_that_takes_no_number(self) -> None:
        self.log.claim(ONE, 0)
        self._assert_found("was claimed, attempts by +0")

    def test_a_claim_without_a_lease(self) -> None:
        self.log.claim(ONE)
        self.log.writes[-1] = dataclasses.replace(
            self.log.writes[-1],
            new=audit.State("replicating", OWNER[ONE], 1),
        )
        self._assert_found("without a lease")

    def test_a_claim_of_what_is_no_copy(self) -> None:
        self.log.claim(ONE, status="canceling")
        self._assert_found("was claimed, from replicate_requested")

    def test_a_cancelation_that_takes_no_number(self) -> None:
        self.log.write(API, status="cancel_requested")
        self.log.claim(ONE, 0, status="canceling")
        self._assert_found("was claimed, attempts by +0")

    def test_a_job_that_is_taken_too_early(self) -> None:
        self._begin()
        self.log.release(TWO, status="replicate_requested")
        self._assert_found("before the lease ran out")

    def test_a_job_that_ends_by_being_taken(self) -> None:
        self._begin()
        self.log.wait()
        self.log.release(TWO, status="error")
        self._assert_found("lost its owner, from replicating to error")

    def test_a_copy_that_nobody_owns_any_more(self) -> None:
        self._begin()
        self.log.wait()
        self.log.release(TWO)
        self._assert_found("lost its owner, from replicating to replicating")

    def test_two_owners(self) -> None:
        self._begin()
        self.log.claim(TWO, 2)
        self._assert_found(f"went from {OWNER[ONE]} to {OWNER[TWO]} at once")

    def test_a_worker_that_writes_another_s_job(self) -> None:
        self._begin()
        self.log.wait()
        self.log.release(TWO, status="replicate_requested")
        self.log.claim(TWO, 2)
        self.log.clean(ONE)
        self._assert_found(f"is {OWNER[TWO]}'s, and {ONE} wrote")

    def test_a_user_who_does_more_than_cancel(self) -> None:
        self._begin()
        self.log.write(API, status="cancel_requested", attempts=0)
        self._assert_found(f"is {OWNER[ONE]}'s, and {API} wrote")

    def test_a_worker_that_ends_another_s_job(self) -> None:
        self._begin()
        self.log.finish(TWO)
        self._assert_found(f"is {OWNER[ONE]}'s, and {TWO} wrote")

    def test_a_job_that_is_nobody_s(self) -> None:
        self.log.write(ONE, reserved_image_id="image")
        self._assert_found("nobody owned it")

    def test_attempts_that_are_changed(self) -> None:
        self._begin()
        self.log.write(ONE, attempts=7)
        self._assert_found("has attempts changed by +6")

    def test_attempts_that_are_given_back(self) -> None:
        self._begin()
        self.log.release(ONE, status="replicate_requested", attempts=0)
        self._assert_found("has attempts changed by -1")

    def test_an_image_that_is_forgotten(self) -> None:
        self._begin()
        self.log.write(ONE, reserved_image_id="another image")
        self._assert_found("in place of image, which may be there")

    def test_an_image_that_is_shown_and_forgotten(self) -> None:
        self._begin()
        self.log.write(ONE, reserved_image_id=None)
        self._assert_found("shows image image and forgot it")

    def test_an_image_that_is_another_s(self) -> None:
        self.log.claim(ONE)
        self.log.write(ONE, reserved_image_id="image")
        self.log.write(ONE, destination_image_id="a zombie's image")
        self._assert_found("which was not reserved for it")

    def test_a_result_without_an_image(self) -> None:
        self.log.claim(ONE)
        self.log.finish(ONE)
        self._assert_found("replicated without an image of its own")

    def test_a_result_that_is_to_be_removed(self) -> None:
        self._begin()
        self.log.finish(ONE, reserved_image_id="image")
        self._assert_found("its image is still to be removed")

    def test_a_claim_that_comes_back(self) -> None:
        self._begin()
        self.log.write(API, status="cancel_requested")
        self.log.wait()
        self.log.release(TWO)
        self.log.claim(ONE, status="canceling")
        self._assert_found("again, which lost it")

    def test_one_image_of_two_jobs(self) -> None:
        self._begin()
        other = Log("another job")
        other.claim(TWO)
        other.prepare(TWO)
        self.log.writes += other.writes
        self._assert_found("image image is reserved by")

    def test_a_job_that_is_made_as_something_else(self) -> None:
        self._begin()
        del self.log.writes[0]
        self._assert_found("did not begin as a job does")

    def test_a_job_that_is_deleted_or_made_twice(self) -> None:
        self.log.delete()
        self._assert_found("was deleted")
        self.log.make()
        self._assert_found("was made twice")

    def test_a_write_that_is_not_in_the_log(self) -> None:
        self._begin()
        del self.log.writes[2]
        self._assert_found(", and is State(")
