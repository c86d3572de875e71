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

"""The main case, with the jobs on each database server."""

from devcloud import cloud
from image_replicator.tests.functional.cloud import base
from image_replicator.tests.functional.db import base as db_base

NAME = "Übertragung für 5 €"


class OnServerMixin(base.CloudTestCase):
    """A test on a cloud of its own.

    :ivar url: of a database for this test alone.
    """

    url: str

    @property
    def options(self) -> cloud.Options:  # type: ignore[override]
        return cloud.Options(database_url=self.url)

    def check_main_job(self) -> None:
        """Check a copy with the API and a worker on this database."""
        images = self.cloud.images("ot1")
        canceled = self.ask_for_copy(images.create(name=NAME)["id"])
        self.assertEqual(204, self.cancel(canceled).status_code)
        copied = self.ask_for_copy(images.create(name=NAME)["id"])
        self.start_worker()
        self.wait_for(canceled, "canceled")
        job = self.wait_for(copied, "replicated", "error")
        self.assertEqual("replicated", job["status"])
        self.assertEqual(NAME, job["source_image_name"])
        listed = self.request("GET", "/jobs").json()
        self.assertEqual([copied, canceled], [job["job_id"] for job in listed])


class TestOnMariaDB(OnServerMixin, db_base.MariaDB):
    def test_main_job(self) -> None:
        self.check_main_job()


class TestOnPostgreSQL(OnServerMixin, db_base.PostgreSQL):
    def test_main_job(self) -> None:
        self.check_main_job()
