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

"""Valid and invalid values of options."""

import contextlib
import io
import pathlib
from typing import Any

import fixtures
import testtools
from oslo_config import cfg

from devcloud import settings
from image_replicator import exception
from image_replicator.conf import loading

SECRET = "pa55word"

#: A wrong value for each option, with a word of the message.
BAD_VALUES = (
    ("DEFAULT", "publish_errors", "perhaps", "boolean"),
    ("DEFAULT", "region_id", "$nowhere", "'$$'"),
    ("DEFAULT", "region_id", "", "empty"),
    ("DEFAULT", "region_id", "'  '", "empty"),
    ("DEFAULT", "region_id", "x" * 256, "255"),
    ("DEFAULT", "default_destination_region", "", "empty"),
    ("DEFAULT", "state_path", "", "empty"),
    ("api", "max_limit", "0", "1"),
    ("api", "max_limit", "many", "many"),
    ("api", "destination_timeout", "nan", "not a number"),
    ("worker", "concurrency", "257", "256"),
    ("worker", "poll_interval", "inf", "86400"),
    ("worker", "graceful_timeout", "-1", "0"),
    ("worker", "host", "", "empty"),
    ("worker", "host", "x" * 201, "200"),
    ("worker", "destination_regions", "ot2,,ot3", "empty"),
    ("worker", "max_copies_per_region", ":3", "empty"),
    ("worker", "max_copies_per_region", "ot2:-1", "1"),
    ("worker", "max_copies_per_region", "ot2:0", "1"),
    ("worker", "max_copies_per_region", "ot2:many", "many"),
    ("worker", "max_copies_per_region", "ot2", "NAME:VALUE"),
    ("worker", "bandwidth_limit", "-1", "0"),
    ("worker", "buffer_size", "1000", "greater than"),
    ("worker", "progress_interval", "30.5", "half of lease_time, 30 "),
    ("worker", "reaper_interval", "61", "lease_time, 60 "),
    ("worker", "registration_interval", "30.5", "half of lease_time, 30 "),
    ("worker", "lease_time", "1", "2"),
    ("transfer", "chunk_size", "1MiB", "1MiB"),
    ("transfer", "min_streams", "0", "1"),
    ("transfer", "max_streams", "257", "256"),
    ("transfer", "min_streams", "33", "max_streams"),
    ("transfer", "max_streams", "0", "1"),
    ("transfer", "window_size", "1000", "greater than"),
    ("transfer", "read_timeout", "long", "long"),
    ("transfer", "signature_properties", "forge", "keep"),
    ("gateway", "bind_port", "65536", "65535"),
    ("gateway", "image_endpoint", "ftp://host", "http"),
    ("gateway", "window_size", "1000", "greater than"),
    ("gateway", "buffer_size", "9000000", "less than window_size"),
    ("gateway", "key_file", "/key", "no cert_file"),
    ("region:ot1", "data_endpoint", "nowhere", "data_endpoint"),
    ("service_auth", "insecure", "perhaps", "boolean"),
    ("service_auth", "timeout", "long", "long"),
    ("database", "max_pool_size", "some", "some"),
    ("database", "sqlite_synchronous", "perhaps", "boolean"),
)

#: Wrong URLs of databases, each with a word of the message.
BAD_URLS = (
    ("", "not a database URL"),
    ("/var/lib/jobs.sqlite", "not a database URL"),
    (f"mysql+pymysql://u:{SECRET}@host:port/jobs", "not a database URL"),
    (f"mysql+pymysql://u:a${SECRET}@host/jobs", "'$$'"),
    (f"mariadb+pymysql://u:{SECRET}@host/jobs", "mysql+pymysql"),
    (f"oracle+oracledb://u:{SECRET}@host/jobs", "postgresql+psycopg2"),
    (f"nosuch://u:{SECRET}@host/jobs", "postgresql+psycopg2"),
    (f"mysql+nosuch://u:{SECRET}@host/jobs", "mysql+pymysql"),
    (f"postgresql+nosuch://u:{SECRET}@host/jobs", "psycopg2"),
)


class ConfTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.path = self.directory / "image-replicator.conf"

    def write(self, group: str, name: str, value: str) -> None:
        self.path.write_text(f"[{group}]\n{name} = {value}\n")

    def load(self, argv: Any = ()) -> cfg.ConfigOpts:
        return loading.load(argv, config_file=str(self.path))

    def refusal(self) -> str:
        error = self.assertRaises(exception.ConfigurationError, self.load)
        self.assertNotIn(SECRET, str(error))
        return str(error)


