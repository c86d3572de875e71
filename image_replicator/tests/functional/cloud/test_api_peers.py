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

"""Regions where something other than an image service answers."""

from typing import ClassVar

from devcloud import cloud
from devcloud import fronts
from image_replicator import catalogue
from image_replicator import context as ir_context
from image_replicator import exception
from image_replicator.images import caller
from image_replicator.tests.functional.cloud import api_base

_REDIRECT = "302 https://sso.example.com:8443/login?next=s3cret"
_PAGE = "200 '<html>It works!</html>'"


class TestPeers(api_base.ApiTestCase):
    """This is one test, as it has a cloud of its own.

    :cvar permanent: regions whose fault does not pass, with words of the error
    """

    options = cloud.Options()

    permanent: ClassVar[dict[str, tuple[str, ...]]] = {
        "redirecting": (
            "is no image service",
            "redirects to sso.example.com:8443/login.",
        ),
        "page": ("is no image service", "sends a web page"),
        "self-signed": ("is not trusted: self-signed certificate",),
    }

    def setUp(self) -> None:
        super().setUp()
        upstream = self.cloud.glances["ot2"].server.port
        page = {"default_type": "text/html", "return": _PAGE}
        self.join("redirecting", fronts.Nginx({"return": _REDIRECT}), upstream)
        self.join("page", fronts.Nginx(page), upstream)
        self.join("self-signed", fronts.Nginx(tls=True), upstream)
        self.join("down", fronts.HAProxy(), 1)
        self.join("up", fronts.Nginx(), upstream)

    def join(self, region: str, front: fronts.Front, upstream: int) -> None:
        """Add a region whose image service is behind a front."""
        self.useFixture(front)
        front.connect_to(upstream)
        client = self.keystone_client()
        (service,) = client.get("/services?type=image").json()["services"]
        self.cloud.identity.join_region(region, self.cloud.auth_url)
        self.cloud.identity.create_endpoint(
            service["id"], region, "public", front.url
        )

    def test_a_request_is_told_what_it_is(self) -> None:
        image_id = self.cloud.images("ot1").create(b"data")["id"]
        self.check_destinations(image_id)
        self.check_sources(image_id)

    def check_destinations(self, image_id: str) -> None:
        for region, words in self.permanent.items():
            reply = self.copy_1_1(image_id, region_id_dst=region)
            self.assert_error(409, reply, region, *words)
            self.assertNotIn("try again", reply.text)
            self.assertNotIn("s3cret", reply.text)
        reply = self.copy_1_1(image_id, region_id_dst="down")
        self.assert_error(409, reply, "does not answer; try again later")
        reply = self.copy_1_1(image_id, region_id_dst="up")
        self.assertEqual(202, reply.status_code, reply.text)

    def check_sources(self, image_id: str) -> None:
        """Request source images as the stand-alone API does."""
        for region, words in self.permanent.items():
            refused = self.assertRaises(
                exception.Conflict, self.source(region).show, image_id
            )
            for word in (region, *words):
                self.assertIn(word, refused.message)
        self.assertRaises(
            exception.ServiceUnavailable, self.source("down").show, image_id
        )
        image_id = self.cloud.images("ot2").create(b"data")["id"]
        self.assertEqual(image_id, self.source("up").show(image_id)["id"])

    def source(self, region: str) -> caller.SourceImages:
        """Return alice's client for source images of a region."""
        session = self.cloud.session()
        return caller.SourceImages(
            caller.ask_remote(
                session,
                catalogue.Catalogue(session, ["public"]),
                region,
                ir_context.RequestContext(
                    auth_token=self.cloud.token(), overwrite=False
                ),
            )
        )
