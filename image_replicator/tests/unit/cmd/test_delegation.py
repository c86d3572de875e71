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

"""The ``delegation`` commands, with a fake Keystone."""

import json
from typing import Any

import sqlalchemy as sa

from devcloud import settings
from image_replicator import authority
from image_replicator.cmd import manage
from image_replicator.conf import loading
from image_replicator.db import models
from image_replicator.db import stores
from image_replicator.tests.unit import keystones
from image_replicator.tests.unit.cmd import base


class TestRotate(base.CommandTestCase):
    def test_the_directory_of_the_configuration(self) -> None:
        keys = self.directory / "keys"
        self.configure(delegation={"sealing_keys": keys})
        for count in (2, 3, 3):
            done = self.call(manage.main, "delegation", "rotate")
            self.assertEqual((0, ""), (done.status, done.errors))
            self.assertIn(f"Directory: {keys}", done.output)
            self.assertIn("Copy the directory to every node", done.output)
            self.assertEqual(count, len(list(keys.iterdir())))
            for path in keys.iterdir():
                self.assertNotIn(path.read_text(), done.output)

    def test_a_cloud_without_the_option(self) -> None:
        url = "mysql+pymysql://user:password@127.0.0.1:1/jobs"
        self.configure(database={"connection": url})
        done = self.call(manage.main, "delegation", "rotate")
        self.assert_explained(done, "[delegation] sealing_keys: not set")

    def test_a_directory_that_cannot_be_written(self) -> None:
        keys = self.directory / "no" / "such" / "keys"
        self.configure(delegation={"sealing_keys": keys})
        done = self.call(manage.main, "delegation", "rotate")
        self.assert_explained(done, "[delegation] sealing_keys", str(keys))


class TrustsTestCase(base.CommandTestCase):
    def setUp(self) -> None:
        self.keystone = keystones.FakeKeystone()
        self.keystone.setUp()
        self.addCleanup(self.keystone.cleanUp)
        super().setUp()
        argv = ["--config-file", str(self.config_file)]
        self.stores = stores.open_stores(loading.load(argv))
        self.addCleanup(self.stores.database.engine.dispose)
        self.stores.delegations.add(
            authority.Delegation(
                trust_id="7ru57",
                user_id="user",
                project_id="project",
                roles=("member", "reader"),
            )
        )

    def configure(self, **overrides: settings.Section) -> None:
        working = {
            "service_auth": keystones.credentials(auth_url=self.keystone.url)
        }
        super().configure(**settings.merge(working, overrides))

    def listed(self, *argv: str) -> list[dict[str, Any]]:
        done = self.call(manage.main, "delegation", *argv, "--format", "json")
        self.assertEqual((0, ""), (done.status, done.errors))
        found: list[dict[str, Any]] = json.loads(done.output)
        return found


class TestList(TrustsTestCase):
    def test_a_trust(self) -> None:
        (found,) = self.listed("list")
        self.assertTrue(found.pop("used_at").endswith("Z"))
        self.assertEqual(
            {
                "trust_id": "7ru57",
                "user_id": "user",
                "project_id": "project",
                "roles": "member, reader",
                "expires_at": None,
                "jobs": 0,
            },
            found,
        )


class TestPurge(TrustsTestCase):
    def age(self) -> None:
        with self.stores.database.engine.begin() as connection:
            connection.execute(
                sa.update(models.Delegation).values(
                    used_at=sa.text("'2020-01-01 00:00:00.000000'")
                )
            )

    def test_a_trust_that_was_used_stays(self) -> None:
        self.assertEqual([], self.listed("purge"))
        self.assertEqual(1, len(self.listed("list")))

    def test_an_unused_one_is_deleted(self) -> None:
        for status, argv in (
            (200, ()),
            (404, ()),
            (200, ("--older-than", "24")),
        ):
            self.age()
            self.keystone.trust_status = status
            (purged,) = self.listed("purge", *argv)
            self.assertEqual(
                ("7ru57", True), (purged["trust_id"], purged["deleted"])
            )
            self.assertIn(
                "DELETE /v3/OS-TRUST/trusts/7ru57", self.keystone.seen
            )
            self.assertEqual([], self.listed("list"))
            self.keystone.seen.clear()
            self.stores.delegations.add(
                authority.Delegation(
                    trust_id="7ru57",
                    user_id="user",
                    project_id="project",
                    roles=("member", "reader"),
                )
            )

    def test_one_that_we_may_not_delete(self) -> None:
        """It is forgotten, and the operator is told that it stays."""
        self.age()
        self.keystone.trust_status = 403
        done = self.call(manage.main, "delegation", "purge")
        self.assertEqual(0, done.status)
        self.assertIn("7ru57", done.output)
        self.assertIn("1 trusts stay in Keystone", done.errors)
        self.assertEqual([], self.listed("list"))
