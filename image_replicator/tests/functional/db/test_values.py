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

"""What goes in comes out, whatever the names and the clocks."""

import datetime
from urllib import parse

import sqlalchemy as sa
from oslo_db.sqlalchemy import test_fixtures

from image_replicator.db import listing
from image_replicator.tests.functional.db import base

load_tests = test_fixtures.optimize_module_test_loader()

NAMES = (
    "",
    "plain",
    "PLAIN",
    "\U0001f4bf\U0001f680 4 bytes each",
    "\xdcn\xefc\xf6de",
    # The same to the eye, decomposed.
    "U\u0308ni\u0308co\u0308de",
    "%s %(name)s :name ? '\" \\ `;--",
    "日" * 255,
    "\U0001f4bf" * 255,
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
    #: Makes every session live half a day and more ahead of UTC.
    elsewhere: dict[str, str]

    def test_times_are_utc_wherever_the_session_lives(self) -> None:
        stores = self.new_stores(
            f"{self.url}?{parse.urlencode(self.elsewhere)}"
        )
        with stores.database.engine.connect() as connection:
            local = connection.scalar(sa.text("SELECT LOCALTIMESTAMP"))
        now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
        # The session does live elsewhere, else this would prove nothing.
        self.assertGreater(local - now, 12 * 60 * MINUTE)
        job = stores.jobs.get(stores.jobs.create(base.new_job()))
        self.assertIsNone(job.created_at.tzinfo)
        self.assertLess(abs(job.created_at - now), MINUTE)
        _, claim = stores.queue.claim_next("worker")
        stores.owned.finish(claim, 1000, 99, base.VERIFICATION)
        # Read in a session that lives in UTC, it is the same moment.
        there = stores.jobs.get(job.id).finished_at
        self.assertEqual(there, self.jobs.get(job.id).finished_at)
        self.assertLess(abs(there - now), MINUTE)


class TestValuesSQLite(Values, base.SQLite):
    pass


class TestValuesMariaDB(Values, Clocks, base.MariaDB):
    elsewhere = {"init_command": "SET time_zone = '+13:00'"}

    def test_the_clock_is_the_databases(self) -> None:
        """MariaDB lets a session believe that it is another time."""
        init = parse.quote("SET timestamp = 1000000000.25")
        stores = self.new_stores(f"{self.url}?init_command={init}")
        job = stores.jobs.get(stores.jobs.create(base.new_job()))
        self.assertEqual(
            datetime.datetime(2001, 9, 9, 1, 46, 40, 250000), job.created_at
        )

    def test_the_charset_that_the_url_names_is_used(self) -> None:
        stores = self.new_stores(f"{self.url}?charset=latin1")
        with stores.database.engine.connect() as connection:
            charset = connection.scalar(
                sa.text("SELECT @@character_set_client")
            )
        self.assertEqual("latin1", charset)


class TestValuesPostgreSQL(Values, Clocks, base.PostgreSQL):
    elsewhere = {"options": "-c TimeZone=Pacific/Kiritimati"}
