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

"""Listings of jobs: order, pages, filters and policy."""

import datetime
from typing import Any
from urllib import parse

import webob

from image_replicator.api import router
from image_replicator.tests.unit.api import base


class TestList(base.ApiTestCase):
    def add_jobs(self, count: int, **values: Any) -> list[str]:
        """Add jobs, a second apart; return their ids, newest first."""
        start = datetime.datetime(2026, 1, 1)
        ids = []
        for number in range(count):
            time = start + datetime.timedelta(seconds=number)
            ids.append(self.add_job(created_at=time, **values))
        return ids[::-1]

    def ids(self, response: webob.Response) -> list[str]:
        self.assertEqual(200, response.status_int, response.body)
        return [job["job_id"] for job in response.json]

    def test_no_jobs_are_an_empty_array(self) -> None:
        response = self.get("/jobs")
        self.assertEqual(b"[]", response.body)
        self.assertNotIn("Link", response.headers)

    def test_newest_comes_first(self) -> None:
        expected = self.add_jobs(3)
        self.assertEqual(expected, self.ids(self.get("/jobs")))
        response = self.get("/jobs?sort_dir=asc")
        self.assertEqual(expected[::-1], self.ids(response))

    def test_last_page_has_no_link(self) -> None:
        self.add_jobs(2)
        self.assertNotIn("Link", self.get("/jobs?limit=2").headers)
        self.assertIn("Link", self.get("/jobs?limit=1").headers)

    def test_link_keeps_the_query(self) -> None:
        name = 'a b&c=d/ü"<>'
        ids = self.add_jobs(3, source_image_name=name)
        self.add_jobs(2, source_image_name="another")
        query = {"source_image_name": name, "limit": "1"}
        path = f"/jobs?{parse.urlencode(query)}"
        seen = []
        for _ in range(3):
            response = self.get(path)
            seen += self.ids(response)
            link = response.headers.get("Link", "")
            path = link.partition(">")[0].removeprefix(f"<{router.BASE_PATH}")
        self.assertEqual(ids, seen)
        self.assertEqual("", link)

    def test_page_is_no_larger_than_the_operator_allows(self) -> None:
        ids = self.add_jobs(3)
        self.build(api={"max_limit": 2})
        for query in ("", "?limit=3", "?limit=999999999"):
            response = self.get(f"/jobs{query}")
            self.assertEqual(ids[:2], self.ids(response))
            self.assertIn("Link", response.headers)

    def test_another_tenant_s_job_is_no_marker(self) -> None:
        job_id = self.add_job(
            source_tenant_id=base.OTHER, destination_tenant_id=base.OTHER
        )
        response = self.get(f"/jobs?marker={job_id}")
        self.assert_error(400, response, "marker")

    def test_tenants_see_their_own_jobs(self) -> None:
        ours = self.add_jobs(2)
        other = self.add_job(
            source_tenant_id=base.OTHER, destination_tenant_id=base.OTHER
        )
        for tenant, expected in (
            (base.SOURCE, ours),
            (base.DESTINATION, ours),
            (base.OTHER, [other]),
        ):
            caller = base.environ(tenant, base.READER)
            response = self.get("/jobs", caller=caller)
            self.assertEqual(expected, self.ids(response))

    def test_all_tenants_are_for_administrators(self) -> None:
        ids = {self.add_job(), self.add_job(source_tenant_id=base.OTHER)}
        path = "/jobs?all_tenants=true"
        self.assert_error(403, self.get(path))
        admin = base.environ("f" * 32, base.ADMIN)
        self.assertEqual(ids, set(self.ids(self.get(path, caller=admin))))

    def test_administrator_sees_the_own_tenant_unless_asking_for_all(
        self,
    ) -> None:
        self.add_job()
        admin = base.environ("f" * 32, base.ADMIN)
        for path in ("/jobs", "/jobs?all_tenants=false"):
            self.assertEqual([], self.ids(self.get(path, caller=admin)))