class TestLoad(ConfTestCase):
    def test_nothing_needs_to_be_set(self) -> None:
        self.path.touch()
        conf = self.load()
        self.assertEqual(
            "sqlite:////var/lib/image-replicator/image-replicator.sqlite",
            conf.database.connection,
        )
        self.assertEqual(30, conf.service_auth.timeout)

    def test_values_are_read_from_the_file(self) -> None:
        settings.write(
            self.path,
            {
                "DEFAULT": {"region_id": "ot1", "state_path": "/srv"},
                "transfer": {"dropped_properties": ["hw_*", "os_distro"]},
                "worker": {
                    "concurrency": 7,
                    "poll_interval": 0.25,
                    "destination_regions": ["ot2", "ot3"],
                    "max_copies_per_region": "ot2:3,*:1",
                },
            },
        )
        conf = self.load()
        self.assertEqual("ot1", conf.region_id)
        self.assertEqual(
            ["hw_*", "os_distro"], conf.transfer.dropped_properties
        )
        self.assertEqual(7, conf.worker.concurrency)
        self.assertEqual(0.25, conf.worker.poll_interval)
        self.assertEqual(["ot2", "ot3"], conf.worker.destination_regions)
        self.assertEqual({"ot2": 3, "*": 1}, conf.worker.max_copies_per_region)
        self.assertEqual(
            "sqlite:////srv/image-replicator.sqlite", conf.database.connection
        )

    def test_the_global_configuration_is_left_alone(self) -> None:
        self.path.touch()
        before = set(cfg.CONF)
        self.load()
        self.assertEqual(before, set(cfg.CONF))

    def test_two_configurations_are_two(self) -> None:
        self.write("api", "max_limit", "7")
        first = self.load()
        self.write("api", "max_limit", "8")
        self.assertEqual(
            (7, 8), (first.api.max_limit, self.load().api.max_limit)
        )

    def test_the_file_that_is_named_beats_the_default(self) -> None:
        self.write("api", "max_limit", "7")
        conf = loading.load(["--config-file", str(self.path)])
        self.assertEqual(7, conf.api.max_limit)

    def test_every_database_that_we_have_migrations_for(self) -> None:
        for url in (
            "sqlite://",
            "mysql+pymysql://u:p@host/jobs?charset=utf8mb4",
            "postgresql+psycopg2://u:p@host:5432/jobs",
        ):
            self.write("database", "connection", url)
            self.assertEqual(url, self.load().database.connection)


class TestRefusals(ConfTestCase):
    def test_bad_values(self) -> None:
        for group, name, value, why in BAD_VALUES:
            self.write(group, name, value)
            told = self.refusal()
            self.assertIn(f"[{group}] {name}: ", told)
            self.assertIn(why, told)

    def test_as_many_streams_as_there_may_be_at_most(self) -> None:
        settings.write(
            self.path, {"transfer": {"min_streams": 9, "max_streams": 9}}
        )
        self.assertEqual(9, self.load().transfer.max_streams)

    def test_intervals_that_the_lease_just_outlasts(self) -> None:
        written = {
            "lease_time": 2,
            "progress_interval": 1,
            "reaper_interval": 2,
            "registration_interval": 1,
        }
        settings.write(self.path, {"worker": written})
        self.assertEqual(1, self.load().worker.progress_interval)

    def test_bad_values_of_what_the_command_line_has_too(self) -> None:
        """oslo.config itself refuses these."""
        self.write("DEFAULT", "use_json", "perhaps")
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors):
            self.assertRaises(SystemExit, self.load)
        self.assertIn("use_json", errors.getvalue())

    def test_database_urls_that_cannot_work(self) -> None:
        for name in ("connection", "slave_connection"):
            for url, why in BAD_URLS:
                self.write("database", name, url)
                told = self.refusal()
                self.assertIn(f"[database] {name}: ", told)
                self.assertIn(why, told)

    def test_asynchronous_drivers(self) -> None:
        """The message names the right driver, even if this one is missing."""
        self.write("database", "connection", "sqlite+aiosqlite:///jobs")
        self.assertIn("[database] connection: ", self.refusal())

    def test_missing_file(self) -> None:
        self.assertIn(str(self.path), self.refusal())

    def test_unreadable_file(self) -> None:
        self.path.mkdir()
        self.assertIn(str(self.path), self.refusal())

    def test_a_file_that_is_not_text(self) -> None:
        self.path.write_bytes(b"[DEFAULT]\nregion_id = \xff\xfe\n")
        self.assertIn("utf-8", self.refusal())

    def test_a_file_that_is_no_configuration(self) -> None:
        for text in ("[DEFAULT\n", "region_id = ot1\n", "[DEFAULT]\nregion\n"):
            self.path.write_text(text)
            self.assertIn(str(self.path), self.refusal())
