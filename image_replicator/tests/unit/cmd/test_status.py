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

"""image-replicator-status, as operators run it."""

import json
import pathlib
import socket
import sqlite3
from typing import Any

import fixtures

from devcloud import settings
from image_replicator import sealing
from image_replicator.cmd import manage
from image_replicator.cmd import status
from image_replicator.conf import loading
from image_replicator.db import stores
from image_replicator.tests.unit import glances
from image_replicator.tests.unit import keystones
from image_replicator.tests.unit.cmd import base

CHECKS = [
    "Configuration",
    "Database schema",
    "Database clocks",
    "Policy",
    "Service credentials",
    "Keystone",
    "Delegation",
    "Gateways",
]

SUCCESS, WARNING, FAILURE = 0, 1, 2


class StatusTestCase(base.CommandTestCase):
    """A test with a Keystone in which two regions have an image service."""

    def setUp(self) -> None:
        self.keystone = keystones.FakeKeystone(
            ot1={"internal": "http://ot1"}, ot2={"public": "http://ot2"}
        )
        self.keystone.setUp()
        self.addCleanup(self.keystone.cleanUp)
        super().setUp()

    def configure(self, **overrides: settings.Section) -> None:
        working = {
            "service_auth": keystones.credentials(auth_url=self.keystone.url)
        }
        super().configure(**settings.merge(working, overrides))

    def check(self) -> tuple[int, dict[str, Any]]:
        """Return the exit status, and each check's result and details."""
        done = self.call(status.main, "upgrade", "check", "--json")
        self.assertEqual("", done.errors)
        self.assertNotIn("Traceback", done.output)
        self.assertNotIn(base.SECRET, done.output)
        told = json.loads(done.output)
        self.assertEqual(CHECKS, [check["check"] for check in told["checks"]])
        return done.status, {
            check["check"]: (check["result"], check["details"])
            for check in told["checks"]
        }

    def assert_found(self, check: str, result: int, *words: str) -> None:
        """Check that one check fails and all others succeed.

        With wrong credentials, Keystone and what it would say are not checked.
        """
        code, found = self.check()
        self.assertEqual(result, code)
        failing = {check}
        if check == "Service credentials":
            failing |= {"Keystone", "Delegation", "Gateways"}
        for name in CHECKS:
            self.assertEqual(
                result if name in failing else SUCCESS, found[name][0], name
            )
        for word in words:
            self.assertIn(word, found[check][1])


