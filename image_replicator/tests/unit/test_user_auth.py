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

"""Tokens with the rights of users, got from a fake Keystone."""

import datetime
import pathlib
from collections.abc import Callable

import fixtures
import testtools
from keystoneauth1 import exceptions as ksa_exc
from keystoneauth1 import session as ksa_session
from oslo_utils import timeutils

from devcloud import settings
from image_replicator import credentials
from image_replicator import user_auth
from image_replicator.conf import loading
from image_replicator.tests.unit import keystones

_TRUSTED = "POST /v3/auth/tokens?nocatalog"


class UserAuthTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.keystone = self.useFixture(keystones.FakeKeystone())
        self.service = self.keystone.session()
        self.session = ksa_session.Session(timeout=10)


class TestUrl(UserAuthTestCase):
    """The version need not stand in the configured URL."""

    def test_requests_go_to_the_version(self) -> None:
        directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        for url in (
            self.keystone.url,
            f"{self.keystone.url}/",
            self.keystone.url.removesuffix("/v3"),
            self.keystone.url.removesuffix("v3"),
        ):
            section = keystones.credentials(auth_url=url)
            path = settings.write(
                directory / "test.conf", {"service_auth": section}
            )
            conf = loading.load(config_file=str(path))
            service = credentials.service_session(conf)
            self.keystone.seen.clear()
            self.keystone.scope_failures = [403]
            trust = user_auth.TrustAuth(
                user_auth.Trustee(service.auth), "7ru57"
            )
            self.assertRaises(
                user_auth.AccessLost, trust.get_token, self.session
            )
            sealed = user_auth.SealedTokenAuth(
                "u53r", timeutils.utcnow(), service.auth
            )
            sealed.renew(self.session)
            self.assertEqual(
                [
                    "POST /v3/auth/tokens?nocatalog",
                    "POST /v3/auth/tokens?nocatalog",
                    "GET /v3/OS-TRUST/trusts/7ru57",
                    "POST /v3/auth/tokens",
                    "GET /v3/auth/tokens?nocatalog&allow_expired=1",
                ],
                self.keystone.seen,
            )


class TestTrust(UserAuthTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.auth = user_auth.TrustAuth(
            user_auth.Trustee(self.service.auth), "7ru57"
        )

    def scope_fails(self, *statuses: int) -> None:
        """Let the next requests for tokens with a trust fail."""
        self.keystone.scope_failures = list(statuses)

    def token(self) -> str | None:
        return self.auth.get_token(self.session)

    def test_our_token_is_not_scoped_and_is_got_once(self) -> None:
        self.assertTrue(self.token())
        self.auth.renew(self.session)
        self.assertEqual(["unscoped", "7ru57", "7ru57"], self.keystone.scopes)

    def test_a_token_is_got_once_until_it_is_renewed(self) -> None:
        for _time in range(3):
            self.token()
        self.assertEqual(1, self.keystone.scopes.count("7ru57"))
        self.auth.renew(self.session)
        self.assertEqual(2, self.keystone.scopes.count("7ru57"))

    def test_a_refused_token_is_replaced(self) -> None:
        self.token()
        self.assertIsNone(self.auth.refusal(self.session))
        self.token()
        self.assertEqual(2, self.keystone.scopes.count("7ru57"))

    def test_a_trust_that_is_gone(self) -> None:
        self.scope_fails(404)
        self.assertRaises(user_auth.TrustGone, self.token)
        self.assertTrue(self.auth.is_gone)

    def test_a_trust_that_keystone_answers_for_with_401(self) -> None:
        """Keystone says whether it is the trust or its project."""
        for status in (403, 404):
            self.keystone.trust_status = status
            self.scope_fails(401, 401)
            error = self.assertRaises(user_auth.TrustGone, self.token)
            self.assertIn("revoked", str(error))
            self.assertTrue(self.auth.is_gone)

    def test_keystone_does_not_say_whether_the_trust_is_gone(self) -> None:
        self.keystone.trust_status = 503
        self.scope_fails(401, 401)
        self.assertRaises(user_auth.AccessLost, self.token)
        self.assertFalse(self.auth.is_gone)

    def test_a_right_that_is_gone(self) -> None:
        for statuses in ((403,), (401, 401), (401, 403)):
            self.scope_fails(*statuses)
            self.assertRaises(user_auth.AccessLost, self.token)
            self.assertFalse(self.auth.is_gone)

    def test_a_trust_for_another_service_user(self) -> None:
        """It is of no use, as if it were gone."""
        self.scope_fails(403)
        self.keystone.trust_status = 403
        self.assertRaises(user_auth.TrustGone, self.token)
        self.assertTrue(self.auth.is_gone)

    def test_our_own_token_was_revoked(self) -> None:
        self.token()
        self.scope_fails(401)
        self.auth.renew(self.session)
        self.assertEqual(
            ["unscoped", "7ru57", "7ru57", "unscoped", "7ru57"],
            self.keystone.scopes,
        )

    def test_keystone_away_is_no_lost_right(self) -> None:
        self.scope_fails(503)
        self.assert_no_right_is_lost(self.token)

    def test_our_own_password_is_wrong(self) -> None:
        self.keystone.status = 401
        self.assert_no_right_is_lost(self.token)

    def assert_no_right_is_lost(self, call: Callable[[], object]) -> None:
        error = self.assertRaises(ksa_exc.ClientException, call)
        self.assertNotIsInstance(error, user_auth.AccessLost)


class TestSealedToken(UserAuthTestCase):
    def auth(self, seconds: float) -> user_auth.SealedTokenAuth:
        """Return the credentials of a token that lives for so long."""
        return user_auth.SealedTokenAuth(
            "u53r",
            timeutils.utcnow() + datetime.timedelta(seconds=seconds),
            self.service.auth,
        )

    def test_both_tokens_are_sent(self) -> None:
        self.assertEqual(
            {"X-Auth-Token": "u53r", "X-Service-Token": "t0ken"},
            self.auth(60).get_headers(self.session),
        )

    def test_keystone_is_asked_whether_it_is_good(self) -> None:
        self.auth(60).renew(self.session)
        self.assertEqual(
            "GET /v3/auth/tokens?nocatalog&allow_expired=1",
            self.keystone.seen[-1],
        )

    def test_a_token_that_is_bad(self) -> None:
        for seconds, expected in (
            (60, user_auth.AccessLost),
            (-60, user_auth.AuthorityExpired),
        ):
            auth = self.auth(seconds)
            auth.get_headers(self.session)
            self.keystone.status = 404
            self.assertRaises(expected, auth.renew, self.session)
            self.keystone.status = 200

    def test_no_message_has_a_token(self) -> None:
        for seconds in (60, -60):
            self.assertNotIn("u53r", str(self.auth(seconds)._reason()))
