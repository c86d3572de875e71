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

"""The regions that have an image service, and requests for them."""

import threading

import fixtures
import testtools
from keystoneauth1 import exceptions as ksa_exc

from image_replicator import catalogue
from image_replicator.tests.unit import keystones

LOOKUP = "GET /v3/auth/catalog"
PATIENCE = 10


class CatalogueTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.logged = self.useFixture(fixtures.FakeLogger())
        self.now = 1000.0
        self.keystone = self.useFixture(keystones.FakeKeystone())
        self.build("internal", "public")

    def build(self, *interfaces: str) -> None:
        self.catalogue = catalogue.Catalogue(
            self.keystone.session(), interfaces, clock=lambda: self.now
        )

    def join(self, region: str, interface: str = "public") -> None:
        """Add a region whose URLs have its name and the interface."""
        self.keystone.regions.setdefault(region, {})[interface] = (
            f"http://{region}-{interface}"
        )

    def lookups(self) -> int:
        return self.keystone.seen.count(LOOKUP)


class TestInterfaces(CatalogueTestCase):
    """The URL of a region is of the first interface that it has."""

    def test_region_by_region(self) -> None:
        self.join("both", "public")
        self.join("both", "internal")
        self.join("inside", "internal")
        self.join("outside", "public")
        self.join("admins", "admin")
        self.assertEqual(
            {"both", "inside", "outside"}, self.catalogue.image_regions()
        )
        for region, interface in (
            ("both", "internal"),
            ("inside", "internal"),
            ("outside", "public"),
        ):
            self.assertEqual(
                f"http://{region}-{interface}",
                self.catalogue.image_url(region),
            )
        self.assertFalse(self.catalogue.has_images("admins"))

    def test_the_gateway_of_a_region(self) -> None:
        self.join("ot1")
        self.assertIsNone(self.catalogue.data_url("ot1"))
        self.keystone.gateways = {"ot1": "http://gateway/"}
        self.now += catalogue.MAX_AGE
        self.assertEqual("http://gateway", self.catalogue.data_url("ot1"))
        self.assertIsNone(self.catalogue.data_url("ot2"))

    def test_the_order_is_the_operator_s(self) -> None:
        self.join("both", "public")
        self.join("both", "internal")
        self.build("public", "internal")
        self.assertEqual(
            "http://both-public", self.catalogue.image_url("both")
        )

    def test_old_names_of_interfaces(self) -> None:
        self.join("ot1", "public")
        self.build("internalURL", "publicURL")
        self.assertEqual({"ot1"}, self.catalogue.image_regions())

    def test_a_url_without_its_version(self) -> None:
        for url in ("http://glance/image/v2/", "http://glance/image"):
            self.keystone.regions = {"ot1": {"public": url}}
            self.build("public")
            self.assertEqual(
                "http://glance/image", self.catalogue.image_url("ot1")
            )


class TestLookups(CatalogueTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.join("ot1")
        self.assertEqual({"ot1"}, self.catalogue.image_regions())

    def test_the_first_catalogue_comes_with_the_token(self) -> None:
        self.assertEqual(["POST /v3/auth/tokens"], self.keystone.seen)

    def test_a_region_that_joins_is_seen_after_a_while(self) -> None:
        self.join("ot2")
        self.now += catalogue.MAX_AGE - 1
        self.assertEqual({"ot1"}, self.catalogue.image_regions())
        self.now += 2
        self.assertEqual({"ot1", "ot2"}, self.catalogue.image_regions())
        self.assertEqual({"ot1", "ot2"}, self.catalogue.image_regions())
        self.assertEqual(1, self.lookups())

    def test_an_endpoint_that_moves_is_seen_after_a_while(self) -> None:
        self.keystone.regions["ot1"]["public"] = "http://elsewhere"
        self.now += catalogue.MAX_AGE + 1
        self.assertEqual("http://elsewhere", self.catalogue.image_url("ot1"))

    def test_a_region_that_is_missing_is_looked_for_at_once(self) -> None:
        self.now += catalogue.MIN_INTERVAL + 1
        self.join("ot2")
        self.assertEqual("http://ot2-public", self.catalogue.image_url("ot2"))
        self.join("ot3")
        self.now += catalogue.MIN_INTERVAL + 1
        self.assertTrue(self.catalogue.has_images("ot3"))

    def test_a_region_that_does_not_exist_is_looked_for_rarely(self) -> None:
        self.now += catalogue.MIN_INTERVAL + 1
        for _time in range(20):
            self.assertFalse(self.catalogue.has_images("nowhere"))
            self.assertRaises(
                ksa_exc.EndpointNotFound, self.catalogue.image_url, "nowhere"
            )
        self.assertEqual(1, self.lookups())
        self.now += catalogue.MIN_INTERVAL + 1
        self.assertFalse(self.catalogue.has_images("nowhere"))
        self.assertEqual(2, self.lookups())

    def test_one_thread_looks_and_the_others_go_on(self) -> None:
        self.now += catalogue.MAX_AGE + 1
        asked, answer = threading.Event(), threading.Event()
        real = self.keystone.answer

        def slowly(request: str) -> object:
            asked.set()
            answer.wait(PATIENCE)
            return real(request)

        self.useFixture(
            fixtures.MockPatchObject(
                self.keystone, "answer", side_effect=slowly
            )
        )
        thread = threading.Thread(target=self.catalogue.image_regions)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(answer.set)
        self.assertTrue(asked.wait(PATIENCE))
        self.assertEqual({"ot1"}, self.catalogue.image_regions())
        answer.set()
        thread.join(PATIENCE)
        self.assertEqual(1, self.lookups())


class TestKeystoneAway(CatalogueTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.join("ot1")

    def break_down(self, status: int, body: bytes | None = None) -> None:
        self.keystone.status = status
        self.keystone.body = body

    def test_no_catalogue_at_all(self) -> None:
        self.break_down(503)
        self.assertRaises(
            ksa_exc.ServiceUnavailable, self.catalogue.image_regions
        )
        self.break_down(200)
        self.assertEqual({"ot1"}, self.catalogue.image_regions())

    def test_the_known_catalogue_goes_on_serving(self) -> None:
        self.catalogue.image_regions()
        for status, body in (
            (503, None),
            (403, None),
            (200, b"<html>"),
            (200, b"[]"),
            (200, b'{"catalog": [1]}'),
        ):
            self.break_down(status, body)
            self.now += catalogue.MAX_AGE + 1
            before = self.lookups()
            for _time in range(20):
                self.assertEqual(
                    "http://ot1-public", self.catalogue.image_url("ot1")
                )
            self.assertEqual(1, self.lookups() - before, str(body))
        self.assertIn("known catalogue", self.logged.output)
        self.assertNotIn("t0ken", self.logged.output)

    def test_an_old_catalogue_is_looked_up_when_keystone_is_back(self) -> None:
        self.catalogue.image_regions()
        self.break_down(503)
        self.now += catalogue.MAX_AGE + 1
        self.catalogue.image_regions()
        self.break_down(200)
        self.join("ot2")
        self.now += catalogue.MIN_INTERVAL + 1
        self.assertEqual({"ot1", "ot2"}, self.catalogue.image_regions())

    def test_a_missing_region_is_not_called_missing(self) -> None:
        """It is not known whether it exists while Keystone does not answer."""
        self.catalogue.image_regions()
        self.break_down(503)
        self.now += catalogue.MIN_INTERVAL + 1
        for _time in range(2):
            error = self.assertRaises(
                ksa_exc.ClientException, self.catalogue.image_url, "ot2"
            )
            self.assertNotIsInstance(error, ksa_exc.EndpointNotFound)
