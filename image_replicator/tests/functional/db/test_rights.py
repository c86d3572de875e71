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

"""The rights of users: trusts that are used again, and the rights of jobs."""

import datetime
import threading
from typing import Any

import sqlalchemy as sa
from oslo_db.sqlalchemy import test_fixtures

from image_replicator import exception
from image_replicator.authority import Authority
from image_replicator.authority import Delegation
from image_replicator.authority import SealedToken
from image_replicator.db import models
from image_replicator.errors import ErrorCode
from image_replicator.jobs import JobStatus
from image_replicator.tests.functional.db import base

load_tests = test_fixtures.optimize_module_test_loader()

TRUSTS = Authority(
    user_id="user",
    source_owner_id="owner",
    source_trust_id="there",
    destination_trust_id="here",
)
TOKEN = Authority(
    user_id="user",
    token=SealedToken(
        sealed="s3aled" * 200,
        expires_at=datetime.datetime(2026, 12, 24, 18, 30, 0, 250000),
    ),
)
DAY = 24 * 3600.0


def trust(trust_id: str = "there", **changes: Any) -> Delegation:
    """Return a trust as it is before it is recorded."""
    values: dict[str, Any] = {
        "trust_id": trust_id,
        "user_id": "user",
        "project_id": "project",
        "roles": ("member", "reader"),
    }
    return Delegation(**values | changes)


class RightsMixin(base.JobsMixin):
    def setUp(self) -> None:
        super().setUp()
        self.known = self.stores.delegations
        self.authorities = self.stores.authorities

    def age(self, **columns: Any) -> None:
        """Let all trusts have been used long ago."""
        with self.engine.begin() as connection:
            connection.execute(
                sa.update(models.Delegation).values(
                    used_at=base.LONG_AGO, **columns
                )
            )

    def unused(self, user_id: str | None = "user") -> list[str]:
        found = self.known.unused(user_id, DAY, 10)
        return [one.trust_id for one in found]


