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

"""Requests for copies in version 1.2, and the same as a dry run."""

import datetime
import json
from typing import Any
from typing import Final

import sqlalchemy as sa
import webob

from image_replicator.db import models
from image_replicator.images import probe
from image_replicator.tests.unit.api import base

HASHES: Final[dict[str, Any]] = {
    "os_hash_algo": "sha512",
    "os_hash_value": "ab" * 64,
}


class OrderTestCase(base.ApiTestCase):
    """A test with an image of the source tenant.

    :ivar dead_regions: the regions whose image service is down.
    """

    def setUp(self) -> None:
        super().setUp()
        self.dead_regions: list[str] = []
        self.image = self.glance.add(
            container_format="bare",
            disk_format="raw",
            min_disk=0,
            kernel_id=None,
            owner_id="somebody",
            os_type="linux",
            **HASHES,
        )

    def find_problem(
        self, session: Any, catalogue: Any, region: str, timeout: float
    ) -> probe.Problem | None:
        if region in self.dead_regions:
            return probe.problem_of_error(OSError("It is down."), region)
        return None

    def order(
        self,
        *destinations: str | dict[str, Any],
        key: str | None = None,
        dry_run: bool = False,
        **values: Any,
    ) -> webob.Response:
        """Ask for copies in version 1.2.

        :param destinations: the ids of tenants, or whole ones.
        :param key: the idempotency key.
        """
        body: dict[str, Any] = {"image_id": self.image["id"], **values}
        if destinations:
            body["destinations"] = [
                {"tenant_id": each} if isinstance(each, str) else each
                for each in destinations
            ]
        headers = dict(base.V1_2)
        if key is not None:
            headers["Idempotency-Key"] = key
        return self.request(
            "POST",
            "/jobs?dry_run=true" if dry_run else "/jobs",
            body=json.dumps(body).encode(),
            headers=headers,
        )

    def plan(self, *destinations: Any, **values: Any) -> list[dict[str, Any]]:
        """Return the plan of an order; check that nothing is written."""
        before = self.count_jobs()
        response = self.order(*destinations, dry_run=True, **values)
        self.assertEqual(200, response.status_int, response.text)
        self.assertEqual(before, self.count_jobs())
        plan: list[dict[str, Any]] = response.json["plan"]
        return plan

    def job(self, job_id: str) -> dict[str, Any]:
        """Return a job as version 1.2 shows it."""
        shown: dict[str, Any] = self.get(
            f"/jobs/{job_id}", headers=base.V1_2
        ).json
        return shown


class TestOrder(OrderTestCase):
    def test_one_destination_is_asked_for_and_answered_as_before(self) -> None:
        response = self.order(
            tenant_id_dst="A", region_id_dst="ot3", name="other"
        )
        self.assertEqual(202, response.status_int, response.text)
        (key,) = response.json
        job_id = response.json[key]
        self.assertEqual("job_id", key)
        self.assertTrue(response.location.endswith(f"/jobs/{job_id}"))
        shown = self.job(job_id)
        self.assertEqual("ot3", shown["destination_region_id"])

    def test_many_destinations(self) -> None:
        response = self.order(
            "B", {"tenant_id": "A", "region_id": "ot3", "name": "x"}, "C"
        )
        self.assertEqual(202, response.status_int, response.text)
        self.assertIsNone(response.location)
        self.assertEqual({"jobs"}, set(response.json))
        expected = [("B", "ot2"), ("A", "ot3"), ("C", "ot2")]
        for each, (tenant, region) in zip(
            response.json["jobs"], expected, strict=True
        ):
            self.assertEqual(
                {
                    "job_id": each["job_id"],
                    "destination_tenant_id": tenant,
                    "destination_region_id": region,
                },
                each,
            )
            job = self.repository.get(each["job_id"])
            self.assertEqual(
                "x" if tenant == "A" else None, job.destination_image_name
            )
        self.assertEqual(3, self.count_jobs())

    def test_a_list_of_one_is_answered_with_a_list(self) -> None:
        response = self.order("A")
        self.assertEqual(1, len(response.json["jobs"]))

    def test_64_destinations(self) -> None:
        tenants = [f"tenant-{number}" for number in range(64)]
        response = self.order(*tenants)
        self.assertEqual(
            tenants,
            [each["destination_tenant_id"] for each in response.json["jobs"]],
        )

    def test_a_right_is_taken_once_a_tenant_and_after_all_checks(self) -> None:
        self.dead_regions = ["ot4"]
        self.order("A", {"tenant_id": "B", "region_id": "ot4"})
        self.assertEqual([], self.trusts)
        ot3 = {"tenant_id": "A", "region_id": "ot3"}
        self.assertEqual(202, self.order("A", ot3, "B").status_int)
        self.assertEqual(
            [base.SOURCE, "A", "B"], [trust[1] for trust in self.trusts]
        )

    def test_priority(self) -> None:
        cases: tuple[tuple[dict[str, Any], str], ...] = (
            ({}, "interactive"),
            ({"priority": "interactive"}, "interactive"),
            ({"priority": "background"}, "background"),
        )
        for values, expected in cases:
            response = self.order(
                {"tenant_id": "A", "region_id": f"r{len(values)}{expected}"},
                **values,
            )
            (each,) = response.json["jobs"]
            self.assertEqual(expected, self.job(each["job_id"])["priority"])

    def test_a_name_of_each_error_is_its_place(self) -> None:
        self.dead_regions = ["ot3"]
        self.order("B")
        for destinations, status, sentence in (
            (
                ["A", {"tenant_id": "B", "region_id": "ot3"}],
                409,
                "destinations[1]: The image service of region ot3",
            ),
            (["A", "B"], 409, "destinations[1]: A copy of this image"),
            (
                [{"tenant_id": base.SOURCE, "region_id": "ot1"}, "A"],
                400,
                "destinations[0]: The image is in this tenant and region",
            ),
            (
                ["A", "C", {"tenant_id": "A", "region_id": "ot2"}],
                400,
                "destinations[2]: It is the same as destinations[0].",
            ),
        ):
            response = self.order(*destinations)
            self.assert_error(status, response, sentence)
            self.assertEqual(1, self.count_jobs())

    def test_the_image_is_no_destination_s_fault(self) -> None:
        self.image["status"] = "deactivated"
        response = self.order("A", "B")
        self.assert_error(409, response, "The image is deactivated")
        self.assertNotIn("destinations", response.text)

    def test_none_is_queued_beyond_the_limit(self) -> None:
        self.build(api={"max_active_jobs_per_tenant": 2})
        response = self.order("A", "B", "C")
        self.assert_error(413, response, "0 active jobs and may have 2")
        self.assertEqual(0, self.count_jobs())
        self.assertEqual(202, self.order("A", "B").status_int)

    def test_retry_keeps_what_was_asked_for(self) -> None:
        (each,) = self.order("A", priority="background").json["jobs"]
        self.repository.request_cancel(each["job_id"])
        with self.database.engine.begin() as connection:
            connection.execute(
                sa.update(models.Job).values(status="canceled", active=None)
            )
        self.assertEqual(202, self.retry(each["job_id"]).status_int)
        self.assertEqual("background", self.job(each["job_id"])["priority"])


