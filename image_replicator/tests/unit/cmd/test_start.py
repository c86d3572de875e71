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

"""A wrong configuration ends each command with a message."""

import os

from image_replicator.cmd import manage
from image_replicator.cmd import status
from image_replicator.cmd import worker
from image_replicator.tests.unit.cmd import base

COMMANDS = {
    "manage": (manage.main, ("db", "version")),
    "status": (status.main, ("upgrade", "check")),
    "worker": (worker.main, ()),
}


class TestStart(base.CommandTestCase):
    def assert_refused(self, *words: str, commands: str = "") -> None:
        for name, (main, argv) in COMMANDS.items():
            if name in (commands.split() or COMMANDS):
                self.assert_explained(self.call(main, *argv), *words)

    def test_a_value_that_cannot_be(self) -> None:
        for group, name, value in (
            ("DEFAULT", "max_logfile_count", "many"),
            ("api", "max_limit", "none"),
            ("transfer", "chunk_size", 1),
            ("transfer", "signature_properties", "forge"),
            ("worker", "poll_interval", "soon"),
            ("worker", "graceful_timeout", "nan"),
            ("service_auth", "insecure", "perhaps"),
            ("database", "max_pool_size", "many"),
        ):
            self.configure(**{group: {name: value}})
            self.assert_refused(f"[{group}] {name}")

    def test_a_database_that_nobody_knows(self) -> None:
        for scheme in ("nosuch", "mysql+nosuch", "mariadb+pymysql"):
            url = f"{scheme}://user:{base.SECRET}@127.0.0.1/jobs"
            self.configure(database={"connection": url})
            self.assert_refused("[database] connection")

    def test_a_missing_file(self) -> None:
        self.config_file.unlink()
        self.assert_refused(str(self.config_file))

    def test_a_directory_for_a_file(self) -> None:
        self.config_file.unlink()
        self.config_file.mkdir()
        self.assert_refused(str(self.config_file))

    def test_a_file_that_may_not_be_read(self) -> None:
        if os.geteuid() == 0:
            self.skipTest("root may read everything")
        self.config_file.chmod(0)
        self.assert_refused(str(self.config_file))

    def test_a_file_that_is_no_configuration(self) -> None:
        self.config_file.write_text("region_id\n")
        self.assert_refused(str(self.config_file))

    def test_no_credentials(self) -> None:
        self.configure(service_auth={"auth_type": None})
        self.assert_refused(
            "[service_auth] auth_type", commands="worker status"
        )

    def test_no_url_of_keystone(self) -> None:
        self.configure(service_auth={"auth_url": None})
        self.assert_refused(
            "[service_auth]", "auth_url", commands="worker status"
        )

    def test_unknown_credentials(self) -> None:
        self.configure(service_auth={"auth_type": "handshake"})
        self.assert_refused(
            "[service_auth]", "handshake", commands="worker status"
        )

    def test_a_state_directory_that_cannot_be(self) -> None:
        state = self.directory / "missing" / "state"
        self.configure(DEFAULT={"state_path": state})
        self.assert_refused("[database] connection", "state_path", str(state))