class TestStatus(StatusTestCase):
    def _database(self) -> sqlite3.Connection:
        state = self.directory / "state"
        state.mkdir(exist_ok=True)
        connection = sqlite3.connect(state / "image-replicator.sqlite")
        self.addCleanup(connection.close)
        return connection

    def test_all_is_well(self) -> None:
        code, found = self.check()
        self.assertEqual(SUCCESS, code)
        self.assertEqual({SUCCESS}, {result for result, _ in found.values()})

    def test_a_table_for_people(self) -> None:
        done = self.run_process("status", "upgrade", "check")
        self.assertEqual(SUCCESS, done.status)
        for name in CHECKS:
            self.assertIn(f"Check: {name}", done.output)

    def test_a_database_that_is_not_upgraded(self) -> None:
        self._database().execute("CREATE TABLE other (id INTEGER)")
        self.assert_found(
            "Database schema", FAILURE, "image-replicator-manage db upgrade"
        )

    def test_a_database_of_the_release_before(self) -> None:
        self.call(manage.main, "db", "upgrade")
        with self._database() as connection:
            connection.execute("DELETE FROM alembic_version")
            connection.execute(
                "INSERT INTO alembic_version VALUES ('contract_0001')"
            )
        self.assert_found(
            "Database schema",
            FAILURE,
            "expand_0001",
            "image-replicator-manage db upgrade --expand",
        )

    def test_a_database_that_is_expanded_only(self) -> None:
        self._database().execute("CREATE TABLE other (id INTEGER)")
        self.call(manage.main, "db", "upgrade", "--expand")
        self.assert_found("Database schema", WARNING, "--contract")

    def test_a_database_that_is_upgraded(self) -> None:
        self._database().execute("CREATE TABLE other (id INTEGER)")
        self.call(manage.main, "db", "upgrade")
        self.assertEqual(SUCCESS, self.check()[0])

    def test_a_database_of_a_newer_release(self) -> None:
        self.call(manage.main, "db", "upgrade")
        with self._database() as connection:
            connection.execute(
                "INSERT INTO alembic_version VALUES ('expand_9999')"
            )
        self.assert_found("Database schema", FAILURE, "expand_9999")

    def test_a_database_that_is_not_there(self) -> None:
        url = f"mysql+pymysql://user:{base.SECRET}@127.0.0.1:1/jobs"
        self.configure(database={"connection": url})
        self.assert_found("Database schema", FAILURE, "127.0.0.1")

    def test_a_database_directory_that_cannot_be(self) -> None:
        self.configure(DEFAULT={"state_path": self.directory / "no" / "state"})
        self.assert_found("Database schema", FAILURE, "state_path")

    def test_a_value_that_cannot_be(self) -> None:
        self.configure(worker={"concurrency": "many"})
        code, found = self.check()
        self.assertEqual(FAILURE, code)
        result, details = found["Configuration"]
        self.assertEqual(FAILURE, result)
        self.assertIn("[worker] concurrency", details)

    def test_a_policy_file_that_is_missing(self) -> None:
        self.configure(oslo_policy={"policy_file": "/missing/policy.yaml"})
        self.assert_found("Policy", FAILURE, "[oslo_policy] policy_file")

    def test_a_policy_file_that_is_broken(self) -> None:
        policy = pathlib.Path(self.directory, "policy.yaml")
        policy.write_text("image_replicator:jobs:show: [unclosed")
        self.configure(oslo_policy={"policy_file": policy})
        self.assert_found("Policy", FAILURE, "[oslo_policy] policy_file")

    def _gateway(self) -> glances.FakeGlance:
        """Return a gateway that the catalogue has for ``ot1``."""
        gateway = self.useFixture(glances.FakeGlance())
        gateway.on("GET", "healthcheck", glances.saying(200, b"OK"))
        self.keystone.gateways = {"ot1": gateway.url}
        return gateway

    def test_a_gateway_that_answers(self) -> None:
        gateway = self._gateway()
        self.assertEqual(SUCCESS, self.check()[0])
        self.assertEqual(1, gateway.count("GET", "healthcheck"))
        self.assertNotIn("X-Auth-Token", gateway.requests[0].headers)

    def test_a_gateway_that_does_not(self) -> None:
        gateway = self._gateway()
        gateway.on("GET", "healthcheck", glances.saying(503))
        self.assert_found("Gateways", WARNING, "ot1", gateway.url, "503")
        gateway.on("GET", "healthcheck", glances.hanging_up)
        self.assert_found("Gateways", WARNING, "ot1", "does not answer")

    def test_a_gateway_of_the_configuration_takes_its_place(self) -> None:
        self._gateway()
        url = "http://127.0.0.1:1"
        self.configure(**{"region:ot1": {"data_endpoint": url}})
        self.assert_found("Gateways", WARNING, "ot1", url)

    def test_a_gateway_that_cannot_be(self) -> None:
        self.configure(**{"region:ot1": {"data_endpoint": "ftp://ot1"}})
        code, found = self.check()
        self.assertEqual(FAILURE, code)
        self.assertIn("data_endpoint", found["Configuration"][1])

    def test_no_credentials(self) -> None:
        self.configure(service_auth={"auth_type": None})
        self.assert_found("Service credentials", FAILURE, "auth_type")

    def test_no_url_of_keystone(self) -> None:
        self.configure(service_auth={"auth_url": None})
        self.assert_found("Service credentials", FAILURE, "auth_url")

    def test_a_url_of_keystone_that_cannot_be(self) -> None:
        self.configure(service_auth={"auth_url": "ftp:nothing"})
        self.assert_found(
            "Service credentials", FAILURE, "[service_auth] auth_url: "
        )
        self.assertEqual([], self.keystone.seen)

    def test_a_region_without_a_name(self) -> None:
        self.configure(DEFAULT={"region_id": ""})
        code, found = self.check()
        self.assertEqual(FAILURE, code)
        result, details = found["Configuration"]
        self.assertEqual(FAILURE, result)
        self.assertIn("[DEFAULT] region_id: ", details)

    def test_a_file_that_cannot_be_read(self) -> None:
        self.config_file.unlink()
        done = self.run_process("status", "upgrade", "check")
        self.assertEqual(255, done.status)
        self.assert_explained(
            done, "image-replicator-status:", str(self.config_file)
        )


