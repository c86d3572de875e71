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

"""A worker's job ends, whatever characters its error message has."""

import threading
import time

import sqlalchemy as sa
from oslo_db.sqlalchemy import test_fixtures

from image_replicator.jobs import Job
from image_replicator.jobs import JobStatus
from image_replicator.tests.functional.db import base
from image_replicator.tests.unit import glances
from image_replicator.worker import worker

load_tests = test_fixtures.optimize_module_test_loader()

#: Text with a NUL, another control character, a character of four bytes, and
#: bytes that are no UTF-8.
WORDS = b"Format\0 \x01 \xf0\x9f\x98\x80 \xed\xa0\x80 \xff unknown"


class WorkerErrors(base.JobsMixin):
    """The image services are fakes; the database is real."""

    def _end(self, url: str) -> Job:
        """Run a job that fails with WORDS; return the job."""
        source = self.useFixture(glances.FakeGlance())
        destination = self.useFixture(glances.FakeGlance())
        destination.on("PUT", "file", glances.saying(415, WORDS))
        asked = base.new_job(image_size=4)
        source.add(asked.source_image_id, b"data")
        job_id = self.jobs.create(asked)
        conf = base.configuration(url, poll_interval=0.1)
        # The fake services know no users' rights.
        conf.set_override("legacy", "service", "delegation")
        process = worker.Worker(
            conf,
            self.new_stores(url),
            glances.new_session(ot1=source, ot2=destination),
        )
        thread = threading.Thread(target=process.run)
        thread.start()
        try:
            return self._wait_for_end(job_id)
        finally:
            process.stop_now()
            thread.join(base.PATIENCE)

    def _wait_for_end(self, job_id: str) -> Job:
        deadline = time.monotonic() + base.PATIENCE
        while (job := self.jobs.get(job_id)).status is not JobStatus.ERROR:
            self.assertLess(time.monotonic(), deadline, f"still {job.status}")
            time.sleep(0.05)
        return job

    def test_an_error_in_any_words_ends_the_job(self) -> None:
        job = self._end(self.url)
        self.assertEqual("destination_refused", job.error_code)


class TestWorkerErrorsSQLite(WorkerErrors, base.SQLite):
    pass


class TestWorkerErrorsMariaDB(WorkerErrors, base.MariaDB):
    def test_with_a_charset_of_three_bytes(self) -> None:
        url = sa.make_url(self.url).update_query_dict({"charset": "utf8"})
        job = self._end(url.render_as_string(hide_password=False))
        self.assertEqual("destination_refused", job.error_code)


class TestWorkerErrorsPostgreSQL(WorkerErrors, base.PostgreSQL):
    pass
