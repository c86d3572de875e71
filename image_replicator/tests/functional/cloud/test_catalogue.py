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

"""A region that joins the cloud while the API and a worker run."""

from http import HTTPStatus

from devcloud import cloud
from image_replicator.tests.functional.cloud import api_base

#: Seconds; the catalogue is looked up for a missing region every ten.
PATIENCE = 30


class TestRegionThatJoins(api_base.ApiTestCase):
    options = cloud.Options()

    def _join(self, region: str) -> None:
        """Add a region whose image service has a public endpoint only."""
        client = self.keystone_client()
        (service,) = client.get("/services?type=image").json()["services"]
        self.cloud.identity.join_region(region, self.cloud.auth_url)
        self.cloud.identity.create_endpoint(
            service["id"], region, "public", self.cloud.endpoint("ot2")
        )

    def _copy(self, image_id: str, region: str) -> str | None:
        """Request a copy to a region; return the job's id if accepted."""
        reply = self.copy_1_1(image_id, region_id_dst=region)
        if reply.status_code == HTTPStatus.ACCEPTED:
            job_id: str = reply.json()["job_id"]
            return job_id
        self.assert_error(409, reply, region)
        return None

    def test_it_takes_copies_soon(self) -> None:
        self.start_worker(
            service_auth={"valid_interfaces": ["internal", "public"]},
            # The worker may look it up a moment later than the API.
            worker={"max_attempts": 5, "retry_delay": 3, "retry_max_delay": 3},
        )
        image_id = self.cloud.images("ot1").create(b"data")["id"]
        first = self._copy(image_id, "ot2")
        assert first
        self.wait_for(first, "replicated")
        # Both have a token now, and with it the catalogue.
        self._join("ot3")
        second = self.wait_until(
            lambda: self._copy(image_id, "ot3"), "a known region", PATIENCE
        )
        self.wait_for(second, "replicated", "error")
        job = self.job_1_1(second)
        self.assertEqual(("replicated", None), (job["status"], job["error"]))
        self.assertEqual("ot3", job["destination_region_id"])
