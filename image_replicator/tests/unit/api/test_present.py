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

"""Copies that are skipped, as the destination has the data."""

from typing import Any

import webob

from image_replicator.tests.unit.api import base
from image_replicator.tests.unit.api import test_create_1_2


class TestPresent(test_create_1_2.OrderTestCase):
    """Images that are at the destination already."""

    def skip(self, **destination: Any) -> dict[str, Any]:
        """Ask for a copy that is to be skipped; return the job."""
        response = self.order(
            {"tenant_id": "A", **destination}, if_present="skip"
        )
        self.assertEqual(202, response.status_int, response.text)
        (each,) = response.json["jobs"]
        return self.job(each["job_id"])

    def test_it_is_the_job_s_result_at_once(self) -> None:
        there = self.far.add(owner="A", name="any", **test_create_1_2.HASHES)
        job = self.skip()
        self.assertEqual("replicated", job["status"])
        self.assertEqual(there["id"], job["destination_image_id"])
        self.assertTrue(job["skipped"])
        self.assertEqual(100, job["copy_progress"])
        self.assertEqual(
            {
                "algorithm": "sha512",
                "source": test_create_1_2.HASHES["os_hash_value"],
                "destination": test_create_1_2.HASHES["os_hash_value"],
            },
            job["verification"],
        )
        self.assertIsNone(job["read_from"])
        self.assertIsNone(job["error"])
        self.assertEqual([], self.trusts)

    def test_the_caller_in_the_tenant_is_who_asks(self) -> None:
        self.far.add(owner="A", **test_create_1_2.HASHES)
        self.skip()
        asked = self.far.asked[0]
        self.assertEqual("/v2/images", asked["PATH_INFO"])
        self.assertEqual("A", asked["HTTP_X_PROJECT_ID"])
        for part in ("owner=A", "status=active", "os_hash_value=abab"):
            self.assertIn(part, asked["QUERY_STRING"])

    def test_in_the_source_s_own_region(self) -> None:
        self.glance.add(owner="A", **test_create_1_2.HASHES)
        self.assertTrue(self.skip(region_id="ot1")["skipped"])
        self.assertEqual([], self.far.asked)
        projects = [
            asked.get("HTTP_X_PROJECT_ID") for asked in self.glance.asked
        ]
        self.assertEqual([base.SOURCE, base.SOURCE, "A"], projects)

    def test_one_that_differs_is_no_such_image(self) -> None:
        cases: tuple[dict[str, Any], ...] = (
            {"owner": "B"},
            {"status": "deactivated"},
            {"size": 5},
            {"os_hash_value": "cd" * 64},
            {"os_hash_algo": "sha256"},
            {"tags": ["image_replicator:ot1"]},
        )
        for number, differs in enumerate(cases):
            self.far.images.clear()
            self.far.add(**{"owner": "A", **test_create_1_2.HASHES, **differs})
            job = self.skip(region_id=f"region-{number}")
            self.assertFalse(job["skipped"], str(differs))

    def test_the_name_counts_if_one_is_asked_for(self) -> None:
        self.far.add(owner="A", name="old", **test_create_1_2.HASHES)
        self.assertFalse(self.skip(name="new")["skipped"])
        self.far.add(owner="A", name="new", **test_create_1_2.HASHES)
        self.assertTrue(self.skip(name="new")["skipped"])

    def test_nothing_is_known_of_a_source_without_hash(self) -> None:
        self.image |= dict.fromkeys(test_create_1_2.HASHES)
        self.far.add(owner="A", os_hash_algo=None, os_hash_value=None)
        self.assertFalse(self.skip()["skipped"])

    def test_by_default_another_copy_is_made(self) -> None:
        self.far.add(owner="A", **test_create_1_2.HASHES)
        cases: tuple[dict[str, Any], ...] = ({}, {"if_present": "copy"})
        for values in cases:
            response = self.order(
                {"tenant_id": "A", "region_id": f"r{len(values)}"}, **values
            )
            (each,) = response.json["jobs"]
            self.assertFalse(self.job(each["job_id"])["skipped"])

    def test_some_of_many(self) -> None:
        self.far.add(owner="B", **test_create_1_2.HASHES)
        response = self.order("A", "B", "C", if_present="skip")
        jobs = [self.job(each["job_id"]) for each in response.json["jobs"]]
        self.assertEqual(
            [False, True, False], [job["skipped"] for job in jobs]
        )

    def test_who_may_not_list_cannot_know(self) -> None:
        for status, expected in ((403, 403), (401, 403), (500, 503)):
            self.far.documents["/v2/images"] = webob.Response(status=status)
            response = self.order("A", if_present="skip")
            self.assert_error(expected, response, "destinations[0]: ")
        self.assertEqual(0, self.count_jobs())

    def test_an_answer_that_is_no_list(self) -> None:
        documents: tuple[Any, ...] = (
            [],
            {},
            {"images": None},
            "images",
            {"images": [1]},
        )
        for document in documents:
            self.far.documents["/v2/images"] = document
            response = self.order("A", if_present="skip")
            if document == {"images": [1]}:
                self.assertEqual(202, response.status_int)
            else:
                self.assert_error(503, response, "does not answer as it")
