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

"""Every allowed change of status is made, and no other one."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

from oslo_db.sqlalchemy import test_fixtures

from image_replicator import events
from image_replicator import exception
from image_replicator.db import stores as db_stores
from image_replicator.db.stores import Stores
from image_replicator.errors import ErrorCode
from image_replicator.jobs import ACTIVE
from image_replicator.jobs import Claim
from image_replicator.jobs import FINAL
from image_replicator.jobs import JobStatus
from image_replicator.jobs import TRANSITIONS
from image_replicator.tests.functional.db import base

load_tests = test_fixtures.optimize_module_test_loader()

S = JobStatus


class State(NamedTuple):
    """A state of a job's row, as far as claims need it."""

    status: JobStatus
    owned: bool


STATES = [
    *(State(s, s is not S.REPLICATE_REQUESTED) for s in JobStatus),
    State(S.CANCEL_REQUESTED, False),
    State(S.CANCELING, False),
]


class Action(NamedTuple):
    """A method of a store that changes the status.

    :ivar steps: the new status by each allowed old status.
    :ivar refusal: the error for other statuses; None if it does nothing then.
    """

    call: Callable[[Stores, Claim], Any]
    steps: dict[State, JobStatus]
    refusal: type[Exception] | None


REPLICATING = State(S.REPLICATING, True)
CANCELING = State(S.CANCELING, True)

ACTIONS = {
    "request_cancel": Action(
        lambda stores, claim: stores.jobs.request_cancel(claim.job_id),
        {
            State(S.REPLICATE_REQUESTED, False): S.CANCEL_REQUESTED,
            REPLICATING: S.CANCEL_REQUESTED,
        },
        exception.Conflict,
    ),
    "claim_next": Action(
        lambda stores, claim: stores.queue.claim_next("another"),
        {State(S.REPLICATE_REQUESTED, False): S.REPLICATING},
        None,
    ),
    "claim_canceled": Action(
        lambda stores, claim: stores.queue.claim_canceled("another"),
        {
            State(S.CANCEL_REQUESTED, False): S.CANCELING,
            State(S.CANCELING, False): S.CANCELING,
        },
        None,
    ),
    "request_retry": Action(
        lambda stores, claim: stores.jobs.request_retry(claim.job_id),
        {
            State(S.CANCELED, True): S.REPLICATE_REQUESTED,
            State(S.ERROR, True): S.REPLICATE_REQUESTED,
        },
        exception.Conflict,
    ),
    "finish": Action(
        lambda stores, claim: stores.owned.finish(
            claim, 1000, 99, base.VERIFICATION
        ),
        {REPLICATING: S.REPLICATED},
        exception.ClaimLost,
    ),
    "fail": Action(
        lambda stores, claim: stores.owned.fail(
            claim, ErrorCode.DESTINATION_QUOTA_EXCEEDED, "No room is left."
        ),
        {REPLICATING: S.ERROR, CANCELING: S.ERROR},
        exception.ClaimLost,
    ),
    "give_back": Action(
        lambda stores, claim: stores.owned.give_back(claim),
        {REPLICATING: S.REPLICATE_REQUESTED},
        exception.ClaimLost,
    ),
    "retry": Action(
        lambda stores, claim: stores.owned.retry(
            claim, 1.0, ErrorCode.SOURCE_BUSY, "It was busy."
        ),
        {REPLICATING: S.REPLICATE_REQUESTED},
        exception.ClaimLost,
    ),
    "begin_cancel": Action(
        lambda stores, claim: stores.owned.begin_cancel(claim),
        {State(S.CANCEL_REQUESTED, True): S.CANCELING},
        exception.ClaimLost,
    ),
    "finish_cancel": Action(
        lambda stores, claim: stores.owned.finish_cancel(claim),
        {CANCELING: S.CANCELED},
        exception.ClaimLost,
    ),
}

#: The methods for a job's owner, with the states that allow them.
ACTIVE_AND_OWNED = [
    state for state in STATES if state.owned and state.status in ACTIVE
]
WRITES: dict[str, tuple[Callable[[Stores, Claim], Any], list[State]]] = {
    "reserve_image": (
        lambda stores, claim: stores.owned.reserve_image(claim, "image"),
        ACTIVE_AND_OWNED,
    ),
    "image_created": (
        lambda stores, claim: stores.owned.image_created(claim, "image"),
        ACTIVE_AND_OWNED,
    ),
    "image_removed": (
        lambda stores, claim: stores.owned.image_removed(claim),
        ACTIVE_AND_OWNED,
    ),
    "record_progress": (
        lambda stores, claim: stores.owned.record_progress(claim, 10, 5),
        ACTIVE_AND_OWNED,
    ),
    "renew": (
        lambda stores, claim: stores.owned.renew(claim),
        ACTIVE_AND_OWNED,
    ),
    "postpone_cancel": (
        lambda stores, claim: stores.owned.postpone_cancel(claim, 1.0),
        ACTIVE_AND_OWNED,
    ),
}


