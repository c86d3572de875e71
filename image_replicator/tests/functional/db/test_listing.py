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

"""Pages of jobs: their order and their boundaries."""

import datetime
import itertools
from typing import Any

import sqlalchemy as sa
from oslo_db.sqlalchemy import test_fixtures

from image_replicator.db import listing
from image_replicator.jobs import Job
from image_replicator.jobs import JobStatus
from image_replicator.tests.functional.db import base

load_tests = test_fixtures.optimize_module_test_loader()


def at(minute: int) -> datetime.datetime:
    return base.LONG_AGO + datetime.timedelta(minutes=minute)


class Listing(base.JobsMixin):
    def _pages(self, **options: Any) -> list[list[Job]]:
        """Return all pages, following each page's last job."""
        pages: list[list[Job]] = []
        marker = None
        while page := self.jobs.list(listing.Page(marker=marker, **options)):
            pages.append(page)
            marker = page[-1]
        return pages

    def _insert_alike(self) -> list[str]:
        """Insert jobs with values that other jobs also have."""
        return self.insert(
            *(
                base.row(
                    created_at=at(n % 4),
                    updated_at=at(n % 3),
                    status=list(JobStatus)[n % 7],
                    source_image_id=f"image-{n}",
                    source_image_name=f"name-{n % 3}",
                    source_region_id=f"region-{n % 2}",
                    destination_region_id=f"region-{n % 3}",
                    source_tenant_id=f"tenant-{n % 3}",
                    destination_tenant_id=f"tenant-{n % 2}",
                )
                for n in range(23)
            )
        )

    def test_every_order_page_by_page(self) -> None:
        self._insert_alike()
        # A copy within one tenant is on both sides, but listed once.
        for tenant_id, key, descending in itertools.product(
            (None, "tenant-0"), listing.SORT_KEYS, (True, False)
        ):
            with base.telling(f"{tenant_id} by {key}, {descending=}"):
                self._check_order(tenant_id, key, descending)

    def _check_order(
        self, tenant_id: str | None, key: str, descending: bool
    ) -> None:
        options: dict[str, Any] = {
            "tenant_id": tenant_id,
            "sort_key": key,
            "descending": descending,
        }
        everything = self.jobs.list(listing.Page(limit=1000, **options))
        name = listing.SORT_KEYS[key].name
        self.assertEqual(
            sorted(
                everything,
                key=lambda job: (getattr(job, name), job.id),
                reverse=descending,
            ),
            everything,
        )
        with self.engine.connect() as connection:
            query = sa.select(base.JOBS.c.id)
            if tenant_id:
                query = query.where(
                    sa.or_(
                        base.JOBS.c.source_tenant_id == tenant_id,
                        base.JOBS.c.destination_tenant_id == tenant_id,
                    )
                )
            wanted = connection.scalars(query).all()
        self.assertEqual(sorted(wanted), sorted(job.id for job in everything))
        pages = self._pages(limit=4, **options)
        self.assertEqual([*itertools.chain(*pages)], everything)
        for page in pages[:-1]:
            self.assertEqual(4, len(page))

    def test_a_job_on_both_sides_is_one(self) -> None:
        self.insert_one(
            source_tenant_id="me",
            destination_tenant_id="me",
            error_message="why",
        )
        page = listing.Page(limit=10, tenant_id="me")
        self.assertEqual(1, len(self.jobs.list(page)))

    def test_newest_first_unless_asked_otherwise(self) -> None:
        ids = self.insert(*(base.row(created_at=at(n)) for n in range(3)))
        page = listing.Page(limit=2, tenant_id="source")
        listed = [job.id for job in self.jobs.list(page)]
        self.assertEqual([ids[2], ids[1]], listed)

    def test_filters(self) -> None:
        self._insert_alike()
        filters = {
            "status": "error",
            "source_image_id": "image-5",
            "source_image_name": "name-1",
            "destination_region_id": "region-2",
            "destination_tenant_id": "tenant-1",
        }
        for tenant_id, (name, value) in itertools.product(
            (None, "tenant-1"), filters.items()
        ):
            with base.telling(f"{name} of {tenant_id}"):
                everything = self.jobs.list(
                    listing.Page(limit=1000, tenant_id=tenant_id)
                )
                found = self._pages(
                    limit=2, tenant_id=tenant_id, filters={name: value}
                )
                self.assertNotEqual([], found)
                self.assertEqual(
                    [job for job in everything if getattr(job, name) == value],
                    [*itertools.chain(*found)],
                )

    def test_filters_are_combined(self) -> None:
        self._insert_alike()
        filters = {"source_image_name": "name-1", "status": "canceled"}
        (found,) = self._pages(limit=100, tenant_id=None, filters=filters)
        for job in found:
            self.assertEqual("name-1", job.source_image_name)
            self.assertEqual("canceled", job.status)
        filters["source_image_id"] = "none"
        page = listing.Page(limit=1, tenant_id=None, filters=filters)
        self.assertEqual([], self.jobs.list(page))

    def _found(self, *comparisons: tuple[str, str, Any]) -> list[int]:
        """Return the numbers of the jobs that meet some comparisons."""
        page = listing.Page(
            limit=9,
            tenant_id="source",
            descending=False,
            comparisons=[listing.Comparison(*each) for each in comparisons],
        )
        return [job.image_size for job in self.jobs.list(page)]

    def test_comparisons(self) -> None:
        times = [
            base.LONG_AGO + datetime.timedelta(seconds=number)
            for number in range(4)
        ]
        self.insert(
            *(
                base.row(
                    status=status,
                    image_size=number,
                    created_at=times[number],
                    updated_at=times[-number - 1],
                    finished_at=None if number < 2 else times[number],
                )
                for number, status in enumerate(
                    ["replicating", "replicate_requested", "error", "canceled"]
                )
            )
        )
        for compared, expected in (
            ([("status", "in", ["error"])], [2]),
            ([("status", "in", ["canceled", "error", "canceling"])], [2, 3]),
            ([("created_at", "gt", times[1])], [2, 3]),
            ([("created_at", "gte", times[1])], [1, 2, 3]),
            ([("created_at", "lt", times[1])], [0]),
            ([("created_at", "lte", times[1])], [0, 1]),
            ([("updated_at", "gt", times[1])], [0, 1]),
            # A job that is not over has no such time.
            ([("finished_at", "lte", times[3])], [2, 3]),
            (
                [
                    ("created_at", "lt", times[3]),
                    ("status", "in", ["canceled", "error"]),
                    ("created_at", "gte", times[1]),
                ],
                [2],
            ),
        ):
            with base.telling(str(compared)):
                self.assertEqual(expected, self._found(*compared))

    def test_a_destination_image_is_found(self) -> None:
        wanted, _ = self.insert(
            base.row(destination_image_id="here"), base.row()
        )
        page = listing.Page(
            limit=9, tenant_id=None, filters={"destination_image_id": "here"}
        )
        self.assertEqual([wanted], [job.id for job in self.jobs.list(page)])


class TestListingSQLite(Listing, base.SQLite):
    pass


class TestListingMariaDB(Listing, base.MariaDB):
    pass


class TestListingPostgreSQL(Listing, base.PostgreSQL):
    pass
