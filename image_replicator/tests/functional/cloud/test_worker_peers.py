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

"""Workers with real proxies, and servers that are no image service."""

import contextlib
import sqlite3
from typing import Any
from typing import Final

from devcloud import fronts
from image_replicator.tests.functional.cloud import base

DATA: Final = bytes(range(256)) * 65536  # 16 MiB

_REDIRECT: Final = {"return": "302 https://u:pw@sso.example:8443/in?k=s3cret"}
_PAGE: Final = {
    "default_type": "text/html",
    "return": "200 '<html>It works!</html>'",
}

#: The directives that mark an image's data, and nothing else, as compressed.
_ENCODING: Final = {
    "set": '$encoding ""',
    "if ($uri ~ /file$) { set $encoding gzip; } add_header": (
        "Content-Encoding $encoding"
    ),
}


class TestPeers(base.CloudTestCase):
    """Failures that do not pass; each ends its job at the first attempt."""

    def setUp(self) -> None:
        super().setUp()
        self.before = set(self.images_in("ot2"))

    def copy_through(
        self,
        region: str,
        front: fronts.Front,
        *,
        trusted: bool = True,
        reachable: bool = True,
    ) -> Any:
        """Copy an image with a region behind a front.

        :param trusted: whether the worker trusts the front's certificate
        :param reachable: as for :meth:`copy`
        :returns: the job's row, when the job is over
        """
        self.useFixture(front)
        self.cloud.route_internal(region, front)
        self.addCleanup(self.cloud.route_internal, region, None)
        image = self.cloud.images("ot1").create(DATA)
        cafile = front.cafile if trusted else None
        auth = {"service_auth": {"cafile": str(cafile)}} if cafile else {}
        return self.copy(image["id"], reachable, **auth)

    def copy(
        self, image_id: str, reachable: bool = True, **overrides: Any
    ) -> Any:
        """Run a copy that must fail at its first attempt.

        :param reachable: whether the worker can remove what it created
        :returns: the job's row, when the job is over
        """
        worker = self.start_worker(worker={"max_attempts": 3}, **overrides)
        job_id = self.ask_for_copy(image_id)
        job = self.wait_for(job_id, "error", "replicated")
        self.assertEqual("error", job["status"])
        row = self.job_row(job_id)
        self.assertEqual(1, row.attempts)
        self.assertNotIn("s3cret", row.error_message)
        if reachable:
            self.wait_until_clean(job_id, self.before)
        worker.stop()
        return row

    def assert_failed(self, row: Any, code: str, *words: str) -> None:
        self.assertEqual(code, row.error_code, row.error_message)
        for word in words:
            self.assertIn(word, row.error_message)

    def test_a_redirect(self) -> None:
        row = self.copy_through("ot2", fronts.Nginx(_REDIRECT))
        self.assert_failed(
            row,
            "destination_not_image_service",
            "redirected creating the image to sso.example:8443/in.",
        )
        # Certainly no image was created, so none must be removed.
        self.assertIsNone(row.reserved_image_id)

    def test_a_web_page(self) -> None:
        row = self.copy_through("ot2", fronts.Nginx(_PAGE), reachable=False)
        self.assert_failed(
            row,
            "destination_not_image_service",
            "answered 200 to creating the image: It works!",
        )
        # It is removed when the image service answers again.
        self.assertIsNotNone(row.reserved_image_id)

    def test_a_source_that_redirects(self) -> None:
        row = self.copy_through("ot1", fronts.Nginx(_REDIRECT))
        self.assert_failed(
            row, "source_not_image_service", "showing the image to sso.example"
        )

    def test_a_proxy_that_limits_uploads(self) -> None:
        for tls in (False, True):
            front = fronts.Nginx({"client_max_body_size": "1m"}, tls=tls)
            row = self.copy_through("ot2", front)
            self.assert_failed(
                row,
                "destination_upload_limited",
                "A proxy before the image service of region ot2 answered 413",
                "nginx",
            )

    def test_a_certificate_that_nobody_has_signed(self) -> None:
        for region, side in (("ot1", "source"), ("ot2", "destination")):
            for front in (fronts.Nginx(tls=True), fronts.HAProxy(tls=True)):
                row = self.copy_through(region, front, trusted=False)
                self.assert_failed(
                    row, f"{side}_tls_failed", region, "self-signed"
                )
                self.cloud.route_internal(region, None)

    def test_a_source_that_compresses(self) -> None:
        row = self.copy_through("ot1", fronts.Nginx(_ENCODING))
        self.assert_failed(row, "source_encoded", "ot1", "as gzip although")

    def test_data_that_is_not_of_its_format(self) -> None:
        """The source has it from a Glance without this check."""
        image = self.cloud.images("ot1").create(DATA)
        path = self.cloud.glances["ot1"].database
        with contextlib.closing(sqlite3.connect(path, timeout=30)) as database:
            database.execute(
                "UPDATE images SET disk_format = 'qcow2' WHERE id = ?",
                [image["id"]],
            )
            database.commit()
        self.assert_failed(
            self.copy(image["id"]),
            "destination_refused",
            "The image service of region ot2 answered 415",
            "qcow2",
        )
