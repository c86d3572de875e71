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

"""A dry run foretells each request's answer."""

import json
from collections.abc import Callable
from typing import Any
from typing import Final

from keystoneauth1 import session as ksa_session
from oslo_utils import uuidutils

from image_replicator.tests.functional.rights import base

_MEBIBYTE: Final = 1 << 20


class TestDryRuns(base.RightsTestCase):
    """Requests that are accepted or refused, each sent in both ways.

    :ivar asker: the user who asks
    :ivar token: acts in place of the asker's password, if it is set
    """

    token: ksa_session.Session | None = None

    def setUp(self) -> None:
        super().setUp()
        self.asker = self.new_asker()
        self.sources = self.images_of(self.asker)
        self.image = self.sources.create()

    def _project(self, name: str) -> str:
        project_id: str = self.cloud.project_id(name)
        return project_id

    def _to(self, **values: Any) -> dict[str, Any]:
        """Return a destination; by default it is the asker's in ot2."""
        return {"tenant_id": self._project(self.asker.destination), **values}

    def _send(self, path: str, body: Any) -> Any:
        return self.request_1_2(
            "POST",
            path,
            user=self.asker.name,
            project=self.asker.source,
            session=self.token,
            data=json.dumps(body),
        )

    def _check(
        self,
        expected: int,
        *destinations: dict[str, Any],
        image_id: str | None = None,
        **values: Any,
    ) -> list[dict[str, Any]]:
        """Send a request in both ways, and compare the answers.

        :param expected: the status of the real answer.
        :param destinations: by default the asker's in ot2.
        :returns: the plan.
        """
        body = {
            "image_id": image_id or self.image["id"],
            "destinations": destinations or [self._to()],
            **values,
        }
        before = self._count()
        dry = self._send("/jobs?dry_run=true", body)
        self.assertEqual(before, self._count())
        trusts = set(self.trusts(self.asker))
        real = self._send("/jobs", body)
        self.assertEqual(expected, real.status_code, real.text)
        if dry.status_code != 200:
            self.assertEqual(dry.json(), real.json())
            return []
        plan: list[dict[str, Any]] = dry.json()["plan"]
        refusals = [each["refusal"] for each in plan]
        first = next((each for each in refusals if each), None)
        if first is None:
            self._compare_jobs(plan, real.json()["jobs"])
            return plan
        error = real.json()["error"]
        self.assertEqual(expected, first["code"])
        place = f"destinations[{refusals.index(first)}]: "
        self.assertEqual(
            first["message"], error["message"].removeprefix(place)
        )
        self.assertEqual(before, self._count())
        self.assertEqual(trusts, set(self.trusts(self.asker)))
        return plan

    def _count(self) -> int:
        reply = self.request(
            "GET", "/jobs?all_tenants=1", user="admin", project="admin"
        )
        return len(reply.json())

    def _compare_jobs(
        self, plan: list[dict[str, Any]], made: list[dict[str, Any]]
    ) -> None:
        keys = ("destination_tenant_id", "destination_region_id")
        for foretold, each in zip(plan, made, strict=True):
            shown = self.request_1_2(
                "GET",
                f"/jobs/{each['job_id']}",
                user="admin",
                project="admin",
            ).json()
            for key in (*keys, "skipped", "image_size"):
                self.assertEqual(foretold[key], shown[key], key)
            if shown["skipped"]:
                self.assertEqual(
                    foretold["destination_image_id"],
                    shown["destination_image_id"],
                )

    def _no_jobs(self) -> None:
        """Forget all jobs, so that none is in another's way."""
        self._forget_jobs()

    def test_requests(self) -> None:
        """Send requests one after the other, on the cloud's one start."""
        for name, case in self._cases().items():
            self._no_jobs()
            try:
                case()
            except Exception as error:
                error.add_note(name)
                raise

    def _cases(self) -> dict[str, Callable[[], Any]]:
        return {
            **self._accepted(),
            **self._images(),
            **self._destinations(),
            **self._limits(),
            **self._present(),
            **self._tokens(),
        }

    def _accepted(self) -> dict[str, Callable[[], Any]]:
        own = self._to(tenant_id=self._project(self.asker.source))
        return {
            "a copy": lambda: self._check(202),
            "to a region": lambda: self._check(202, self._to(region_id="ot2")),
            "with a name": lambda: self._check(202, self._to(name="new")),
            "in the background": lambda: self._check(
                202, priority="background"
            ),
            "to the own project": lambda: self._check(202, own),
            "within the region": lambda: self._check(
                202, self._to(region_id="ot1")
            ),
            "to many": lambda: self._check(
                202, self._to(), own, self._to(region_id="ot1")
            ),
            "of no bytes": lambda: self._check(
                202, image_id=self.sources.create(b"")["id"]
            ),
        }

    def _images(self) -> dict[str, Callable[[], Any]]:
        create = self.sources.create

        def deactivated() -> None:
            image_id = create()["id"]
            self.cloud.images("ot1", "admin", "admin").client.post(
                f"/v2/images/{image_id}/actions/deactivate"
            )
            self._check(409, image_id=image_id)

        def of_another() -> None:
            another = self.new_asker()
            image_id = self.images_of(another).create()["id"]
            self._check(404, image_id=image_id)

        return {
            "an unknown image": lambda: self._check(
                404, image_id=uuidutils.generate_uuid()
            ),
            "another's image": of_another,
            "an image without data": lambda: self._check(
                409, image_id=create(None)["id"]
            ),
            "a deactivated image": deactivated,
            "an image with a kernel": lambda: self._check(
                409, image_id=create(kernel_id=self.image["id"])["id"]
            ),
            "an image of another format": lambda: self._check(
                409, image_id=create(disk_format="ploop")["id"]
            ),
            "the same within the region": lambda: self._check(
                202,
                self._to(region_id="ot1"),
                image_id=create(disk_format="ploop")["id"],
            ),
        }

    def _destinations(self) -> dict[str, Callable[[], Any]]:
        def under_way() -> None:
            self._check(202)
            self._check(
                409,
                self._to(tenant_id=self._project(self.asker.source)),
                self._to(),
            )

        def tenant_of_another() -> None:
            other = self._project(self.new_asker().destination)
            self._check(404, self._to(), self._to(tenant_id=other))

        def reader() -> None:
            name = f"read-{self.asker.name}"
            self.cloud.create_project(name)
            self.cloud.identity.grant(
                self.cloud.user(self.asker.name).id,
                self._project(name),
                "reader",
            )
            self._check(403, self._to(tenant_id=self._project(name)))

        return {
            "an unknown tenant": lambda: self._check(
                404, self._to(tenant_id="0" * 32)
            ),
            "another's tenant": tenant_of_another,
            "a tenant to read in": reader,
            "an unknown region": lambda: self._check(
                409, self._to(region_id="nowhere")
            ),
            "one destination twice": lambda: self._check(
                400, self._to(), self._to(region_id="ot2")
            ),
            "where the image is": lambda: self._check(
                400,
                self._to(
                    tenant_id=self._project(self.asker.source), region_id="ot1"
                ),
            ),
            "under way": under_way,
        }

    def _limits(self) -> dict[str, Callable[[], Any]]:
        def count() -> None:
            asker = self.asker
            self.asker = self.new_asker()
            image_id = self.images_of(self.asker).create()["id"]
            self.cloud.limit(self.asker.destination, image_count_total=1)
            (plan,) = self._check(202, image_id=image_id)
            self.assertEqual(1, plan["usage"]["image_count_total"]["limit"])
            self._no_jobs()
            self.images_of(self.asker, at_destination=True).create()
            self._check(413, image_id=image_id)
            self.asker = asker

        def size() -> None:
            asker = self.asker
            self.asker = self.new_asker()
            images = self.images_of(self.asker)
            self.cloud.limit(self.asker.destination, image_size_total=2)
            large, small = (
                images.create(bytes(3 * _MEBIBYTE))["id"],
                images.create(bytes(2 * _MEBIBYTE))["id"],
            )
            self._check(413, image_id=large)
            self._check(202, image_id=small)
            self.asker = asker

        return {"the number of images": count, "the bytes": size}

    def _present(self) -> dict[str, Callable[[], Any]]:
        def there() -> None:
            data = uuidutils.generate_uuid().encode()
            image_id = self.sources.create(data)["id"]
            skip = {"image_id": image_id, "if_present": "skip"}
            (plan,) = self._check(202, **skip)
            self.assertFalse(plan["skipped"])
            self._no_jobs()
            there = self.images_of(self.asker, at_destination=True).create(
                data, name="old"
            )
            (plan,) = self._check(202, **skip)
            self.assertEqual(there["id"], plan["destination_image_id"])
            (plan,) = self._check(202, self._to(name="new"), **skip)
            self.assertFalse(plan["skipped"])
            self._no_jobs()
            (plan,) = self._check(202, self._to(name="old"), **skip)
            self.assertTrue(plan["skipped"])
            # The asker's own project has none.
            own = self._to(tenant_id=self._project(self.asker.source))
            self.assertEqual(
                [False, True],
                [
                    each["skipped"]
                    for each in self._check(202, own, self._to(), **skip)
                ],
            )

        def within_the_region() -> None:
            data = uuidutils.generate_uuid().encode()
            image_id = self.sources.create(data)["id"]
            self.cloud.images(
                "ot1", self.asker.name, self.asker.destination
            ).create(data)
            (plan,) = self._check(
                202,
                self._to(region_id="ot1"),
                image_id=image_id,
                if_present="skip",
            )
            self.assertTrue(plan["skipped"])

        return {"there": there, "within the region": within_the_region}

    def _tokens(self) -> dict[str, Callable[[], Any]]:
        def credential() -> None:
            self.token = self.cloud.application_credential(
                self.asker.name, self.asker.source
            )
            own = self._to(tenant_id=self._project(self.asker.source))
            self._check(202, own)
            self._no_jobs()
            self._check(403, self._to())
            self._check(403, own, self._to())
            self.token = None

        def administrator() -> None:
            self.token = self.cloud.session("admin", "admin")
            own = str(self.token.get_project_id())
            self._check(202, self._to(tenant_id=own))
            self._check(404, self._to())
            self.token = None

        return {"a credential": credential, "an admin": administrator}
