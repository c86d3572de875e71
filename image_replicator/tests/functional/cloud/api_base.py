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

"""The base of the tests of the API on the real cloud."""

import datetime
from collections.abc import Callable
from collections.abc import Iterable
from concurrent import futures
from http import HTTPStatus
from typing import Any
from typing import Final
from typing import TypeVar

import requests
import sqlalchemy as sa
from keystoneauth1 import adapter
from keystoneauth1.identity import v3
from oslo_utils import uuidutils

from devcloud import cloud
from devcloud import keystone
from image_replicator.db import models
from image_replicator.jobs import JobStatus
from image_replicator.tests.functional.cloud import base

VERSION: Final = base.VERSION

#: The number of callers at the same time.
CROWD = 12

Result = TypeVar("Result")


class ApiTestCase(base.CloudTestCase):
    """A test of the API on the shared cloud."""

    def copy(
        self, image_id: str, tenant: str = "destination", **kwargs: Any
    ) -> requests.Response:
        """Request a copy, and return the answer.

        :param tenant: the name of a project
        """
        return self.copy_to(image_id, self.cloud.project_id(tenant), **kwargs)

    def copy_to(
        self, image_id: str, tenant_id: str, **kwargs: Any
    ) -> requests.Response:
        """Request a copy into the tenant with an id."""
        body = {"image_id": image_id, "tenant_id_dst": tenant_id}
        return self.request("POST", "/jobs", json=body, **kwargs)

    def copy_1_1(
        self,
        image_id: str,
        tenant: str = "destination",
        project: str = "source",
        **values: str,
    ) -> requests.Response:
        """Request a copy in version 1.1, and return the answer.

        :param project: of the token
        :param values: of the body, beyond version 1.0
        """
        body = {
            "image_id": image_id,
            "tenant_id_dst": self.cloud.project_id(tenant),
            **values,
        }
        return self.request_1_1("POST", "/jobs", json=body, project=project)

    def job_1_1(self, job_id: str) -> dict[str, Any]:
        """Return a job as version 1.1 shows it."""
        reply = self.request_1_1("GET", f"/jobs/{job_id}")
        self.assertEqual(200, reply.status_code, reply.text)
        job: dict[str, Any] = reply.json()
        return job

    def send(
        self,
        method: str = "GET",
        path: str = "/jobs",
        *,
        token: str | None = None,
        url: str | None = None,
        **kwargs: Any,
    ) -> requests.Response:
        """Send a request without a session, with any token or with none.

        :param url: of the API; None for that in the Glance of region ot1
        """
        headers = {"Accept": "application/json", **kwargs.pop("headers", {})}
        if token is not None:
            headers["X-Auth-Token"] = token
        with requests.Session() as session:
            session.trust_env = False
            return session.request(
                method,
                (url or self.cloud.endpoint("ot1")) + cloud.BASE_PATH + path,
                headers=headers,
                allow_redirects=False,
                **kwargs,
            )

    def new_token(self, user: str = "alice", **scope: Any) -> str:
        """Return a new token.

        :param scope: of the token, as keystoneauth's arguments
        """
        known = self.cloud.user(user)
        auth = v3.Password(
            auth_url=self.cloud.auth_url,
            user_id=known.id,
            password=known.password,
            **scope,
        )
        token = keystone.new_session(auth).get_token()
        assert token
        return token

    def keystone_client(self) -> adapter.Adapter:
        """Return a client of Keystone that acts as the administrator."""
        return adapter.Adapter(
            self.cloud.session("admin", "admin"),
            endpoint_override=self.cloud.auth_url,
        )

    def new_project(
        self, role: str | None = "member", tags: Iterable[str] = ()
    ) -> str:
        """Create a project and return its name.

        :param role: of alice in it
        """
        name = uuidutils.generate_uuid(dashed=False)
        project_id = self.cloud.create_project(name, tags)
        if role:
            alice = self.cloud.user("alice")
            self.cloud.identity.grant(alice.id, project_id, role)
        return name

    def add_jobs(self, *rows: dict[str, Any]) -> list[str]:
        """Insert jobs, from source to destination unless a row differs."""
        now = datetime.datetime(2026, 1, 1)
        defaults = {
            "status": JobStatus.REPLICATE_REQUESTED,
            "active": True,
            "source_image_name": "image",
            "source_region_id": "ot1",
            "source_tenant_id": self.cloud.project_id("source"),
            "destination_image_id": None,
            "destination_region_id": "ot2",
            "destination_tenant_id": self.cloud.project_id("destination"),
            "image_size": 1,
            "bytes_copied": 0,
            "claim_number": 0,
            "request_id": "req-test",
            "created_at": now,
            "updated_at": now,
        }
        full = [
            {
                "id": uuidutils.generate_uuid(),
                "source_image_id": uuidutils.generate_uuid(),
                **defaults,
                **row,
            }
            for row in rows
        ]
        with self.database() as connection:
            connection.execute(sa.insert(models.Job), full)
        return [row["id"] for row in full]

    def take_down(self, region: str) -> None:
        """Stop a region's Glance until the test ends, and wait for a while.

        The API keeps its last result for some seconds.
        """
        glance = self.cloud.glances[region]
        self.addCleanup(glance.start)
        image_id = self.cloud.images("ot1").create()["id"]
        glance.stop()
        self.wait_until(lambda: self._is_refused(image_id), "refused")

    def _is_refused(self, image_id: str) -> bool:
        reply = self.copy(image_id)
        if reply.status_code != HTTPStatus.ACCEPTED:
            return True
        with self.database() as connection:
            connection.execute(
                sa.delete(models.Job).where(
                    models.Job.id == reply.json()["job_id"]
                )
            )
        return False

    def count_jobs(self) -> int:
        """Return the number of jobs of all tenants."""
        with self.database() as connection:
            count = sa.select(sa.func.count()).select_from(models.Job)
            return connection.scalars(count).one()

    def at_once(
        self, function: Callable[[int], Result], times: int = CROWD
    ) -> list[Result]:
        """Call a function from many threads at the same time."""
        with futures.ThreadPoolExecutor(times) as pool:
            return list(pool.map(function, range(times)))

    def assert_error(
        self, status: int, reply: requests.Response, *words: str
    ) -> None:
        """Check that an answer is an error in the old client's format.

        :param words: a part of its message
        """
        self.assertEqual(status, reply.status_code, reply.text)
        self.assertEqual({"error"}, set(reply.json()))
        error = reply.json()["error"]
        self.assertEqual({"code", "title", "message"}, set(error))
        self.assertEqual(status, error["code"])
        self.assertEqual(HTTPStatus(status).phrase, error["title"])
        for word in words:
            self.assertIn(word, error["message"])
        self.assertIn("X-Openstack-Request-Id", reply.headers)
