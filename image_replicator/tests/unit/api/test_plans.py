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

"""Plans of a dry run, and refusals that are known beforehand."""

import json
from collections.abc import Iterable
from typing import Any

import fixtures
from oslo_utils import units

from image_replicator import exception
from image_replicator import sealing
from image_replicator.tests.unit.api import base
from image_replicator.tests.unit.api import test_create_1_2


def usage(**kinds: tuple[int, int]) -> dict[str, Any]:
    """Return what Glance shows, given usage and limit of each kind."""
    return {
        "usage": {
            kind: {"usage": used, "limit": limit}
            for kind, (used, limit) in kinds.items()
        }
    }


class TestForesight(test_create_1_2.OrderTestCase):
    """Refusals of the destination that are known before the copy begins."""

    def test_formats(self) -> None:
        for key, allowed, status in (
            ("disk_format", [None, "raw"], 202),
            ("disk_format", [None, "qcow2"], 409),
            ("container_format", ["ova"], 409),
            ("container_format", "bare", 202),
            ("container_format", None, 202),
        ):
            self.far.documents["/v2/schemas/image"] = {
                "properties": {key: {"enum": allowed}}
            }
            tenant = f"{key}-{allowed}".replace("'", "")
            tenant = "".join(c for c in tenant if c.isalnum())
            response = self.order(tenant)
            self.assertEqual(status, response.status_int, response.text)
            if status == 409:
                self.assert_error(409, response, f"whose {key} is ")

    def test_limits(self) -> None:
        self.image["size"] = 3 * units.Mi + 1
        for kinds, word in (
            ({"image_count_total": (4, 5)}, None),
            ({"image_count_total": (5, 5)}, "image_count_total is 5"),
            ({"image_count_total": (9, -1)}, None),
            ({"image_size_total": (7, 10)}, None),
            ({"image_size_total": (8, 10)}, "image_size_total is 10"),
            ({"image_size_total": (8, -1)}, None),
            ({"image_stage_total": (8, 1)}, None),
            ({}, None),
        ):
            self.far.documents["/v2/info/usage"] = usage(**kinds)
            number = len(self.trusts) + self.count_jobs()
            response = self.order(f"tenant-{number}")
            if word:
                self.assert_error(413, response, word)
            else:
                self.assertEqual(202, response.status_int, response.text)

    def test_what_is_not_said_refuses_nothing(self) -> None:
        documents: Iterable[Any] = ([], {}, None, "x", {"usage": []}, 1)
        for number, document in enumerate(documents):
            self.far.documents = {
                "/v2/schemas/image": document,
                "/v2/info/usage": document,
            }
            response = self.order(f"tenant-{number}")
            self.assertEqual(202, response.status_int, response.text)

    def test_a_region_that_does_not_answer_is_waited_for_once(self) -> None:
        asked: list[str] = []

        def be_silent(environ: dict[str, Any], start: Any) -> Any:
            asked.append(environ["PATH_INFO"])
            raise exception.ServiceUnavailable("It does not answer.")

        self.far = be_silent  # type: ignore[assignment]
        self.assertEqual(202, self.order("A", "B", "C").status_int)
        self.assertEqual(["/v2/schemas/image"], asked)

    def test_what_is_the_same_for_all_is_asked_once(self) -> None:
        self.order("A", "B", {"tenant_id": "A", "region_id": "ot3"})
        paths = [asked["PATH_INFO"] for asked in self.far.asked]
        self.assertEqual(2, paths.count("/v2/schemas/image"))
        self.assertEqual(3, paths.count("/v2/info/usage"))

    def test_older_versions_ask_the_destination_nothing(self) -> None:
        for headers in ({}, base.V1_1):
            self.copy(self.image["id"], f"T{len(headers)}", headers=headers)
        self.assertEqual([], self.far.asked)


