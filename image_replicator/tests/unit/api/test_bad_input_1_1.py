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

"""Bad input for the features of version 1.1 gets one clear sentence."""

from typing import Any

import webob

from image_replicator.jobs import JobStatus
from image_replicator.tests.unit.api import base
from image_replicator.tests.unit.api import test_bad_input


class TestCreate(test_bad_input.BadInputTestCase):
    def create(self, **values: Any) -> webob.Response:
        body = {
            "image_id": test_bad_input.ID,
            "tenant_id_dst": base.DESTINATION,
            **values,
        }
        return self.post(body, headers=base.V1_1)

    def test_key_that_is_not_known(self) -> None:
        for key in ("region", "Name", "destination_image_name", "retry"):
            response = self.create(**{key: "x"})
            self.assert_refused(
                response, f"{key!r} is not known", "region_id_dst, name."
            )

    def test_the_required_keys_are_the_same(self) -> None:
        response = self.post({"name": "x"}, headers=base.V1_1)
        self.assert_refused(response, "required")

    def test_name_that_is_none(self) -> None:
        names: tuple[Any, ...] = (
            None,
            1,
            True,
            [],
            {},
            "x" * 256,
            "\x00",
            "a\nb",
            "a\n",
            "\x7f",
            "\x85",
            "\ud800",
            "\udfff",
            "\U00010000",
            "a \U0001f427",
            "\U0010ffff",
        )
        for name in names:
            with self.subTest(name=name):
                self.assert_refused(self.create(name=name), "name must be")

    def test_region_that_is_none(self) -> None:
        for region in (
            None,
            2,
            [],
            ["ot2"],
            "",
            "x" * 256,
            "ot2\n",
            "\x00",
            "\x9b",
            "\udc80",
        ):
            with self.subTest(region=region):
                response = self.create(region_id_dst=region)
                self.assert_refused(response, "region_id_dst must be")


class TestAction(test_bad_input.BadInputTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.job_id = self.add_job_that_is_over(
            source_image_id=test_bad_input.ID
        )

    def assert_nothing_happened(self) -> None:
        job = self.repository.get(self.job_id)
        self.assertEqual(JobStatus.CANCELED, job.status)
        self.assertEqual([], self.glance.asked)
        self.assertNotIn("Traceback", self.logged.output)

    def test_unknown_action_is_told_the_known_ones(self) -> None:
        bodies: tuple[dict[str, Any], ...] = (
            {"restart": {}},
            {"Retry": {}},
            {"": {}},
            {"\ud800": {}},
            {"retry": {}, "cancel": {}},
            {"retry": None, "cancel": None},
        )
        for body in bodies:
            with self.subTest(body=body):
                response = self.act(self.job_id, body)
                self.assert_refused(
                    response, "not known here; known are retry."
                )

    def test_no_action(self) -> None:
        response = self.act(self.job_id, {})
        self.assert_refused(response, "'retry' is a required property")

    def test_action_with_parameters(self) -> None:
        values: tuple[Any, ...] = (None, True, 0, "", [], {"force": True})
        for value in values:
            with self.subTest(value=value):
                response = self.act(self.job_id, {"retry": value})
                self.assert_refused(
                    response, "retry must be an empty JSON object"
                )

    def test_body_that_is_no_object(self) -> None:
        for body in (None, [], ["retry"], "retry", 1):
            with self.subTest(body=body):
                response = self.act(self.job_id, body)
                self.assert_refused(response, "a JSON object")

    def test_body_that_is_not_json(self) -> None:
        for body in (b"", b"retry", b"{'retry': {}}", b"\xff"):
            with self.subTest(body=body):
                self.assert_refused(self.act(self.job_id, body), "not JSON")

    def test_body_larger_than_the_limit(self) -> None:
        response = self.act(self.job_id, b" " * (test_bad_input.LIMIT + 1))
        self.assert_refused(response, f"{test_bad_input.LIMIT}", status=413)
