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

"""Values are read as they were written, with any names and clocks."""

import datetime
from urllib import parse

import sqlalchemy as sa
from oslo_db.sqlalchemy import test_fixtures

from image_replicator import exception
from image_replicator.db import listing
from image_replicator.errors import ErrorCode
from image_replicator.jobs import Verification
from image_replicator.jobs import WorkerDescription
from image_replicator.tests.functional.db import base

load_tests = test_fixtures.optimize_module_test_loader()

NAMES = (
    "",
    "plain",
    "PLAIN",
    "\U0001f4bf\U0001f680 4 bytes each",
    "\xdcn\xefc\xf6de",
    # This looks the same, but is decomposed.
    "U\u0308ni\u0308co\u0308de",
    "%s %(name)s :name ? '\" \\ `;--",
    "日" * 255,
    "\U0001f4bf" * 255,
)

#: Text from outside that not every database can store.
DIRT = (
    "a NUL \x00 within",
    "\x00",
    "\x01\x02\x1b[31m\x7f\x9f",
    "half a pair \ud83d",
    "\udfff\ud800",
    "\U0001f4bf 4 bytes",
    "long " * 20000,
    "\U0001f4bf" * 70000,
)

MINUTE = datetime.timedelta(minutes=1)


class Values(base.JobsMixin):
    def test_names_are_kept(self) -> None:
        for name in NAMES:
            with base.telling(ascii(name)):
                job_id = self.jobs.create(base.new_job(source_image_name=name))
                self.assertEqual(name, self.jobs.get(job_id).source_image_name)

    def test_each_name_finds_itself_alone(self) -> None:
        for name in NAMES:
            self.insert_one(source_image_name=name)
        for name in NAMES:
            page = listing.Page(
                limit=100,
                tenant_id="source",
                filters={"source_image_name": name},
            )
            found = [job.source_image_name for job in self.jobs.list(page)]
            with base.telling(ascii(name)):
                self.assertEqual([name], found)

    def test_pages_by_name_miss_none(self) -> None:
        for name in NAMES:
            self.insert_one(source_image_name=name)
        marker = None
        seen = []
        while found := self.jobs.list(
            listing.Page(
                limit=2,
                tenant_id="source",
                sort_key="source_image_name",
                marker=marker,
            )
        ):
            seen += [job.source_image_name for job in found]
            marker = found[-1]
        self.assertEqual(sorted(NAMES), sorted(seen))

    def test_ids_that_differ_in_case_differ(self) -> None:
        for tenant in ("abc", "ABC"):
            self.jobs.create(
                base.new_job(
                    source_image_id="the same", destination_tenant_id=tenant
                )
            )
        page = listing.Page(limit=9, tenant_id="abc")
        self.assertEqual(1, len(self.jobs.list(page)))

    def test_blanks_at_the_end_tell_names_apart(self) -> None:
        names = ("ot2", "ot2 ", "ot2  ", "ot2\t")
        for name in names:
            self.insert_one(source_image_name=name, destination_region_id=name)
        for name in (*names, " ot2"):
            for key in ("source_image_name", "destination_region_id"):
                page = listing.Page(
                    limit=9, tenant_id="source", filters={key: name}
                )
                found = [getattr(job, key) for job in self.jobs.list(page)]
                with base.telling(f"{key} {name!r}"):
                    self.assertEqual([name] if name in names else [], found)

    def test_an_id_with_a_blank_at_its_end_is_of_no_job(self) -> None:
        job_id = self.jobs.create(base.new_job())
        self.assertRaises(exception.JobNotFound, self.jobs.get, f"{job_id} ")

    def test_whatever_is_in_a_text_its_row_is_written(self) -> None:
        for dirt in DIRT:
            with base.telling(ascii(dirt)[:50]):
                self._check_dirt(dirt)

    def _check_dirt(self, dirt: str) -> None:
        seen = Verification(algorithm=dirt, source=dirt, destination=dirt)
        self.jobs.create(
            base.new_job(
                source_image_name=dirt,
                destination_image_name=dirt,
                request_id=dirt,
            )
        )
        _job, claim = self.queue.claim_next("worker")
        self.owned.retry(claim, 0, ErrorCode.SOURCE_FAILED, dirt)
        _job, claim = self.queue.claim_next("worker")
        self.owned.finish(claim, 1000, 99, seen)
        self.jobs.create(base.new_job())
        _job, claim = self.queue.claim_next("worker")
        self.owned.fail(claim, ErrorCode.SOURCE_FAILED, dirt)
        job = self.jobs.get(claim.job_id)
        self.assertEqual("error", job.status)
        for filters in (
            {"source_image_name": dirt},
            {"source_region_id": dirt},
        ):
            self.jobs.list(
                listing.Page(limit=9, tenant_id=dirt, filters=filters)
            )
        self.assertRaises(exception.JobNotFound, self.jobs.get, dirt)
        self.workers.register(
            WorkerDescription(
                id=dirt,
                host=dirt,
                version=dirt,
                concurrency=1,
                destination_regions=dirt,
            )
        )
        self.workers.unregister(dirt)
        self.assertEqual([], self.workers.list())

    def test_a_message_is_cleaned_and_cut_and_else_kept(self) -> None:
        for told, kept in (
            ("plain\n\ttext \U0001f4bf", "plain\n\ttext \U0001f4bf"),
            (
                "a\x00b\ud800c\x1b[31m\r\x9f",
                "a\ufffdb\ufffdc\ufffd[31m\ufffd\ufffd",
            ),
            ("\U0001f4bf" * 20000, "\U0001f4bf" * 15999 + "\u2026"),
        ):
            self.jobs.create(base.new_job())
            _job, claim = self.queue.claim_next("worker")
            self.owned.fail(claim, ErrorCode.SOURCE_FAILED, told)
            self.assertEqual(kept, self.jobs.get(claim.job_id).error_message)

    def test_a_cut_value_does_not_match_its_beginning(self) -> None:
        """A tenant's id that is too long matches no other tenant's jobs."""
        self.insert_one(source_tenant_id="t" * 64)
        page = listing.Page(limit=9, tenant_id="t" * 65)
        self.assertEqual([], self.jobs.list(page))

    def test_times_are_kept_to_the_microsecond(self) -> None:
        moment = datetime.datetime(2031, 12, 31, 23, 59, 59, 999999)
        job_id = self.insert_one(created_at=moment, started_at=moment)
        job = self.jobs.get(job_id)
        self.assertEqual((moment, moment), (job.created_at, job.started_at))

    def test_the_clock_is_finer_than_seconds(self) -> None:
        stamps = [
            self.jobs.get(self.jobs.create(base.new_job())).created_at
            for _ in range(5)
        ]
        self.assertEqual(sorted(stamps), stamps)
        self.assertNotEqual({0}, {stamp.microsecond for stamp in stamps})


