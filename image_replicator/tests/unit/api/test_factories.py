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

"""Paste's factories: their applications and their errors."""

import pathlib

import fixtures
import testtools
import webob
from oslo_config import cfg

from devcloud import settings
from image_replicator import api
from image_replicator.api import router
from image_replicator.tests.unit import keystones
from image_replicator.tests.unit.api import base

_SECRET = "pa55word-of-the-service"


class TestFactories(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.logged = self.useFixture(fixtures.FakeLogger())

    def write(self, **overrides: settings.Section) -> str:
        """Write a configuration, and return its path."""
        working: settings.Settings = {
            "DEFAULT": {
                "region_id": "ot1",
                "state_path": self.directory,
            },
            "service_auth": keystones.credentials(password=_SECRET),
        }
        path = self.directory / "image-replicator.conf"
        settings.write(path, settings.merge(working, overrides))
        return str(path)

    def assert_refused(self, config_file: str, *words: str) -> None:
        """Check that the process ends with a message."""
        for factory in (
            lambda: api.filter_factory({}, config_file=config_file)(
                base.Glance()
            ),
            lambda: api.app_factory({}, config_file=config_file),
        ):
            stopped = self.assertRaises(SystemExit, factory)
            for word in (config_file, *words):
                self.assertIn(word, str(stopped))
                self.assertIn(word, self.logged.output)
            self.assertNotIn(_SECRET, f"{stopped} {self.logged.output}")

    def test_filter_answers_its_own_paths(self) -> None:
        glance = base.Glance()
        wrap = api.filter_factory({}, config_file=self.write())
        extension = wrap(glance)
        ours = webob.Request.blank(router.JOBS_PATH).get_response(extension)
        self.assertEqual(401, ours.status_int)
        self.assertEqual([], glance.asked)
        webob.Request.blank("/v2/images").get_response(extension)
        self.assertEqual(1, len(glance.asked))

    def test_application_has_no_paths_but_its_own(self) -> None:
        application = api.app_factory({"config_file": self.write()})
        for path, status in ((router.JOBS_PATH, 401), ("/v2/images", 401)):
            request = webob.Request.blank(path)
            response = request.get_response(application)
            self.assertEqual(status, response.status_int)
        request = webob.Request.blank("/v2/images", environ=base.environ())
        self.assertEqual(404, request.get_response(application).status_int)

    def test_a_local_option_overrides_the_global_one(self) -> None:
        self.assertTrue(
            api.filter_factory(
                {"config_file": "/nonexistent"}, config_file=self.write()
            )(base.Glance())
        )

    def test_nothing_is_registered_on_the_global_configuration(self) -> None:
        """In Glance's process, cfg.CONF is Glance's own."""
        before = set(cfg.CONF)
        api.app_factory({}, config_file=self.write())
        self.assertEqual(before, set(cfg.CONF))

    def test_missing_file(self) -> None:
        self.assert_refused(str(self.directory / "missing.conf"))

    def test_missing_region(self) -> None:
        config_file = self.write(DEFAULT={"region_id": None})
        self.assert_refused(config_file, "region_id")

    def test_missing_credentials(self) -> None:
        config_file = self.write(service_auth={"auth_type": None})
        self.assert_refused(config_file, "[service_auth]", "auth_type")

    def test_unknown_kind_of_credentials(self) -> None:
        config_file = self.write(service_auth={"auth_type": "passw0rd"})
        self.assert_refused(config_file, "[service_auth]", "passw0rd")

    def test_missing_url_of_keystone(self) -> None:
        config_file = self.write(service_auth={"auth_url": None})
        self.assert_refused(config_file, "[service_auth]", "auth_url")

    def test_database_that_nobody_knows(self) -> None:
        url = f"nosuch://user:{_SECRET}@127.0.0.1/jobs"
        config_file = self.write(database={"connection": url})
        self.assert_refused(config_file, "[database] connection")

    def test_policy_file_that_is_missing(self) -> None:
        config_file = self.write(oslo_policy={"policy_file": "/missing.yaml"})
        self.assert_refused(config_file, "[oslo_policy] policy_file")

    def test_value_that_is_none(self) -> None:
        config_file = self.write(api={"max_limit": 0})
        self.assert_refused(config_file, "[api] max_limit")
