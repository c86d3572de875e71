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

"""Requests to Keystone, and their errors."""

import datetime
import pathlib

import fixtures
import testtools
from keystoneauth1 import exceptions as ksa_exc
from keystoneauth1.identity import v3

from devcloud import settings
from image_replicator import context
from image_replicator import exception
from image_replicator import identity
from image_replicator.conf import loading
from image_replicator.tests.unit import keystones

_OWN = "236ae314ef6944f4ab98fa7519e54325"
_USER = "0badcafe0badcafe0badcafe0badcafe"
_OTHER = "91b5c7c09cbd45caa3c146fd67ae471e"

TAGS = f"GET /v3/projects/{_OTHER}/tags"


def new_context(
    project_id: str = _OWN, restricted: bool = False
) -> context.RequestContext:
    """Return a caller.

    :param restricted: whether the token is good for one project only
    """
    return context.RequestContext(
        auth_token="t0ken",
        user_id=_USER,
        project_id=project_id,
        roles=["member"],
        restricted=restricted,
        overwrite=False,
    )


class IdentityTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.logged = self.useFixture(fixtures.FakeLogger())
        self.keystone = self.useFixture(keystones.FakeKeystone())
        self.build()

    def build(self, auth_url: str | None = None, **defaults: str) -> None:
        """Build an Identity for the fake Keystone.

        :param defaults: options of the section ``[DEFAULT]``
        """
        section = keystones.credentials(auth_url=auth_url or self.keystone.url)
        directory = self.useFixture(fixtures.TempDir()).path
        config_file = settings.write(
            pathlib.Path(directory, "test.conf"),
            {"DEFAULT": defaults, "service_auth": section},
        )
        self.identity = identity.Identity(
            loading.load(config_file=str(config_file))
        )


class TestCredentials(IdentityTestCase):
    def test_the_version_need_not_stand_in_the_url(self) -> None:
        self.keystone.regions = {"ot1": {"public": "http://ot1"}}
        self.keystone.tags = ["region:ot1"]
        for url in (
            self.keystone.url,
            self.keystone.url + "/",
            self.keystone.url.removesuffix("/v3"),
        ):
            self.keystone.seen.clear()
            self.build(auth_url=url)
            self.identity.catalogue.image_regions()
            self.assertEqual(["POST /v3/auth/tokens"], self.keystone.seen)
            found = self.identity.destination_region(
                new_context(_OTHER), "ot2"
            )
            self.assertEqual("ot1", found.name)
            self.identity.caller_in_project(_OTHER, new_context())

    def test_a_proxy_that_wants_a_password(self) -> None:
        """It answers each request with 401, and no request hangs."""
        self.keystone.status = 401
        self.assertRaises(
            exception.ServiceUnavailable, self.identity.image_regions
        )


class TestRequests(IdentityTestCase):
    """The requests to Keystone of one request for a copy."""

    def ask(self) -> list[str]:
        """Admit a copy, and return the requests to Keystone."""
        self.keystone.seen.clear()
        self.identity.caller_in_project(_OTHER, new_context())
        found = self.identity.destination_region(new_context(_OTHER), "ot1")
        self.assertEqual("ot2", found.name)
        return self.keystone.seen

    def test_two_requests_for_each_copy(self) -> None:
        self.keystone.regions = {
            name: {"public": f"http://{name}"} for name in ("ot1", "ot2")
        }
        # This is the caller's token in the project, without a catalogue.
        rescoping = "POST /v3/auth/tokens?nocatalog"
        # Our own token has the catalogue.
        self.assertEqual([rescoping, "POST /v3/auth/tokens", TAGS], self.ask())
        for _time in range(3):
            self.assertEqual([rescoping, TAGS], self.ask())


