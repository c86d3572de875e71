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

"""image-replicator-manage image, as operators run it."""

import datetime
import json
import types
from typing import Any

import fixtures
from oslo_utils import uuidutils

from image_replicator.cmd import manage
from image_replicator.conf import loading
from image_replicator.db import stores
from image_replicator.errors import ErrorCode
from image_replicator.jobs import Claim
from image_replicator.jobs import NewJob
from image_replicator.tests.unit import glances
from image_replicator.tests.unit.cmd import base


class _Identity:
    """A fake of the parts of Keystone that the command uses."""

    def __init__(self, **regions: glances.FakeGlance) -> None:
        self.session = glances.new_session(**regions)
        self.catalogue = glances.catalogue_of(self.session)
        self._regions = frozenset(regions)
        self.roles = ["admin"]

    def access(self) -> types.SimpleNamespace:
        return types.SimpleNamespace(role_names=self.roles)

    def image_regions(self) -> frozenset[str]:
        return self._regions


class TestOrphans(base.CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.near = self.useFixture(glances.FakeGlance())
        self.far = self.useFixture(glances.FakeGlance())
        known = self.known = _Identity(far=self.far, near=self.near)
        self.useFixture(
            fixtures.MonkeyPatch(
                "image_replicator.identity.Identity", lambda conf: known
            )
        )

    def _add(
        self, glance: glances.FakeGlance, hours: float = 25, **changes: Any
    ) -> str:
        """Add a marked image that was created some time ago."""
        image_id = uuidutils.generate_uuid()
        created = datetime.datetime.now(datetime.UTC) - datetime.timedelta(
            hours=hours
        )
        values = {
            "owner": "destination",
            "created_at": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "tags": ["of a user", "image_replicator:ot1"],
        }
        glance.add(image_id, b"data", **values | changes)
        return image_id

    def _orphans(self, *argv: str) -> base.Done:
        return self.call(manage.main, "image", "orphans", *argv)

    def _found(self, *argv: str) -> list[dict[str, Any]]:
        done = self._orphans("--format", "json", *argv)
        self.assertEqual((0, ""), (done.status, done.errors))
        found: list[dict[str, Any]] = json.loads(done.output)
        return found

    def _answer_for(self, image_id: str) -> tuple[stores.Stores, Claim]:
        """Add a job that fills an image; return its claim."""
        argv = ["--config-file", str(self.config_file)]
        opened = stores.open_stores(loading.load(argv))
        self.addCleanup(opened.database.engine.dispose)
        opened.jobs.create(
            NewJob(
                source_image_id="image",
                source_image_name="name",
                source_region_id="ot1",
                source_tenant_id="source",
                destination_region_id="near",
                destination_tenant_id="destination",
                image_size=1,
                request_id="req-1",
            )
        )
        claimed = opened.queue.claim_next("worker")
        assert claimed
        opened.owned.reserve_image(claimed[1], image_id)
        opened.owned.image_created(claimed[1], image_id)
        return opened, claimed[1]

    def test_there_is_none(self) -> None:
        self.assertEqual([], self._found())

    def test_in_all_regions(self) -> None:
        near, far = self._add(self.near), self._add(self.far)
        self.assertEqual(
            {
                "region_id": "near",
                "id": near,
                "owner": "destination",
                "status": "active",
                "size": 4,
                "created_at": self.near.images[near]["created_at"],
                "removed": False,
            },
            self._found()[1],
        )
        self.assertEqual([far, near], [one["id"] for one in self._found()])
        self.assertIn(near, self.near.images)
        self.assertIn(far, self.far.images)

    def test_for_people(self) -> None:
        image_id = self._add(self.near)
        done = self._orphans()
        self.assertEqual((0, ""), (done.status, done.errors))
        for word in ("Region", "near", image_id, "destination", "active"):
            self.assertIn(word, done.output)

    def test_in_some_regions(self) -> None:
        near = self._add(self.near)
        self._add(self.far)
        found = self._found("--region", "near")
        self.assertEqual([near], [one["id"] for one in found])
        self.assertEqual([], self.far.seen)
        found = self._found("--region", "near", "--region", "far")
        self.assertEqual(2, len(found))

    def test_an_image_that_a_job_names_is_no_orphan(self) -> None:
        image_id = self._add(self.near)
        self._answer_for(image_id)
        self.assertEqual([], self._found("--remove"))
        self.assertIn(image_id, self.near.images)

    def _leave(self, **properties: Any) -> tuple[stores.Stores, str, str]:
        """Let a job end in error without the right to remove its image."""
        image_id = self._add(self.near, **properties)
        opened, claim = self._answer_for(image_id)
        opened.owned.fail(claim, ErrorCode.DESTINATION_ACCESS_LOST, "No role.")
        return opened, claim.job_id, image_id

    def test_an_image_that_a_job_left(self) -> None:
        opened, job_id, image_id = self._leave()
        (found,) = self._found()
        self.assertEqual(
            ("near", image_id, "destination", f"left by job {job_id}", False),
            tuple(
                found[key]
                for key in ("region_id", "id", "owner", "status", "removed")
            ),
        )
        self.assertEqual([], self._found("--region", "far"))
        self.assertTrue(self._found("--remove")[0]["removed"])
        self.assertEqual({}, self.near.images)
        self.assertIsNone(opened.jobs.get(job_id).reserved_image_id)
        self.assertEqual([], self._found())

    def test_one_that_names_a_key_is_not_removed(self) -> None:
        """An administrator's right could delete another's key."""
        _opened, _job_id, image_id = self._leave(
            cinder_encryption_key_id="another's"
        )
        done = self._orphans("--remove")
        self.assertEqual(1, done.status)
        self.assertIn("names an encryption key", done.errors)
        self.assertIn(image_id, self.near.images)

    def test_credentials_that_do_not_see_all(self) -> None:
        self.known.roles = ["service"]
        done = self._orphans()
        self.assertEqual(0, done.status)
        self.assertIn("do not have the role admin", done.errors)

    def test_a_young_image_is_no_orphan(self) -> None:
        young = self._add(self.near, hours=23)
        old = self._add(self.near, hours=50)
        for hours, expected in (
            (None, [old]),
            ("51", []),
            ("22.5", [young, old]),
        ):
            argv = ["--older-than", hours] if hours else []
            found = self._found(*argv)
            self.assertEqual(expected, [one["id"] for one in found])

    def test_another_source(self) -> None:
        ours = self._add(self.near)
        others = self._add(self.near, tags=["image_replicator:ot9"])
        for argv, image_id in (
            ([], ours),
            (["--source-region", "ot9"], others),
        ):
            found = self._found(*argv)
            self.assertEqual([image_id], [one["id"] for one in found])

    def test_the_source_must_be_known(self) -> None:
        self.configure(DEFAULT={"region_id": None})
        done = self._orphans()
        self.assertEqual(1, done.status)
        self.assert_explained(done, "[DEFAULT] region_id", "--source-region")
        self.assertEqual([], self._found("--source-region", "ot1"))

    def test_they_are_removed(self) -> None:
        self._add(self.near)
        self._add(self.far, protected=True, os_hidden=True)
        unmarked = uuidutils.generate_uuid()
        self.near.add(unmarked, b"data")
        found = self._found("--remove")
        self.assertEqual([True, True], [one["removed"] for one in found])
        self.assertEqual([unmarked], list(self.near.images))
        self.assertEqual({}, self.far.images)

    def test_an_orphan_that_cannot_be_removed(self) -> None:
        stays = self._add(self.far)
        goes = self._add(self.near)
        self.far.on("DELETE", "image", glances.saying(500))
        done = self._orphans("--remove", "--format", "json")
        self.assertEqual(1, done.status)
        self.assertEqual(
            {stays: False, goes: True},
            {one["id"]: one["removed"] for one in json.loads(done.output)},
        )
        self.assert_explained(done, f"image {stays}:")

    def test_a_region_that_cannot_be_looked_at(self) -> None:
        image_id = self._add(self.near)
        done = self._orphans(
            *("--region", "gone", "--region", "near", "--format", "json")
        )
        self.assertEqual(1, done.status)
        self.assertEqual(
            [image_id], [one["id"] for one in json.loads(done.output)]
        )
        self.assert_explained(done, "region gone:")

    def test_bad_arguments(self) -> None:
        for hours in ("day", "-1", "nan", "1000000"):
            done = self._orphans("--older-than", hours)
            self.assertEqual(2, done.status)
            self.assert_explained(done, f"'{hours}'")


class TestNoKeystone(base.CommandTestCase):
    def test_it_does_not_answer(self) -> None:
        done = self.call(manage.main, "image", "orphans")
        self.assertEqual(1, done.status)
        self.assert_explained(done, "image-replicator-manage:")
