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

"""Listings: order, pages and filters."""

import collections
import datetime
from typing import Any

import requests
from oslo_utils import uuidutils

from devcloud import cloud
from image_replicator.jobs import JobStatus
from image_replicator.tests.functional.cloud import api_base

_START = datetime.datetime(2026, 1, 1)


class ListTestCase(api_base.ApiTestCase):
    def page(self, query: str = "", **kwargs: Any) -> list[dict[str, Any]]:
        """Return a page."""
        reply = self.request("GET", f"/jobs{query}", **kwargs)
        self.assertEqual(200, reply.status_code, reply.text)
        jobs: list[dict[str, Any]] = reply.json()
        return jobs

    def ids(self, query: str = "", **kwargs: Any) -> list[str]:
        """Return the ids of a page's jobs."""
        return [job["job_id"] for job in self.page(query, **kwargs)]

    def walk(self, query: str, **kwargs: Any) -> list[dict[str, Any]]:
        """Follow the links from a page to the last one."""
        jobs: list[dict[str, Any]] = []
        path: str | None = f"/jobs{query}"
        while path:
            reply = self.request("GET", path, **kwargs)
            self.assertEqual(200, reply.status_code, reply.text)
            jobs += reply.json()
            path = self.next_path(reply)
        return jobs

    def next_path(self, reply: requests.Response) -> str | None:
        if "next" not in reply.links:
            return None
        url = reply.links["next"]["url"]
        self.assertTrue(url.startswith(cloud.BASE_PATH), url)
        return url.removeprefix(cloud.BASE_PATH)


class TestOrder(ListTestCase):
    def test_body_is_a_bare_array_newest_first(self) -> None:
        ids = self.add_jobs(
            *(
                {"created_at": _START + datetime.timedelta(milliseconds=n)}
                for n in range(5)
            )
        )
        self.assertEqual(ids[::-1], self.ids())
        self.assertEqual(ids, self.ids("?sort_dir=asc"))

    def test_every_key_sorts_and_pages_through_every_job_once(self) -> None:
        """Many of the jobs have equal keys, and are sorted by id."""
        statuses = list(JobStatus)
        ids = self.add_jobs(
            *(
                {
                    "created_at": _START + datetime.timedelta(days=n % 3),
                    "updated_at": _START - datetime.timedelta(days=n % 2),
                    "status": statuses[n % len(statuses)],
                    "source_image_name": f"name {n % 4}",
                    "destination_region_id": f"ot{n % 2}",
                }
                for n in range(13)
            )
        )
        keys = (
            "created_at",
            "updated_at",
            "job_id",
            "status",
            "source_image_id",
            "source_image_name",
            "source_region_id",
            "source_tenant_id",
            "destination_region_id",
            "destination_tenant_id",
        )
        for key in keys:
            for direction in ("asc", "desc"):
                query = f"?limit=5&sort_key={key}&sort_dir={direction}"
                jobs = self.walk(query)
                self.assertEqual(
                    sorted(ids), sorted(job["job_id"] for job in jobs), query
                )
                if key in jobs[0]:
                    values = [job[key] for job in jobs]
                    down = direction == "desc"
                    self.assertEqual(
                        sorted(values, reverse=down), values, query
                    )


class TestPages(ListTestCase):
    def setUp(self) -> None:
        super().setUp()
        created = (_START + datetime.timedelta(hours=n) for n in range(5))
        self.jobs = self.add_jobs(*({"created_at": when} for when in created))
        self.jobs.reverse()

    def test_limit(self) -> None:
        self.assertEqual(self.jobs[:2], self.ids("?limit=2"))
        self.assertEqual(self.jobs, self.ids("?limit=999999999"))

    def test_marker(self) -> None:
        query = f"?limit=2&marker={self.jobs[1]}"
        self.assertEqual(self.jobs[2:4], self.ids(query))
        self.assertEqual([], self.ids(f"?marker={self.jobs[-1]}"))

    def test_new_jobs_do_not_disturb_who_pages(self) -> None:
        first = self.request("GET", "/jobs?limit=2")
        self.add_jobs({"created_at": _START + datetime.timedelta(days=9)})
        following = self.next_path(first)
        assert following
        reply = self.request("GET", following)
        self.assertEqual(
            self.jobs[2:4], [job["job_id"] for job in reply.json()]
        )

    def test_marker_that_is_not_there(self) -> None:
        reply = self.request(
            "GET", f"/jobs?marker={uuidutils.generate_uuid()}"
        )
        self.assert_error(400, reply, "marker")

    def test_marker_of_another_tenant(self) -> None:
        (other,) = self.add_jobs(
            {"source_tenant_id": "0" * 32, "destination_tenant_id": "1" * 32}
        )
        reply = self.request("GET", f"/jobs?marker={other}")
        self.assert_error(400, reply, "marker")


class TestFilters(ListTestCase):
    def test_every_filter(self) -> None:
        name = "Ünï & =+%/ \"'"
        row = {
            "status": JobStatus.REPLICATED,
            "source_image_id": uuidutils.generate_uuid(),
            "source_image_name": name,
            "destination_image_id": uuidutils.generate_uuid(),
            "destination_region_id": "ot9",
            "destination_tenant_id": "9" * 32,
        }
        expected, _other = self.add_jobs(row, {})
        for key, value in row.items():
            reply = self.request("GET", "/jobs", params={key: str(value)})
            ids = [job["job_id"] for job in reply.json()]
            self.assertEqual([expected], ids, key)

    def test_filters_narrow_each_other(self) -> None:
        region = {"destination_region_id": "ot9"}
        status = {"status": JobStatus.REPLICATED}
        both, _, _ = self.add_jobs(region | status, region, status)
        query = "?destination_region_id=ot9&status=replicated"
        self.assertEqual([both], self.ids(query))

    def test_filter_that_matches_nothing(self) -> None:
        self.add_jobs({})
        for query in (
            "?status=error",
            "?destination_region_id=ot1",
            "?destination_region_id=OT2",
            "?source_image_name=%25",
            f"?source_image_id={uuidutils.generate_uuid()}",
        ):
            self.assertEqual([], self.ids(query), query)


class TestTenants(ListTestCase):
    def test_tenants_see_what_leaves_and_what_arrives(self) -> None:
        source = self.cloud.project_id("source")
        ours, onto_itself, arriving, _foreign = self.add_jobs(
            {},
            {"destination_tenant_id": source},
            {"source_tenant_id": "0" * 32, "destination_tenant_id": source},
            {"source_tenant_id": "0" * 32, "destination_tenant_id": "1" * 32},
        )
        self.assertEqual({ours, onto_itself, arriving}, set(self.ids()))
        self.assertEqual(
            collections.Counter([ours, onto_itself, arriving]),
            collections.Counter(
                job["job_id"] for job in self.walk("?limit=1")
            ),
        )
        self.assertEqual([ours], self.ids(project="destination"))

    def test_administrator_pages_through_all_tenants_jobs(self) -> None:
        ids = self.add_jobs(
            *({"source_tenant_id": f"{n:032}"} for n in range(5))
        )
        admin = {"user": "admin", "project": "admin"}
        jobs = self.walk("?all_tenants=true&limit=2", **admin)
        self.assertEqual(sorted(ids), sorted(job["job_id"] for job in jobs))
        self.assertEqual([], self.ids(**admin))