class Clocks(base.JobsMixin):
    #: Sets the time zone of every session to one far ahead of UTC.
    elsewhere: dict[str, str]

    def test_times_are_utc_wherever_the_session_lives(self) -> None:
        stores = self.new_stores(
            f"{self.url}?{parse.urlencode(self.elsewhere)}"
        )
        with stores.database.engine.connect() as connection:
            local = connection.scalar(sa.text("SELECT LOCALTIMESTAMP"))
        now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
        # This checks that the session has another time zone.
        self.assertGreater(local - now, 12 * 60 * MINUTE)
        job = stores.jobs.get(stores.jobs.create(base.new_job()))
        self.assertIsNone(job.created_at.tzinfo)
        self.assertLess(abs(job.created_at - now), MINUTE)
        _, claim = stores.queue.claim_next("worker")
        stores.owned.finish(claim, 1000, 99, base.VERIFICATION)
        # A session in UTC reads the same moment.
        there = stores.jobs.get(job.id).finished_at
        self.assertEqual(there, self.jobs.get(job.id).finished_at)
        self.assertLess(abs(there - now), MINUTE)


class TestValuesSQLite(Values, base.SQLite):
    pass


class TestValuesMariaDB(Values, Clocks, base.MariaDB):
    elsewhere = {"init_command": "SET time_zone = '+13:00'"}

    def test_the_clock_is_the_databases(self) -> None:
        """MariaDB lets a session set its own time."""
        init = parse.quote("SET timestamp = 1000000000.25")
        stores = self.new_stores(f"{self.url}?init_command={init}")
        job = stores.jobs.get(stores.jobs.create(base.new_job()))
        self.assertEqual(
            datetime.datetime(2001, 9, 9, 1, 46, 40, 250000), job.created_at
        )

    def test_a_charset_that_lacks_characters_is_not_used(self) -> None:
        for charset in ("utf8", "latin1"):
            stores = self.new_stores(f"{self.url}?charset={charset}")
            for name in NAMES:
                job_id = stores.jobs.create(
                    base.new_job(source_image_name=name)
                )
                self.assertEqual(name, self.jobs.get(job_id).source_image_name)


class TestValuesPostgreSQL(Values, Clocks, base.PostgreSQL):
    elsewhere = {"options": "-c TimeZone=Pacific/Kiritimati"}