class TestKeystone(StatusTestCase):
    """The check asks Keystone, and shows its answers."""

    def test_keystone_and_its_regions_are_found(self) -> None:
        result, details = self.check()[1]["Keystone"]
        self.assertEqual(SUCCESS, result)
        for word in ("replicator", "service", "ot1, ot2"):
            self.assertIn(word, details)
        self.assertIn("POST /v3/auth/tokens", self.keystone.seen)

    def test_credentials_that_it_refuses(self) -> None:
        self.keystone.status = 401
        self.assert_found("Keystone", FAILURE, "the password", "401")

    def test_a_keystone_that_is_away(self) -> None:
        url = f"http://{keystones.HOST}:1/v3"
        self.configure(service_auth={"auth_url": url})
        self.assert_found("Keystone", FAILURE, url)

    def test_a_keystone_that_says_nothing(self) -> None:
        """The check waits for it, but not for long."""
        silent = socket.create_server((keystones.HOST, 0))
        self.addCleanup(silent.close)
        url = f"http://{keystones.HOST}:{silent.getsockname()[1]}/v3"
        self.configure(service_auth={"auth_url": url})
        self.useFixture(
            fixtures.MonkeyPatch("image_replicator.cmd.status._PATIENCE", 0.2)
        )
        self.assert_found("Keystone", FAILURE, "timed out")

    def test_the_answers_are_not_those_of_keystone(self) -> None:
        self.keystone.body = b"<html>Welcome</html>"
        self.assert_found("Keystone", FAILURE)

    def test_a_token_for_no_project(self) -> None:
        self.keystone.project = None
        self.assert_found("Keystone", FAILURE, "[service_auth] project_name")

    def test_our_region_is_not_there(self) -> None:
        self.configure(DEFAULT={"region_id": "ot9"})
        self.assert_found(
            "Keystone", FAILURE, "[DEFAULT] region_id: ot9", "ot1, ot2"
        )

    def test_other_regions_that_are_not_there(self) -> None:
        for section, option, value in (
            ("DEFAULT", "default_destination_region", "ot9"),
            ("worker", "destination_regions", "ot2,ot9"),
            ("worker", "max_copies_per_region", "ot9:1,*:3"),
        ):
            self.configure(**{section: {option: value}})
            self.assert_found(
                "Keystone", WARNING, f"[{section}] {option}: ot9"
            )

    def test_no_identity_service_where_we_look_for_it(self) -> None:
        self.configure(service_auth={"region_name": "ot9"})
        self.assert_found("Keystone", FAILURE, "identity", "ot9")


class TestDelegation(StatusTestCase):
    """The check of the needs of copies with users' rights."""

    def test_a_role_that_is_missing(self) -> None:
        self.keystone.roles = ["member"]
        self.assert_found(
            "Delegation", FAILURE, "lacks the role service", "openstack role"
        )

    def test_a_role_that_is_not_needed(self) -> None:
        self.keystone.roles = ["admin", "service"]
        self.assert_found("Delegation", WARNING, "openstack role remove")
        for option in ("cleanup", "legacy"):
            self.configure(delegation={option: "service"})
            self.assertEqual(SUCCESS, self.check()[0])

    def test_credentials_with_which_no_trust_can_be_used(self) -> None:
        self.configure(
            service_auth={
                "auth_type": "v3applicationcredential",
                "application_credential_id": "id",
                "application_credential_secret": base.SECRET,
                **dict.fromkeys(
                    (
                        "username",
                        "password",
                        "user_domain_id",
                        "project_name",
                        "project_domain_id",
                    )
                ),
            }
        )
        self.assert_found("Delegation", FAILURE, "application credential")

    def test_keys_that_cannot_be_used(self) -> None:
        keys = self.directory / "keys"
        keys.mkdir()
        self.configure(delegation={"sealing_keys": keys})
        self.assert_found("Delegation", FAILURE, "no key is there")

    def _keys(self, name: str) -> sealing.Sealer:
        """Configure a directory with keys."""
        sealer = sealing.Sealer(self.directory / name)
        sealer.rotate(3)
        self.configure(delegation={"sealing_keys": sealer.directory})
        return sealer

    def _node(self, host: str, fingerprints: list[str]) -> None:
        """Let another node say which keys it has."""
        argv = ["--config-file", str(self.config_file)]
        opened = stores.open_stores(loading.load(argv))
        opened.key_holders.record(host, fingerprints)
        opened.database.engine.dispose()

    def test_another_node_has_the_same_keys(self) -> None:
        sealer = self._keys("keys")
        before = sealer.fingerprints()
        self._node("elsewhere", before)
        self.assertEqual(SUCCESS, self.check()[0])
        # It may be a rotation behind.
        sealer.rotate(3)
        self.assertEqual(SUCCESS, self.check()[0])
        self._node("elsewhere", sealer.fingerprints())
        self.assertEqual(SUCCESS, self.check()[0])

    def test_another_node_has_other_keys(self) -> None:
        self._keys("keys")
        other = self._keys("others")
        self.check()
        for fingerprints in (["0123456789ab"], other.fingerprints()[1:]):
            self._node("elsewhere", fingerprints)
            self.assert_found("Delegation", FAILURE, "node elsewhere")

    def test_a_node_without_keys(self) -> None:
        self._node("elsewhere", ["0123456789ab"])
        self.assert_found("Delegation", FAILURE, "node elsewhere")