class Transitions(base.JobsMixin):
    def _put(self, state: State) -> Claim:
        """Insert a job in this state, and return its owner's claim."""
        self._forget()
        job_id = self.insert_one(
            status=state.status,
            worker_id="owner" if state.owned else None,
            claim_number=1,
        )
        return Claim(job_id=job_id, worker_id="owner", claim_number=1)

    def _forget(self) -> None:
        with self.engine.begin() as connection:
            connection.execute(base.JOBS.delete())

    def test_every_method_from_every_state(self) -> None:
        for name, action in ACTIONS.items():
            for state in STATES:
                with self._told(name, state):
                    self._check(action, state)

    def _told(self, name: str, state: State) -> Any:
        return base.telling(f"{name} of a job that is {state}")

    def _check(self, action: Action, state: State) -> None:
        claim = self._put(state)
        before = self.read(claim.job_id)
        self.changes.clear()
        if state in action.steps:
            action.call(self.stores, claim)
            after = self.read(claim.job_id)
            self._check_published(state.status, claim.job_id)
            self.assertEqual(action.steps[state], after["status"])
            self.assertLess(before["updated_at"], after["updated_at"])
            return
        if action.refusal is None:
            self.assertIsNone(action.call(self.stores, claim))
        else:
            self.assertRaises(action.refusal, action.call, self.stores, claim)
        self.assertEqual(before, self.read(claim.job_id))
        self.assertEqual([], self.changes)

    def _check_published(self, old: JobStatus, job_id: str) -> None:
        """Check that changes of status were published, and nothing else."""
        job = self.jobs.get(job_id)
        changed = events.StatusChange(job, old, job.status)
        self.assertEqual([changed] * (old is not job.status), self.changes)

    def test_a_new_job_is_published(self) -> None:
        job = self.jobs.get(self.jobs.create(base.new_job()))
        self.assertEqual(
            [events.StatusChange(job, None, job.status)], self.changes
        )

    def test_the_release_of_an_expired_job_is_published(self) -> None:
        claim = self._put(REPLICATING)
        self.change(claim.job_id, lease_expires_at=base.LONG_AGO)
        self.queue.release_expired("another", [])
        self._check_published(S.REPLICATING, claim.job_id)

    def test_a_change_is_published_when_it_is_committed(self) -> None:
        seen = []

        def look(changed: events.StatusChange) -> None:
            seen.append(self.read(changed.job.id)["status"])
            raise RuntimeError("of the subscriber")

        stores = db_stores.open_stores(
            base.configuration(self.url), events.Events([look])
        )
        self.addCleanup(stores.database.dispose)
        stores.jobs.request_cancel(stores.jobs.create(base.new_job()))
        self.assertEqual(["replicate_requested", "cancel_requested"], seen)

    def test_final_jobs_say_when_and_stand_in_nobodys_way(self) -> None:
        for name, action in ACTIONS.items():
            for state, to in action.steps.items():
                with self._told(name, state):
                    claim = self._put(state)
                    action.call(self.stores, claim)
                    after = self.read(claim.job_id)
                    final = to in FINAL
                    self.assertEqual(final, after["active"] is None)
                    self.assertEqual(final, after["finished_at"] is not None)

    def test_the_fence(self) -> None:
        """Only the owner can change a job, and only by its current claim."""
        calls = {
            **{
                name: (action.call, list(action.steps))
                for name, action in ACTIONS.items()
                if action.refusal is exception.ClaimLost
            },
            **WRITES,
        }
        for name, (call, states) in calls.items():
            for state in states:
                with self._told(name, state):
                    self._check_fence(call, state)

    def _check_fence(
        self, call: Callable[[Stores, Claim], Any], state: State
    ) -> None:
        claim = self._put(state)
        before = self.read(claim.job_id)
        for wrong in (
            Claim(job_id=claim.job_id, worker_id="another", claim_number=1),
            Claim(job_id=claim.job_id, worker_id="owner", claim_number=0),
            Claim(job_id=claim.job_id, worker_id="owner", claim_number=2),
            Claim(job_id="another", worker_id="owner", claim_number=1),
        ):
            self.assertRaises(exception.ClaimLost, call, self.stores, wrong)
            self.assertEqual(before, self.read(claim.job_id))
        call(self.stores, claim)

    def test_writes_to_a_job_that_is_over(self) -> None:
        for name, (call, states) in WRITES.items():
            for state in set(STATES) - set(states):
                with self._told(name, state):
                    claim = self._put(state)
                    before = self.read(claim.job_id)
                    self.assertRaises(
                        exception.ClaimLost, call, self.stores, claim
                    )
                    self.assertEqual(before, self.read(claim.job_id))


class TestTransitionsSQLite(Transitions, base.SQLite):
    def test_together_they_are_all_that_exist(self) -> None:
        self.assertEqual(
            {(from_, to) for from_ in S for to in TRANSITIONS[from_]},
            {
                (state.status, to)
                for action in ACTIONS.values()
                for state, to in action.steps.items()
                if state.status is not to
            },
        )


class TestTransitionsMariaDB(Transitions, base.MariaDB):
    pass


class TestTransitionsPostgreSQL(Transitions, base.PostgreSQL):
    pass
