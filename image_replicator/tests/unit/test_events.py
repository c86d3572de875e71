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

"""Every subscriber is called, even if another one raises."""

import datetime

import fixtures
import testtools
from oslo_context import fixture as context_fixture
from oslo_log import formatters

from image_replicator import context
from image_replicator import events
from image_replicator.jobs import Job
from image_replicator.jobs import JobStatus

_MOMENT = datetime.datetime(2024, 2, 29)


def change(
    old: JobStatus | None, new: JobStatus, error_code: str | None = None
) -> events.StatusChange:
    job = Job(
        id="the-job",
        status=new,
        source_image_id="image",
        source_image_name="name",
        source_region_id="ot1",
        source_tenant_id="source",
        destination_region_id="ot2",
        destination_tenant_id="destination",
        image_size=1,
        request_id="req-1",
        error_code=error_code,
        created_at=_MOMENT,
        updated_at=_MOMENT,
    )
    return events.StatusChange(job, old, new)


class TestEvents(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.logger = self.useFixture(fixtures.FakeLogger())

    def test_a_subscriber_that_fails_keeps_it_from_nobody(self) -> None:
        def fail(_change: events.StatusChange) -> None:
            raise RuntimeError("of the subscriber")

        told: list[events.StatusChange] = []
        published = events.Events([told.append, fail, told.append])
        changed = change(None, JobStatus.REPLICATE_REQUESTED)
        published.publish(changed)
        self.assertEqual([changed, changed], told)
        self.assertIn("of the subscriber", self.logger.output)

    def test_a_worker_logs_under_the_request_that_created_the_job(
        self,
    ) -> None:
        """Whatever request the thread worked for before."""
        self.useFixture(context_fixture.ClearRequestContext())
        context.RequestContext(request_id="req-of-another")
        changed = change(None, JobStatus.REPLICATE_REQUESTED)
        with self.assertLogs("image_replicator.events") as logged:
            for subscriber in (events.log_change, events.log_change_of_job):
                events.Events([subscriber]).publish(changed)
        for record in logged.records:
            # As a process does that is set up for logging.
            formatters._update_record_with_context(record)
        self.assertEqual(
            ["req-of-another", "req-1"],
            [vars(record)["request_id"] for record in logged.records],
        )

    def test_each_change_is_a_line_of_the_log(self) -> None:
        published = events.Events()
        for changed, line in (
            (
                change(None, JobStatus.REPLICATE_REQUESTED),
                "Job the-job: replicate_requested; image image from ot1 to "
                "ot2, tenant destination",
            ),
            (
                change(JobStatus.REPLICATING, JobStatus.REPLICATED),
                "Job the-job: replicating -> replicated",
            ),
            (
                change(JobStatus.REPLICATING, JobStatus.ERROR, "source_busy"),
                "Job the-job: replicating -> error (source_busy)",
            ),
        ):
            published.publish(changed)
            self.assertEqual(line, self.logger.output.splitlines()[-1])
