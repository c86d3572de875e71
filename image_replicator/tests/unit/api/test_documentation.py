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

"""The pages in doc/source/user agree with the code."""

import json
import pathlib
import re
import textwrap
from http import HTTPStatus
from typing import Any
from typing import Final

import testtools

import image_replicator
from image_replicator.api import http_errors
from image_replicator.api import router
from image_replicator.api import schemas
from image_replicator.jobs import JobStatus
from image_replicator.tests.unit.api import base

_PACKAGE: Final = pathlib.Path(image_replicator.__file__).parent
_PAGES: Final = _PACKAGE.parent.joinpath("doc", "source", "user")


def page(name: str) -> str:
    """Return the text of a page."""
    return _PAGES.joinpath(name).read_text()


class TestStatuses(testtools.TestCase):
    def test_table_is_complete(self) -> None:
        statuses = {
            *http_errors.STATUSES.values(),
            *(error.status for error in http_errors.APIError.__subclasses__()),
        }
        rows = re.findall(r"^   \* - (\d+)$", page("errors.rst"), re.MULTILINE)
        self.assertEqual(
            sorted(statuses - {HTTPStatus.INTERNAL_SERVER_ERROR}),
            [int(row) for row in rows],
        )


class TestReference(base.ApiTestCase):
    """The reference page of the API, and its examples."""

    def test_every_operation_has_its_row(self) -> None:
        text = page("api.rst")
        for route in router.ROUTES:
            request = re.escape(f"``{route.method} {route.path}``")
            self.assertRegex(
                text, rf"{request}\n     - \d+\n     - {route.since}\n"
            )

    def test_every_key_of_a_job_has_its_row(self) -> None:
        path = f"/jobs/{self.add_job()}"
        first = set(self.get(path).json)
        second = set(self.get(path, headers=base.V1_1).json)
        latest = self.get(path, headers=base.V1_2).json
        table = page("api.rst").partition("_show-a-job:")[2]
        rows = re.findall(r"^   \* - ``(.*)``\n     - (.*)$", table, re.M)
        since = {
            **dict.fromkeys(latest, "1.2"),
            **dict.fromkeys(second, "1.1"),
            **dict.fromkeys(first, "1.0"),
        }
        self.assertEqual([(key, since[key]) for key in latest], rows)

    def examples(self, *keys: str) -> list[Any]:
        """Return the examples that have all these keys."""
        blocks = re.findall(
            r"^\.\. code-block:: json\n\n((?:   .*\n|\n)+)",
            page("api.rst"),
            re.MULTILINE,
        )
        parsed = [json.loads(textwrap.dedent(block)) for block in blocks]
        return [one for one in parsed if set(keys) <= set(one)]

    def test_jobs(self) -> None:
        path = f"/jobs/{self.add_job()}"
        first = list(self.get(path).json)
        second = list(self.get(path, headers=base.V1_1).json)
        third = list(self.get(path, headers=base.V1_2).json)
        examples = self.examples("job_id", "status")
        self.assertEqual(
            [first, second, second, second, second, third],
            [list(example) for example in examples],
        )
        for example in examples:
            self.assertIn(example["status"], list(JobStatus))

    def test_requests(self) -> None:
        request, many = self.examples("image_id")
        schemas.validate(request, schemas.CREATE_JOB_1_1, "example")
        properties: Any = schemas.CREATE_JOB_1_1["properties"]
        self.assertEqual(list(properties), list(request))
        schemas.validate(many, schemas.CREATE_JOBS, "example")
        all_keys: Any = schemas.CREATE_JOBS["properties"]
        new = set(all_keys) - set(properties)
        self.assertEqual({"image_id", *new}, set(many))
        (action,) = self.examples("retry")
        schemas.validate(action, schemas.RETRY_JOB, "example")

    def test_plan(self) -> None:
        (example,) = self.examples("plan")
        image = self.glance.add(
            owner_id="somebody", visibility="shared", os_distro="any"
        )
        body = {"image_id": image["id"], "tenant_id_dst": base.DESTINATION}
        response = self.request(
            "POST",
            "/jobs?dry_run=true",
            body=json.dumps(body).encode(),
            headers=base.V1_2,
        )
        (shown,), (documented,) = response.json["plan"], example["plan"]
        self.assertEqual(list(documented), list(shown))
        for fate, properties in documented["properties"].items():
            for name, reason in properties.items():
                self.assertEqual(reason, shown["properties"][fate][name])

    def test_versions(self) -> None:
        (example,) = self.examples("versions")
        self.assertEqual(example, self.get("").json)