class TestCallerInProject(IdentityTestCase):
    def keystone_says(self, error: Exception) -> None:
        self.useFixture(
            fixtures.MockPatchObject(v3.Token, "get_access", side_effect=error)
        )

    def test_own_project_needs_no_proof(self) -> None:
        for restricted in (False, True):
            caller = new_context(restricted=restricted)
            self.assertIs(
                caller, self.identity.caller_in_project(_OWN, caller)
            )

    def test_delegated_token_stays_in_its_project(self) -> None:
        """Some releases of Keystone would rescope such a token."""
        error = self.assertRaises(
            exception.Forbidden,
            self.identity.caller_in_project,
            _OTHER,
            new_context(restricted=True),
        )
        self.assertIn("application credential", error.message)

    def test_keystone_s_refusals(self) -> None:
        for error, expected in (
            (ksa_exc.Unauthorized(), exception.NotFound),
            (ksa_exc.NotFound(), exception.NotFound),
            (ksa_exc.Forbidden(), exception.Forbidden),
            (ksa_exc.InternalServerError(), exception.ServiceUnavailable),
            (ksa_exc.HTTPClientError(), exception.ServiceUnavailable),
            (ksa_exc.ConnectTimeout(), exception.ServiceUnavailable),
        ):
            self.keystone_says(error)
            self.assertRaises(
                expected,
                self.identity.caller_in_project,
                _OTHER,
                new_context(),
            )

    def test_keystone_that_is_down_is_unavailable(self) -> None:
        self.keystone.status = 503
        for ask in (
            lambda: self.identity.caller_in_project(_OTHER, new_context()),
            lambda: self.identity.destination_region(
                new_context(_OTHER), "ot1"
            ),
            self.identity.image_regions,
        ):
            error = self.assertRaises(exception.ServiceUnavailable, ask)
            self.assertNotIn(keystones.HOST, error.message)
        self.assertIn("Keystone does not serve us", self.logged.output)
        for secret in ("t0ken", "pa55word"):
            self.assertNotIn(secret, self.logged.output)


class TestDestinationRegion(IdentityTestCase):
    """The sources of the destination region, and their order."""

    def cloud(self, regions: str, *tags: str) -> None:
        """Set the regions with images, and the tags of each project."""
        self.keystone.regions = {
            region: {"public": f"http://{region}"}
            for region in regions.split()
        }
        self.keystone.tags = list(tags)

    def region(self, wanted: str | None = None) -> str:
        return self.found(wanted).name

    def found(self, wanted: str | None = None) -> identity.DestinationRegion:
        return self.identity.destination_region(
            new_context(_OTHER), "ot1", wanted
        )

    def test_the_reason_is_told(self) -> None:
        self.cloud("ot1 ot2")
        self.assertEqual(("ot2", "only_other"), self.found())
        self.build(default_destination_region="ot3")
        self.cloud("ot1 ot2 ot3")
        self.assertEqual(("ot3", "default"), self.found())
        self.cloud("ot1 ot2 ot3", "region:ot2")
        self.assertEqual(("ot2", "project_tag"), self.found())
        self.assertEqual(("ot3", "requested"), self.found("ot3"))

    def test_the_requested_region_comes_first(self) -> None:
        self.build(default_destination_region="ot3")
        self.cloud("ot1 ot2 ot3 ot4", "region:ot2")
        for wanted in ("ot4", "ot1"):
            self.assertEqual(wanted, self.region(wanted))

    def test_nothing_else_is_asked_for_then(self) -> None:
        self.cloud("ot1 ot2")
        self.assertEqual("ot2", self.region("ot2"))
        self.assertNotIn(TAGS, self.keystone.seen)

    def test_tag_comes_before_the_default(self) -> None:
        self.build(default_destination_region="ot3")
        self.cloud("ot1 ot2 ot3", "other", "region:ot2")
        self.assertEqual("ot2", self.region())

    def test_more_than_one_tag(self) -> None:
        self.cloud("ot1 ot2 ot3", "region:ot2", "region:ot3")
        error = self.assertRaises(exception.Conflict, self.region)
        self.assertIn("more than one region tag", error.message)

    def test_default_comes_before_the_only_other(self) -> None:
        self.build(default_destination_region="ot1")
        self.cloud("ot1 ot2")
        self.assertEqual("ot1", self.region())

    def test_only_other(self) -> None:
        self.cloud("ot1 ot2")
        self.assertEqual("ot2", self.region())

    def test_only_other_has_another_interface(self) -> None:
        self.keystone.regions = {
            "ot1": {"internal": "http://inside", "public": "http://outside"},
            "ot2": {"public": "http://ot2"},
        }
        self.assertEqual("ot2", self.region())

    def test_none_and_many_others(self) -> None:
        for regions, count in (("ot1", "0"), ("ot1 ot2 ot3", "2")):
            self.build()
            self.cloud(regions)
            error = self.assertRaises(exception.Conflict, self.region)
            self.assertIn(f"{count} other regions", error.message)

    def test_a_second_region_that_has_just_joined(self) -> None:
        self.useFixture(
            fixtures.MonkeyPatch("image_replicator.catalogue.MIN_INTERVAL", -1)
        )
        for wanted in (None, "ot2"):
            self.build()
            self.cloud("ot1")
            self.assertRaises(exception.Conflict, self.region, wanted)
            self.cloud("ot1 ot2")
            self.assertEqual("ot2", self.region(wanted))

    def test_our_own_region_is_not_there(self) -> None:
        self.cloud("ot2")
        for _time in range(2):
            self.assertEqual("ot2", self.region())
        self.assertEqual(1, self.logged.output.count("[DEFAULT] region_id: "))

    def test_the_answers_are_not_those_of_keystone(self) -> None:
        self.cloud("ot1 ot2")
        self.identity.image_regions()
        for body in (b"<html>", b"[]", b'{"tags": null}'):
            self.keystone.body = body
            self.assertRaises(exception.ServiceUnavailable, self.region)

    def test_region_without_images_wherever_its_name_is_from(self) -> None:
        self.build(default_destination_region="nowhere")
        self.cloud("ot1 ot2")
        for wanted in (None, "nowhere", "OT2", "ot2 "):
            error = self.assertRaises(exception.Conflict, self.region, wanted)
            self.assertIn(wanted or "nowhere", error.message)


