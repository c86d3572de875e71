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

"""Copies that last longer than tokens live."""

import time
from typing import Any

from keystoneauth1 import session as ksa_session

from devcloud import cloud
from devcloud import proxy
from image_replicator.tests.functional.cloud import base

#: Seconds for which a token lives, and for which Keystone takes it afterwards
#: beside a service's token.
_LIFE = 4
_WINDOW = 6

#: Bytes of an image, and its bytes per second where it is slow.
_DATA = bytes(range(256)) * 16384
_SLOW = len(_DATA) / (3 * _LIFE)


class BriefCloud(cloud.Cloud):
    """A cloud in which tokens live for some seconds."""

    def __init__(self) -> None:
        token = {"expiration": _LIFE, "allow_expired_window": _WINDOW}
        super().__init__(cloud.Options(keystone_config={"token": token}))


class TestBriefTokens(base.CloudTestCase):
    kind = BriefCloud

    def setUp(self) -> None:
        super().setUp()
        self.relay_to_ot1 = self.relay("ot1")
        self.image_id = self.cloud.images("ot1").create(_DATA)["id"]

    def _credential(self) -> ksa_session.Session:
        return self.cloud.application_credential("alice", "source")

    def _end(self, job_id: str) -> dict[str, Any]:
        return self.wait_for(job_id, "replicated", "error")

    def test_trusts_outlive_the_token(self) -> None:
        """Tokens are got anew for three times as long as one lives."""
        self.relay_to_ot1.throttle(_SLOW, proxy.Direction.DOWNLOAD)
        job_id = self.ask_for_copy(self.image_id)
        began = time.monotonic()
        self.start_worker()
        job = self._end(job_id)
        self.assertEqual(
            "replicated", job["status"], str(self.job_row(job_id))
        )
        self.assertGreater(time.monotonic() - began, 2 * _LIFE)

    def test_a_sealed_token_is_good_within_keystone_s_window(self) -> None:
        self.relay_to_ot1.hold_after(len(_DATA) // 2)
        job_id = self.ask_for_copy(
            self.image_id, "source", session=self._credential()
        )
        expires_at = time.monotonic() + _LIFE
        self.start_worker()
        self.assertTrue(self.relay_to_ot1.wait_until_held())
        self._sleep_until(expires_at + 2)
        self.relay_to_ot1.release()
        job = self._end(job_id)
        self.assertEqual(
            "replicated", job["status"], str(self.job_row(job_id))
        )

    def test_a_sealed_token_expires_amid_the_copy(self) -> None:
        before = set(self.images_in("ot2"))
        self.relay_to_ot1.hold_after(len(_DATA) // 2)
        job_id = self.ask_for_copy(
            self.image_id, "source", session=self._credential()
        )
        expires_at = time.monotonic() + _LIFE + _WINDOW
        self.start_worker()
        self.assertTrue(self.relay_to_ot1.wait_until_held())
        self._sleep_until(expires_at + 1)
        self.relay_to_ot1.release()
        self.assertEqual("error", self._end(job_id)["status"])
        row = self.job_row(job_id)
        self.assertEqual("authority_expired", row.error_code)
        # Glance keeps what it knows of a token for longer than Keystone, so
        # the copy could be removed.
        self.wait_until_clean(job_id, before)
        retried = self.retry(job_id, session=self._credential())
        self.assertEqual(202, retried.status_code, retried.text)
        job = self._end(job_id)
        self.assertEqual(
            "replicated", job["status"], str(self.job_row(job_id))
        )

    def _sleep_until(self, moment: float) -> None:
        time.sleep(max(moment - time.monotonic(), 0))
