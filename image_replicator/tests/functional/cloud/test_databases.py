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

"""The cases that depend on the database, through two API processes."""

from concurrent import futures
from http import HTTPStatus
from typing import Final

import requests
import sqlalchemy as sa

from devcloud import cloud
from image_replicator.db import models
from image_replicator.tests.functional.cloud import base
from image_replicator.tests.functional.db import base as db_base

#: The number of callers at the same time.
_CROWD: Final = 12

NAME = "Übertragung für 5 €"


class OnServerMixin(base.CloudTestCase):
    """A test on a cloud of its own.

    :ivar url: of a database for this test alone.
    """

    url: str
    #: The number of jobs that other checks have made.
    others = 0

    @property
    def options(self) -> cloud.Options:  # type: ignore[override]
        return cloud.Options(database_url=self.url, glance_processes=2)

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

    def check_one_answer_to_many(self) -> None:
        """Send one request with a key many times at the same moment."""
        image = self.cloud.images("ot1").create()
        body = {
            "image_id": image["id"],
            "destinations": [
                {"tenant_id": self.cloud.project_id(name)}
                for name in ("destination", "source")
            ],
        }
        session = self.cloud.session("alice", "source")
        session.get_token()

        def ask(_number: int) -> requests.Response:
            # Keystone's SQLite may fail for a moment. Then the request is sent
            # again, which is what the key is for.
            for _attempt in range(9):
                reply = self.request_1_2(
                    "POST",
                    "/jobs",
                    session=session,
                    json=body,
                    headers={"Idempotency-Key": "the-same"},
                )
                if reply.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
                    break
            return reply

        with futures.ThreadPoolExecutor(_CROWD) as pool:
            replies = list(pool.map(ask, range(_CROWD)))
        self.assertEqual(
            [(202, replies[0].json())] * _CROWD,
            [(reply.status_code, reply.json()) for reply in replies],
        )
        replayed = [
            "Idempotency-Replayed" in reply.headers for reply in replies
        ]
        self.assertEqual(_CROWD - 1, replayed.count(True))
        with self.database() as connection:
            made = set(connection.scalars(sa.select(models.Job.id)))
        told = {job["job_id"] for job in replies[0].json()["jobs"]}
        self.assertEqual(told, told & made)
        self.assertEqual(2, len(told))
        self.assertEqual(2 + self.others, len(made))


class TestOnMariaDB(OnServerMixin, db_base.MariaDB):
    def test_main_job(self) -> None:
        self.check_main_job()
        self.others = 2
        self.check_one_answer_to_many()


class TestOnPostgreSQL(OnServerMixin, db_base.PostgreSQL):
    def test_main_job(self) -> None:
        self.check_main_job()
        self.others = 2
        self.check_one_answer_to_many()


class TestOnSQLite(OnServerMixin, db_base.SQLite):
    def test_requests_with_a_key(self) -> None:
        self.check_one_answer_to_many()
