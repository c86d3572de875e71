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

"""The caller of a request, as auth_token found it."""

import datetime
from typing import Any

import testtools

from image_replicator import context

_TOKEN_INFO = {
    "token": {
        "methods": ["password"],
        "expires_at": "2026-12-24T20:30:00.250000+02:00",
    }
}


def environ(**added: Any) -> dict[str, Any]:
    """Return the environ that auth_token makes for a valid token."""
    return {
        context.TOKEN_AUTH: object(),
        "keystone.token_info": _TOKEN_INFO,
        "HTTP_X_IDENTITY_STATUS": "Confirmed",
        "HTTP_X_AUTH_TOKEN": "t0ken",
        "HTTP_X_USER_ID": "user",
        "HTTP_X_PROJECT_ID": "project",
        "HTTP_X_ROLES": "reader, member",
        **added,
    }


class TestFromEnviron(testtools.TestCase):
    def test_identity_is_taken_over(self) -> None:
        caller = context.from_environ(environ())
        assert caller
        self.assertEqual("user", caller.user_id)
        self.assertEqual("project", caller.project_id)
        self.assertEqual(["reader", "member"], caller.roles)
        self.assertEqual("t0ken", caller.auth_token)
        self.assertFalse(caller.restricted)
        self.assertEqual(
            datetime.datetime(2026, 12, 24, 18, 30, 0, 250000),
            caller.token_expires_at,
        )

    def test_the_other_header_for_a_token(self) -> None:
        caller = context.from_environ(
            environ(HTTP_X_AUTH_TOKEN=None, HTTP_X_STORAGE_TOKEN="other")
        )
        assert caller
        self.assertEqual("other", caller.auth_token)

    def test_tokens_that_are_good_for_one_project(self) -> None:
        tokens: tuple[dict[str, Any], ...] = (
            {"methods": ["application_credential"]},
            {"methods": ["token", "ec2credential"]},
            {"methods": ["oauth1"]},
            {"methods": ["oauth2_credential"]},
            {"methods": ["password"], "OS-TRUST:trust": {"id": "1"}},
            {"methods": ["password"], "OS-OAUTH1": {}},
        )
        for token in tokens:
            caller = context.from_environ(
                environ() | {"keystone.token_info": {"token": token}}
            )
            assert caller
            self.assertTrue(caller.restricted, token)

    def test_unscoped_token_has_no_project(self) -> None:
        """auth_token sets headers without a value to None."""
        caller = context.from_environ(environ(HTTP_X_PROJECT_ID=None))
        assert caller
        self.assertIsNone(caller.project_id)

    def test_token_without_details(self) -> None:
        infos: tuple[dict[str, Any], ...] = ({}, {"token": {}})
        for info in infos:
            caller = context.from_environ(
                environ() | {"keystone.token_info": info}
            )
            assert caller
            self.assertFalse(caller.restricted)
            self.assertIsNone(caller.token_expires_at)

    def test_there_is_no_caller_without_auth_token(self) -> None:
        for change in (
            {context.TOKEN_AUTH: None},
            {"HTTP_X_IDENTITY_STATUS": "Invalid"},
            {"HTTP_X_IDENTITY_STATUS": "confirmed"},
            {"HTTP_X_IDENTITY_STATUS": ""},
        ):
            self.assertIsNone(context.from_environ(environ() | change))
        for missing in (context.TOKEN_AUTH, "HTTP_X_IDENTITY_STATUS"):
            without = environ()
            del without[missing]
            self.assertIsNone(context.from_environ(without))