class TestTrusts(IdentityTestCase):
    """Trusts are made and removed with the caller's own token."""

    EXPIRY = datetime.datetime(2026, 12, 24, 18, 30, 0, 250000)

    def make(self) -> str | None:
        return self.identity.make_trust(
            new_context(), _OTHER, ("member", "reader"), self.EXPIRY
        )

    def keystone_says(self, status: int) -> None:
        self.identity.access()
        self.identity.endpoint()
        self.keystone.status = status

    def test_a_trust_gives_the_roles_and_nothing_more(self) -> None:
        self.assertEqual("7ru57", self.make())
        (sent,) = self.keystone.trusts
        self.assertEqual(
            {
                "trustor_user_id": _USER,
                "trustee_user_id": self.identity.access().user_id,
                "project_id": _OTHER,
                "impersonation": False,
                "roles": [{"name": "member"}, {"name": "reader"}],
                "expires_at": "2026-12-24T18:30:00.250000Z",
            },
            sent,
        )
        self.assertEqual({"t0ken"}, self.keystone.trustors)

    def test_one_request_once_our_own_token_is_known(self) -> None:
        self.make()
        self.keystone.seen.clear()
        self.make()
        self.assertEqual(["POST /v3/OS-TRUST/trusts"], self.keystone.seen)

    def test_a_token_that_cannot_make_it(self) -> None:
        for status in (401, 403, 404):
            self.build()
            self.keystone.status = 200
            self.keystone_says(status)
            self.assertIsNone(self.make())

    def test_keystone_that_is_down_is_unavailable(self) -> None:
        self.keystone_says(503)
        self.assertRaises(exception.ServiceUnavailable, self.make)

    def test_a_trust_that_is_gone_is_removed(self) -> None:
        for status in (200, 404):
            self.keystone_says(status)
            self.identity.remove_trust(new_context(), "7ru57")
        self.assertEqual(
            ["DELETE /v3/OS-TRUST/trusts/7ru57"] * 2, self.keystone.seen[-2:]
        )

    def test_a_trust_that_stays(self) -> None:
        self.keystone_says(403)
        self.assertRaises(
            ksa_exc.Forbidden,
            self.identity.remove_trust,
            new_context(),
            "7ru57",
        )