class Trusts(RightsMixin):
    def find(self, *roles: str, project_id: str = "project") -> Any:
        return self.known.find("user", project_id, roles)

    def test_one_is_found_by_user_project_and_roles(self) -> None:
        expires_at = datetime.datetime(2026, 12, 24, 18, 30, 0, 250000)
        self.known.add(trust(expires_at=expires_at))
        found = self.find("reader", "member")
        self.assertEqual(
            ("there", "user", "project", ("member", "reader"), expires_at),
            (
                found.trust_id,
                found.user_id,
                found.project_id,
                found.roles,
                found.expires_at,
            ),
        )
        self.assertIsNone(self.find("member"))
        self.assertIsNone(self.find("member", "reader", "admin"))
        self.assertIsNone(self.find("member", "reader", project_id="other"))
        self.assertIsNone(self.known.find("USER", "project", found.roles))

    def test_role_names_of_any_length(self) -> None:
        roles = tuple(sorted(f"role {n} of a long name" for n in range(40)))
        self.known.add(trust(roles=roles))
        self.assertEqual(roles, self.find(*roles).roles)

    def test_the_first_of_two_counts(self) -> None:
        self.assertEqual("first", self.known.add(trust("first")).trust_id)
        self.assertEqual("first", self.known.add(trust("second")).trust_id)
        self.assertEqual("first", self.find("member", "reader").trust_id)

    def test_two_at_once(self) -> None:
        barrier = threading.Barrier(4)
        kept: list[str] = []

        def add(name: str) -> None:
            barrier.wait(base.PATIENCE)
            kept.append(self.known.add(trust(name)).trust_id)

        threads = [
            threading.Thread(target=add, args=[f"trust {n}"]) for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(base.PATIENCE)
        self.assertEqual(4, len(kept))
        self.assertEqual(1, len(set(kept)))

    def test_one_takes_the_place_of_another(self) -> None:
        self.known.add(trust("old"))
        self.known.add(trust("new"), instead_of="old")
        self.assertEqual("new", self.find("member", "reader").trust_id)
        self.assertEqual(1, len(self.known.list()))

    def test_one_is_forgotten(self) -> None:
        self.known.add(trust())
        for _time in range(2):
            self.known.remove("there")
            self.assertIsNone(self.find("member", "reader"))

    def test_the_time_of_its_use(self) -> None:
        """It is written only if it was written long ago."""
        self.known.add(trust())
        known = self.find("member", "reader")
        self.assertTrue(self.known.touch(known, DAY))
        self.assertEqual(known, self.find("member", "reader"))
        self.age()
        self.assertTrue(self.known.touch(known, DAY))
        self.assertLess(base.LONG_AGO, self.find("member", "reader").used_at)
        self.known.remove("there")
        self.assertFalse(self.known.touch(known, DAY))

    def test_those_that_no_job_needs(self) -> None:
        for name in ("there", "here", "nowhere"):
            self.known.add(trust(name, project_id=name))
        self.known.add(trust("another's", user_id="another"))
        self.assertEqual([], self.unused())
        self.age()
        job_id = self.jobs.create(base.new_job(), authority=TRUSTS)
        self.assertEqual(["nowhere"], self.unused())
        self.assertEqual({"nowhere", "another's"}, set(self.unused(None)))
        self.assertFalse(self.known.remove_unused("here", DAY))
        self.assertTrue(self.known.remove_unused("nowhere", DAY))
        self.jobs.request_cancel(job_id)
        _job, claim = self.queue.claim_canceled("worker")
        self.owned.finish_cancel(claim)
        self.assertEqual({"there", "here"}, set(self.unused()))

    def test_one_that_is_used_by_now_is_not_forgotten(self) -> None:
        self.known.add(trust())
        self.age()
        known = self.find("member", "reader")
        self.assertEqual(["there"], self.unused())
        self.assertTrue(self.known.touch(known, DAY))
        self.assertFalse(self.known.remove_unused("there", DAY))

    def test_all_for_operators(self) -> None:
        self.known.add(trust("there", project_id="a"))
        self.known.add(trust("here", project_id="b"))
        self.jobs.create(base.new_job(), authority=TRUSTS)
        same = Authority(
            user_id="user", source_trust_id="here", destination_trust_id="here"
        )
        self.jobs.create(base.new_job(), authority=same)
        self.assertEqual(
            [("there", 1), ("here", 2)],
            [
                (each.delegation.trust_id, each.jobs)
                for each in self.known.list()
            ],
        )


class Jobs(RightsMixin):
    """The right of a job is there for as long as the job needs it."""

    def test_it_is_kept_with_its_job(self) -> None:
        for authority in (TRUSTS, TOKEN, None):
            job_id = self.jobs.create(base.new_job(), authority=authority)
            self.assertEqual(authority, self.authorities.get(job_id))

    def test_a_refused_job_leaves_none(self) -> None:
        new = base.new_job()
        self.jobs.create(new)
        self.assertRaises(
            exception.DuplicateJob, self.jobs.create, new, 0, TOKEN
        )
        self.assertEqual(0, self.count())

    def count(self) -> int:
        with self.engine.connect() as connection:
            statement = sa.select(sa.func.count()).select_from(
                models.Authority
            )
            return int(connection.scalars(statement).one())

    def begin(self) -> tuple[str, Any]:
        """Create a job with a token, and claim it."""
        job_id = self.jobs.create(base.new_job(), authority=TOKEN)
        _job, claim = self.queue.claim_next("worker")
        return job_id, claim

    def test_each_end_deletes_it(self) -> None:
        for end in ("finish", "fail", "cancel"):
            job_id, claim = self.begin()
            self.owned.reserve_image(claim, "image")
            self.owned.image_created(claim, "image")
            if end == "finish":
                self.owned.finish(claim, 1000, 10, base.VERIFICATION)
            elif end == "fail":
                self.owned.image_removed(claim)
                self.owned.fail(claim, ErrorCode.SOURCE_GONE, "Gone.")
            else:
                self.jobs.request_cancel(job_id)
                self.owned.begin_cancel(claim)
                self.owned.image_removed(claim)
                self.owned.finish_cancel(claim)
            self.assertIsNone(self.authorities.get(job_id), end)

    def test_no_other_change_deletes_it(self) -> None:
        job_id, claim = self.begin()
        self.owned.retry(claim, 0, ErrorCode.SOURCE_BUSY, "Busy.")
        self.assertEqual(TOKEN, self.authorities.get(job_id))
        _job, claim = self.queue.claim_next("worker")
        self.owned.give_back(claim)
        self.assertEqual(TOKEN, self.authorities.get(job_id))

    def fail_with_an_image(self) -> str:
        job_id, claim = self.begin()
        self.owned.reserve_image(claim, "image")
        self.owned.fail(claim, ErrorCode.SOURCE_GONE, "Gone.")
        return job_id

    def test_it_is_kept_while_an_image_is_left(self) -> None:
        job_id = self.fail_with_an_image()
        self.assertEqual(TOKEN, self.authorities.get(job_id))
        self.leftovers.record_removed(self.jobs.get(job_id))
        self.assertIsNone(self.authorities.get(job_id))

    def test_a_retry_replaces_it(self) -> None:
        for authority in (TRUSTS, None):
            job_id = self.fail_with_an_image()
            self.jobs.request_retry(job_id, authority=authority)
            self.assertEqual(authority, self.authorities.get(job_id))
            # The next one is to be claimed alone.
            self.queue.claim_next("worker")


class Sweeping(RightsMixin):
    """Workers of the release before leave the rights of ended jobs."""

    def insert_authority(self, job_id: str, **columns: Any) -> None:
        values = {"job_id": job_id, "user_id": "user", **columns}
        with self.engine.begin() as connection:
            connection.execute(sa.insert(models.Authority).values(values))

    def left(self, *job_ids: str) -> list[bool]:
        return [self.authorities.get(one) is not None for one in job_ids]

    def test_only_those_that_no_job_needs(self) -> None:
        over = self.insert_one(status=JobStatus.REPLICATED)
        waiting = self.insert_one()
        image = self.insert_one(
            status=JobStatus.ERROR, reserved_image_id="image"
        )
        for job_id in (over, waiting, image, "purged"):
            self.insert_authority(job_id, source_trust_id="trust")
        self.assertEqual((2, None), self.authorities.sweep(10))
        self.assertEqual(
            [False, True, True, False],
            self.left(over, waiting, image, "purged"),
        )
        self.assertEqual((0, None), self.authorities.sweep(10))

    def test_a_token_of_no_use_goes_though_an_image_is_left(self) -> None:
        now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
        tokens = {}
        for hours, status in (
            (49, JobStatus.ERROR),
            (47, JobStatus.ERROR),
            (49, JobStatus.REPLICATING),
        ):
            job_id = self.insert_one(status=status, reserved_image_id="image")
            tokens[job_id] = hours
            self.insert_authority(
                job_id,
                sealed_token="s3aled",
                token_expires_at=now - datetime.timedelta(hours=hours),
            )
        self.assertEqual((1, None), self.authorities.sweep(10))
        self.assertEqual([False, True, True], self.left(*tokens))

    def test_some_at_a_time(self) -> None:
        ids = [f"purged {number}" for number in range(5)]
        for job_id in ids:
            self.insert_authority(job_id)
        waiting = self.insert_one(id="not purged")
        self.insert_authority(waiting)
        self.assertEqual((2, "purged 1"), self.authorities.sweep(3))
        self.assertEqual([False] * 2 + [True] * 3, self.left(*ids))
        self.assertEqual(
            (3, "purged 4"), self.authorities.sweep(3, "purged 1")
        )
        self.assertEqual((0, None), self.authorities.sweep(3, "purged 4"))
        self.assertEqual([True], self.left(waiting))


class Keys(RightsMixin):
    def seen(self, seconds: float = DAY) -> list[tuple[str, list[str]]]:
        return [
            (holder.host, list(holder.fingerprints))
            for holder in self.stores.key_holders.seen(seconds)
        ]

    def test_nodes_and_their_keys(self) -> None:
        holders = self.stores.key_holders
        holders.record("b", ["1", "0"])
        holders.record("a", ["2"])
        holders.record("b", ["2", "1", "0"])
        self.assertEqual([("a", ["2"]), ("b", ["2", "1", "0"])], self.seen())
        with self.engine.begin() as connection:
            connection.execute(
                sa.update(models.KeyHolder)
                .where(models.KeyHolder.host == "a")
                .values(seen_at=base.LONG_AGO)
            )
        self.assertEqual(["b"], [host for host, _keys in self.seen()])


class Everything(Trusts, Jobs, Sweeping, Keys):
    """All of these tests."""


class TestRightsSQLite(Everything, base.SQLite):
    """The tests on SQLite."""


class TestRightsMariaDB(Everything, base.MariaDB):
    """The tests on MariaDB."""


class TestRightsPostgreSQL(Everything, base.PostgreSQL):
    """The tests on PostgreSQL."""
