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

"""Jobs of the release before, which have no right of a user."""

import sqlalchemy as sa

from image_replicator.db import models
from image_replicator.tests.functional.rights import base


class TestLegacy(base.RightsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.before = set(self.images_in("ot2"))

    def _ask_as_before(self) -> str:
        """Create a job as the API of the release before does."""
        image = self.cloud.images("ot1").create()
        job_id = self.ask_for_copy(image["id"])
        with self.database() as connection:
            connection.execute(sa.delete(models.Authority))
        return job_id

    def test_by_default_they_end_in_error_and_can_be_retried(self) -> None:
        job_id = self._ask_as_before()
        self.start_worker()
        self.wait_for(job_id, "error")
        self.assertEqual("authority_missing", self.job_row(job_id).error_code)
        self.wait_until_clean(job_id, self.before)
        reply = self.retry(job_id)
        self.assertEqual(202, reply.status_code, reply.text)
        self.wait_for(job_id, "replicated")

    def test_the_operator_may_have_them_done_with_our_right(self) -> None:
        job_id = self._ask_as_before()
        with self.administrator():
            self.start_worker(delegation={"legacy": "service"})
            job = self.wait_for(job_id, "replicated", "error")
        self.assertEqual("replicated", job["status"])
        copy = self.images_in("ot2")[job["destination_image_id"]]
        self.assertEqual(self.cloud.project_id("destination"), copy["owner"])

    def test_our_right_alone_does_not_suffice(self) -> None:
        """With the role service, nobody's image can be read or made."""
        job_id = self._ask_as_before()
        self.start_worker(delegation={"legacy": "service"})
        self.wait_for(job_id, "error")
        self.assertEqual("source_not_found", self.job_row(job_id).error_code)
        self.wait_until_clean(job_id, self.before)