class TestKey(OrderTestCase):
    def test_the_first_answer_is_given_again(self) -> None:
        cases: tuple[tuple[list[str], dict[str, Any]], ...] = (
            (["A", "B"], {}),
            ([], {"tenant_id_dst": "C"}),
        )
        for destinations, values in cases:
            key = f"key-{len(destinations)}"
            first = self.order(*destinations, key=key, **values)
            self.assertEqual(202, first.status_int, first.text)
            self.assertNotIn("Idempotency-Replayed", first.headers)
            before = self.count_jobs()
            again = self.order(*destinations, key=key, **values)
            self.assertEqual(202, again.status_int)
            self.assertEqual("true", again.headers["Idempotency-Replayed"])
            self.assertEqual(first.body, again.body)
            self.assertEqual(first.location, again.location)
            self.assertEqual(before, self.count_jobs())

    def test_also_when_nothing_of_it_holds_any_more(self) -> None:
        first = self.order("A", key="key")
        self.image["status"] = "deleted"
        self.dead_regions = ["ot2"]
        self.assertEqual(first.body, self.order("A", key="key").body)

    def test_another_request_with_the_key_is_refused(self) -> None:
        self.order("A", key="key")
        for response in (
            self.order("B", key="key"),
            self.order("A", "B", key="key"),
            self.order("A", key="key", priority="background"),
            self.order(key="key", tenant_id_dst="A"),
        ):
            self.assert_error(422, response, "was used for another request")
        self.assertEqual(1, self.count_jobs())

    def test_the_order_of_keys_in_the_body_is_no_difference(self) -> None:
        headers = {**base.V1_2, "Idempotency-Key": "key"}
        texts = (
            '{"image_id": "%s", "tenant_id_dst": "A"}',
            '{ "tenant_id_dst":"A","image_id": "%s" }',
        )
        bodies = [
            self.post((text % self.image["id"]).encode(), headers=headers).body
            for text in texts
        ]
        self.assertEqual(bodies[0], bodies[1])

    def test_each_project_has_its_keys(self) -> None:
        self.image["owner"] = "shared"
        first = self.order("A", key="key").json
        response = self.request(
            "POST",
            "/jobs",
            body=json.dumps(
                {
                    "image_id": self.image["id"],
                    "destinations": [{"tenant_id": "B"}],
                }
            ).encode(),
            headers={**base.V1_2, "Idempotency-Key": "key"},
            caller=base.environ(base.OTHER),
        )
        self.assertEqual(202, response.status_int)
        self.assertNotEqual(first, response.json)

    def test_what_failed_is_not_remembered(self) -> None:
        self.image["status"] = "queued"
        self.assert_error(409, self.order("A", key="key"))
        self.image["status"] = "active"
        response = self.order("A", key="key")
        self.assertEqual(202, response.status_int)
        self.assertNotIn("Idempotency-Replayed", response.headers)

    def test_after_a_day_it_is_a_new_key(self) -> None:
        self.order("A", key="key")
        with self.database.engine.begin() as connection:
            connection.execute(
                sa.update(models.IdempotencyKey).values(
                    created_at=datetime.datetime(2026, 1, 1)
                )
            )
        self.assertEqual(202, self.order("B", key="key").status_int)

    def test_a_key_of_any_visible_character(self) -> None:
        key = "".join(map(chr, range(0x21, 0x7F))) * 2
        first = self.order("A", key=key)
        self.assertEqual(first.body, self.order("A", key=key).body)

    def test_older_versions_do_not_read_it(self) -> None:
        for headers in ({}, base.V1_1):
            headers = {**headers, "Idempotency-Key": "not read \x01"}
            responses = [
                self.post(
                    {"image_id": self.image["id"], "tenant_id_dst": tenant},
                    headers=headers,
                )
                for tenant in (f"A{len(headers)}", f"B{len(headers)}")
            ]
            self.assertEqual([202, 202], [r.status_int for r in responses])

    def test_a_dry_run_uses_none(self) -> None:
        self.plan("A", key="key")
        self.assertEqual(202, self.order("B", key="key").status_int)