class TestPlan(test_create_1_2.OrderTestCase):
    def test_of_a_copy(self) -> None:
        self.far.documents["/v2/info/usage"] = usage(image_count_total=(1, 9))
        self.image |= {"protected": False, "tags": [], "visibility": "shared"}
        (plan,) = self.plan({"tenant_id": "A", "name": "new"})
        self.assertEqual(
            {
                "destination_tenant_id": "A",
                "destination_region_id": "ot2",
                "region_reason": "default",
                "region_is_up": True,
                "name": "new",
                "image_size": 4,
                "usage": {"image_count_total": {"usage": 1, "limit": 9}},
                "skipped": False,
                "destination_image_id": None,
                "read_from": {
                    "region_id": "ot1",
                    "image_id": self.image["id"],
                },
                "refusal": None,
            },
            {key: plan[key] for key in plan if key != "properties"},
        )
        properties = plan["properties"]
        self.assertEqual(
            {"travels", "dropped", "rewritten", "refused"}, set(properties)
        )
        self.assertEqual({}, properties["refused"])
        self.assertEqual(
            {"owner", "visibility", "name"}, set(properties["rewritten"])
        )
        for name in ("os_type", "disk_format", "tags", "protected"):
            self.assertIn(name, properties["travels"])
        for name in ("owner_id", "id", "status", "os_hash_value"):
            self.assertIn(name, properties["dropped"])
        self.assertEqual([], self.trusts)

    def test_of_an_image_that_is_there(self) -> None:
        there = self.far.add(owner="A", **test_create_1_2.HASHES)
        plans = self.plan("A", "B", if_present="skip")
        self.assertEqual(
            [(True, there["id"], None), (False, None, base.SOURCE)],
            [
                (
                    plan["skipped"],
                    plan["destination_image_id"],
                    plan["read_from"] and self.image["owner"],
                )
                for plan in plans
            ],
        )

    def test_each_refusal_has_its_place(self) -> None:
        self.dead_regions = ["ot3"]
        self.order("B")
        plans = self.plan(
            "A",
            "B",
            {"tenant_id": "C", "region_id": "ot3"},
            {"tenant_id": "A", "region_id": "ot2"},
        )
        self.assertEqual(
            [None, 409, 409, 400],
            [plan["refusal"] and plan["refusal"]["code"] for plan in plans],
        )
        self.assertFalse(plans[2]["region_is_up"])
        self.assertIsNotNone(plans[2]["properties"])

    def test_of_an_image_that_cannot_be_copied(self) -> None:
        self.image["kernel_id"] = "a kernel"
        plans = self.plan("A", "B")
        for plan in plans:
            self.assertEqual(409, plan["refusal"]["code"])
            self.assertIn("kernel_id", plan["properties"]["refused"])
            self.assertIsNone(plan["region_is_up"])
        self.glance.images.clear()
        (plan,) = self.plan("A")
        self.assertEqual(404, plan["refusal"]["code"])
        self.assertIsNone(plan["properties"])
        self.assertIsNone(plan["image_size"])

    def test_beyond_the_limit(self) -> None:
        self.build(api={"max_active_jobs_per_tenant": 2})
        codes = [
            plan["refusal"] and plan["refusal"]["code"]
            for plan in self.plan("A", "B", "C")
        ]
        self.assertEqual([413, 413, 413], codes)
        self.assertEqual(
            [None, None], [plan["refusal"] for plan in self.plan("A", "B")]
        )

    def test_false_is_no_dry_run(self) -> None:
        body = json.dumps(
            {"image_id": self.image["id"], "tenant_id_dst": "A"}
        ).encode()
        response = self.request(
            "POST", "/jobs?dry_run=false", body=body, headers=base.V1_2
        )
        self.assertEqual(202, response.status_int)

    def test_the_policy_comes_first(self) -> None:
        response = self.request(
            "POST",
            "/jobs?dry_run=true",
            body=b"{}",
            headers=base.V1_2,
            caller=base.environ(roles=base.READER),
        )
        self.assert_error(403, response)

    def test_older_versions_do_not_read_it(self) -> None:
        for headers in ({}, base.V1_1):
            body = {
                "image_id": self.image["id"],
                "tenant_id_dst": f"A{len(headers)}",
            }
            response = self.request(
                "POST",
                "/jobs?dry_run=true",
                body=json.dumps(body).encode(),
                headers=headers,
            )
            self.assertEqual(202, response.status_int)


class TestRestricted(test_create_1_2.OrderTestCase):
    """Tokens that cannot give us a right."""

    def test_the_plan_says_so_as_well(self) -> None:
        # Without a place for sealing keys, such a token is refused.
        self.useFixture(
            fixtures.MockPatchObject(
                sealing.Sealer, "from_conf", lambda _: None
            )
        )
        self.build()
        methods = ("application_credential",)
        body = json.dumps(
            {"image_id": self.image["id"], "tenant_id_dst": base.SOURCE}
        ).encode()
        caller = base.environ(methods=methods)
        real, dry = (
            self.request(
                "POST", path, body=body, headers=base.V1_2, caller=caller
            )
            for path in ("/jobs", "/jobs?dry_run=true")
        )
        self.assertEqual(403, real.status_int, real.text)
        (plan,) = dry.json["plan"]
        self.assertEqual(
            {"code": 403, "message": real.json["error"]["message"]},
            plan["refusal"],
        )
