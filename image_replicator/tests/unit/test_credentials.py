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

"""Wrong credentials are refused with the option's name."""

import contextlib
import pathlib
from collections.abc import Iterator

import fixtures
import testtools

from devcloud import certificates
from devcloud import settings
from image_replicator import credentials
from image_replicator import exception
from image_replicator.conf import loading
from image_replicator.tests.unit import keystones

#: Wrong options, the one that is named, and a word of the message.
REFUSED: tuple[tuple[dict[str, str | None], str, str], ...] = (
    ({"auth_type": None}, "auth_type", "not set"),
    ({"auth_type": "passw0rd"}, "auth_type", "passw0rd"),
    ({"auth_type": "none"}, "auth_url", "not set"),
    ({"auth_url": None}, "auth_url", "not set"),
    ({"auth_url": ""}, "auth_url", "not set"),
    ({"auth_url": "ftp:nothing"}, "auth_url", "http://"),
    ({"auth_url": "ftp://keystone/v3"}, "auth_url", "http://"),
    ({"auth_url": "keystone:5000"}, "auth_url", "http://"),
    ({"auth_url": "http://"}, "auth_url", "no host"),
    ({"auth_url": "http:///v3"}, "auth_url", "no host"),
    ({"auth_url": "http://key stone/v3"}, "auth_url", "no host"),
    ({"auth_url": "http://keystone:port/v3"}, "auth_url", "not a URL"),
    ({"auth_url": "http://keystone:70000/v3"}, "auth_url", "not a URL"),
    ({"auth_url": "http://[::1/v3"}, "auth_url", "not a URL"),
    (
        {"auth_url": f"http://me:{keystones.PASSWORD}@keystone/v3"},
        "auth_url",
        "user's name",
    ),
    ({"username": None}, "username", "not set"),
    ({"password": None}, "password", "not set"),
    ({"password": ""}, "password", "not set"),
    ({"auth_type": "v3password", "password": None}, "password", "not set"),
    ({"user_domain_id": None}, "user_domain_name", "username"),
    ({"project_domain_id": None}, "project_domain_name", "project_name"),
    ({"valid_interfaces": ""}, "valid_interfaces", "empty"),
    ({"valid_interfaces": "interanl"}, "valid_interfaces", "interanl"),
    ({"valid_interfaces": "public,,admin"}, "valid_interfaces", "''"),
    ({"timeout": "0"}, "timeout", "between"),
    ({"timeout": "-1"}, "timeout", "between"),
    ({"timeout": "inf"}, "timeout", "between"),
    ({"cafile": "/missing/ca.pem"}, "cafile", "No such file"),
    ({"certfile": "/missing/cert.pem"}, "certfile", "No such file"),
    ({"keyfile": "/missing/key.pem"}, "certfile", "keyfile"),
)

ACCEPTED: tuple[dict[str, str | None], ...] = (
    {},
    {"auth_url": "https://keystone/identity"},
    {"auth_url": "http://[::1]:5000/v3"},
    {"username": None, "user_id": "236ae314", "user_domain_id": None},
    {"user_domain_id": None, "user_domain_name": "Default"},
    {"project_name": None, "project_domain_id": None},
    {
        "user_domain_id": None,
        "project_domain_id": None,
        "default_domain_name": "Default",
    },
    {"valid_interfaces": "publicURL,internal,admin"},
    {"timeout": "0.5"},
    {
        "auth_type": "v3applicationcredential",
        "application_credential_id": "236ae314",
        "application_credential_secret": "secret",
    },
)


class CredentialsTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def load(self, **overrides: str | None) -> None:
        """Return a session of valid options, with some overridden."""
        path = self.directory / "image-replicator.conf"
        section = keystones.credentials(**overrides)
        self.load_file(settings.write(path, {"service_auth": section}))

    def load_file(self, path: pathlib.Path) -> None:
        credentials.service_session(loading.load(config_file=str(path)))

    def assert_refused(
        self, option: str, *words: str, **overrides: str | None
    ) -> None:
        error = self.assertRaises(
            exception.ConfigurationError, self.load, **overrides
        )
        self.assertIn(f"[service_auth] {option}: ", str(error))
        for word in words:
            self.assertIn(word, str(error))
        self.assertNotIn(keystones.PASSWORD, str(error))


class TestOptions(CredentialsTestCase):
    def test_wrong_options_are_refused(self) -> None:
        for overrides, option, word in REFUSED:
            with self._telling(overrides):
                self.assert_refused(option, word, **overrides)

    def test_valid_options_are_accepted(self) -> None:
        for overrides in ACCEPTED:
            with self._telling(overrides):
                self.load(**overrides)

    @contextlib.contextmanager
    def _telling(self, overrides: object) -> Iterator[None]:
        """Add the options to the error of a failure."""
        try:
            yield
        except Exception as error:
            raise AssertionError(f"{overrides}: {error}") from error

    def test_a_section_of_its_own(self) -> None:
        """keystoneauth's ``auth_section`` works as in other services."""
        path = settings.write(
            self.directory / "image-replicator.conf",
            {
                "service_auth": {"auth_section": "keystone_authtoken"},
                "keystone_authtoken": keystones.credentials(auth_url="ftp:x"),
            },
        )
        error = self.assertRaises(
            exception.ConfigurationError, self.load_file, path
        )
        self.assertIn("[keystone_authtoken] auth_url: ", str(error))
        path.write_text(path.read_text().replace("ftp:x", "http://keystone"))
        self.load_file(path)


class TestFiles(CredentialsTestCase):
    """The files for TLS."""

    def setUp(self) -> None:
        super().setUp()
        authority, certificate = certificates.self_signed(self.directory)
        self.authority = str(authority)
        self.certificate = str(certificate)
        self.junk = self.directory / "junk.pem"
        self.junk.write_text("-----BEGIN CERTIFICATE-----\n")

    def test_files_that_can_be_used(self) -> None:
        self.load(cafile=self.authority)
        self.load(cafile=str(self.directory))
        self.load(certfile=self.certificate)
        self.load(certfile=self.certificate, keyfile=self.certificate)

    def test_files_that_cannot(self) -> None:
        for option in ("cafile", "certfile"):
            self.assert_refused(option, "TLS", **{option: str(self.junk)})
        self.assert_refused(
            "certfile",
            "TLS",
            certfile=self.certificate,
            keyfile=self.authority,
        )
