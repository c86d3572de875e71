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

"""Bad input for the features of version 1.2 gets one clear sentence."""

from typing import Any

import webob

from image_replicator.tests.unit.api import base
from image_replicator.tests.unit.api import test_bad_input

_ONE = {"tenant_id": base.DESTINATION}


class TestOrder(test_bad_input.BadInputTestCase):
    def order(self, **values: Any) -> webob.Response:
        body = {"image_id": test_bad_input.ID, **values}
        return self.post(body, headers=base.V1_2)

    def test_no_destination(self) -> None:
        for values in ({}, {"name": "x"}, {"priority": "background"}):
            response = self.order(**values)
            self.assert_refused(
                response, "'destinations' or 'tenant_id_dst' is required."
            )

    def test_destinations_that_are_none(self) -> None:
        values: tuple[Any, ...] = (
            None,
            {},
            "",
            [],
            [{"tenant_id": f"t{number}"} for number in range(65)],
        )
        for value in values:
            with self.subTest(value=value):
                self.assert_refused(
                    self.order(destinations=value),
                    "destinations must be a list of 1 to 64 destinations.",
                )

    def test_a_destination_that_is_none(self) -> None:
        cases: tuple[tuple[Any, str], ...] = (
            (None, "destinations[1] must be a JSON object."),
            ([], "destinations[1] must be a JSON object."),
            ({}, "in destinations[1], 'tenant_id' is a required property."),
            (
                {"tenant_id": ""},
                "destinations[1].tenant_id must be the ID of a project.",
            ),
            (
                {"tenant_id": "a/b"},
                "destinations[1].tenant_id must be the ID of a project.",
            ),
            (
                {"tenant_id": "a", "region_id": ""},
                "destinations[1].region_id must be the ID of a region",
            ),
            (
                {"tenant_id": "a", "name": "x\n"},
                "destinations[1].name must be at most 255 characters",
            ),
            (
                {"tenant_id": "a", "region_id_dst": "ot2"},
                "in destinations[1], 'region_id_dst' is not known here; "
                "known are tenant_id, region_id, name.",
            ),
        )
        for value, sentence in cases:
            with self.subTest(value=value):
                response = self.order(destinations=[_ONE, value])
                self.assert_refused(response, sentence)

    def test_both_forms(self) -> None:
        for key, value in (
            ("tenant_id_dst", base.DESTINATION),
            ("region_id_dst", "ot2"),
            ("name", "x"),
        ):
            response = self.order(destinations=[_ONE], **{key: value})
            self.assert_refused(
                response, f"not have both 'destinations' and '{key}'"
            )

    def test_one_destination_twice(self) -> None:
        ot2 = {**_ONE, "region_id": "ot2"}
        for listed in (
            [_ONE, {"tenant_id": "a"}, _ONE],
            [ot2, {**ot2, "region_id": "ot3"}, {**ot2, "name": "other"}],
        ):
            response = self.order(destinations=listed)
            self.assert_refused(
                response, "destinations[2] is the same as destinations[0]."
            )

    def test_a_choice_that_there_is_not(self) -> None:
        for key, known in (
            ("priority", "interactive, background"),
            ("if_present", "copy, skip"),
        ):
            values: tuple[Any, ...] = (None, "", "Copy", "high", 1, True, [])
            for value in values:
                with self.subTest(key=key, value=value):
                    response = self.order(
                        tenant_id_dst=base.DESTINATION, **{key: value}
                    )
                    self.assert_refused(
                        response, f"{key} must be one of {known}."
                    )

    def test_older_versions_do_not_know_them(self) -> None:
        for key, value in (
            ("destinations", [_ONE]),
            ("priority", "background"),
            ("if_present", "skip"),
        ):
            for headers in ({}, base.V1_1):
                body = {
                    "image_id": test_bad_input.ID,
                    "tenant_id_dst": base.DESTINATION,
                    key: value,
                }
                response = self.post(body, headers=headers)
                self.assert_refused(response, f"{key!r} is not known here")

    def test_a_key_that_is_none(self) -> None:
        for key in ("", "a b", "k" * 256, "a\tb", "\x01", "\x7f", "é", "a, a"):
            with self.subTest(key=key):
                response = self.post(
                    {
                        "image_id": test_bad_input.ID,
                        "tenant_id_dst": base.DESTINATION,
                    },
                    headers={**base.V1_2, "Idempotency-Key": key},
                )
                self.assert_refused(
                    response,
                    "Idempotency-Key must be 1 to 255 visible ASCII "
                    "characters, and be sent once.",
                )

    def test_a_query_that_is_none(self) -> None:
        for query, sentence in (
            ("dry_run=", "dry_run must be true or false."),
            ("dry_run=maybe", "dry_run must be true or false."),
            ("dry_run=1&dry_run=0", "names a key more than once."),
            ("dryrun=1", "'dryrun' is not known here; known are dry_run."),
        ):
            with self.subTest(query=query):
                response = self.request(
                    "POST", f"/jobs?{query}", body=b"{}", headers=base.V1_2
                )
                self.assert_refused(response, sentence)


class TestFilters(test_bad_input.BadInputTestCase):
    def list(self, query: str) -> webob.Response:
        return self.get(f"/jobs?{query}", headers=base.V1_2)

    def test_statuses_that_there_are_not(self) -> None:
        for value in (
            "",
            "done",
            "in:",
            "in:done",
            "in:error,",
            "in:error, canceled",
            "IN:error",
            "neq:error",
            "error,canceled",
            "in:in:error",
        ):
            with self.subTest(value=value):
                self.assert_refused(
                    self.list(f"status={value}"),
                    "status must be one of replicate_requested, ",
                )

    def test_times_that_are_none(self) -> None:
        for key in ("created_at", "updated_at", "finished_at"):
            for value in (
                "",
                "2026-11-26T12:00:00Z",
                "eq:2026-11-26T12:00:00Z",
                "GT:2026-11-26T12:00:00Z",
                "gt:",
                "gt:yesterday",
                "gt:2026-13-01T00:00:00Z",
                "gt:2026-11-26T25:00:00Z",
                "gt:2026-11-26T12:00:00+01:00",  # the plus is a blank
                "lte:0001-01-01T00:00:00%2B01:00",
                "gt:gt:2026-11-26T12:00:00Z",
                "gt:%D9%A2026-11-26T12:00:00Z",
            ):
                with self.subTest(key=key, value=value):
                    self.assert_refused(
                        self.list(f"{key}={value}"),
                        f"{key} must be gt:, gte:, lt: or lte: before a time "
                        "in ISO 8601, such as",
                    )

    def test_a_key_more_than_once(self) -> None:
        time = "2026-11-26T12:00:00Z"
        for query, key in (
            ("status=error&status=canceled", "status"),
            (f"created_at=gt:{time}&created_at=gt:{time}", "created_at"),
        ):
            self.assert_refused(
                self.list(query), f"it names {key} more than once."
            )
        self.assert_refused(
            self.list("limit=1&limit=2"), "names a key more than once."
        )

    def test_older_versions_do_not_know_them(self) -> None:
        for headers in ({}, base.V1_1):
            for query, sentence in (
                ("status=in:error", "status must be one of"),
                ("created_at=gt:2026-11-26", "'created_at' is not known here"),
            ):
                response = self.get(f"/jobs?{query}", headers=headers)
                self.assert_refused(response, sentence)
