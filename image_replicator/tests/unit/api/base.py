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

"""Base of the API's tests: a fake Glance, SQLite and no Keystone.

The test gives the keys that ``auth_token`` would add to the environ. The code
behind it is real.
"""

import datetime
import json
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any
from typing import Final

import fixtures
import sqlalchemy as sa
import testtools
import webob
from oslo_utils import uuidutils
from webtest import lint

from devcloud import settings
from image_replicator import api
from image_replicator import context as ir_context
from image_replicator import events
from image_replicator import identity
from image_replicator.api import router
from image_replicator.conf import loading
from image_replicator.db import database
from image_replicator.db import jobs
from image_replicator.db import models
from image_replicator.images import caller
from image_replicator.images import probe
from image_replicator.jobs import JobStatus
from image_replicator.tests.unit import keystones

SOURCE: Final = "236ae314ef6944f4ab98fa7519e54325"
DESTINATION: Final = "91b5c7c09cbd45caa3c146fd67ae471e"
OTHER: Final = "0123456789abcdef0123456789abcdef"

ADMIN: Final = ("admin", "manager", "member", "reader")
MEMBER: Final = ("member", "reader")
READER: Final = ("reader",)

#: The headers of a request for version 1.1.
V1_1: Final = {"OpenStack-API-Version": "image-replicator 1.1"}

#: The headers of a request for version 1.2.
V1_2: Final = {"OpenStack-API-Version": "image-replicator 1.2"}

_SECRET: Final = "pa55word-of-the-service"
_EPOCH: Final = datetime.datetime(2016, 6, 10, 4, 34, 45)


def environ(
    tenant: str | None = SOURCE,
    roles: tuple[str, ...] = MEMBER,
    methods: tuple[str, ...] = ("password",),
) -> dict[str, Any]:
    """Return the keys of the environ that auth_token adds for a valid token.

    :param tenant: the token's project; None for a token without one.
    :param methods: the token's authentication methods.
    """
    added: dict[str, Any] = {
        ir_context.TOKEN_AUTH: object(),
        "keystone.token_info": {
            "token": {
                "methods": list(methods),
                "expires_at": "2036-06-10T04:34:45.000000Z",
            }
        },
        "HTTP_X_IDENTITY_STATUS": "Confirmed",
        "HTTP_X_AUTH_TOKEN": "t0ken-of-the-caller",
        "HTTP_X_USER_ID": "0badcafe0badcafe0badcafe0badcafe",
        "HTTP_X_ROLES": ",".join(roles),
    }
    if tenant:
        added["HTTP_X_PROJECT_ID"] = tenant
    return added


def image(**values: Any) -> dict[str, Any]:
    """Return an active image as Glance shows it."""
    return {
        "id": uuidutils.generate_uuid(),
        "name": "Test-image-Ubuntu",
        "status": "active",
        "size": 4,
        "owner": SOURCE,
        **values,
    }


class Glance:
    """A fake Glance with some images: the wrapped application, or a far one.

    :ivar images: by id.
    :ivar asked: the environ of every request that reached it.
    :ivar download_status: of answers to requests for an image's data.
    :ivar has_ranges: whether its store has ranges.
    :ivar documents: the JSON, or the whole answer, at further paths.
    """

    def __init__(self) -> None:
        self.images: dict[str, dict[str, Any]] = {}
        self.asked: list[dict[str, Any]] = []
        self.download_status = HTTPStatus.PARTIAL_CONTENT
        self.has_ranges = True
        self.documents: dict[str, Any] = {}

    def add(self, **values: Any) -> dict[str, Any]:
        """Add an image, and return it."""
        added = image(**values)
        self.images[added["id"]] = added
        return added

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        self.asked.append(dict(environ))
        answer = self._answer(environ["PATH_INFO"])
        if "HTTP_RANGE" in environ and not self.has_ranges:
            answer = webob.Response("No ranges.", status=400)
        return answer(environ, start_response)

    def _answer(self, path: str) -> webob.Response:
        if path in self.documents:
            document = self.documents[path]
            if isinstance(document, webob.Response):
                return document
            return webob.Response(json=document)
        if path == "/v2/images":
            # As a Glance that knows none of the filters.
            return webob.Response(json={"images": [*self.images.values()]})
        prefix, _, rest = path.partition("/v2/images/")
        image_id, _, suffix = rest.partition("/")
        if prefix or image_id not in self.images:
            return webob.Response("Glance's own 404", status=404)
        if suffix == "file":
            return webob.Response(b"d", status=int(self.download_status))
        return webob.Response(json=self.images[image_id])


class ApiTestCase(testtools.TestCase):
    """A test of the extension as Glance's pipeline calls it.

    :ivar app: the extension, wrapped into a check of WSGI's rules
    :ivar conf: its configuration
    :ivar glance: the wrapped Glance
    :ivar far: the Glance of every other region
    :ivar logged: a fixture with the log
    :ivar trusts: user, project and roles of each trust that was made
    :ivar up: whether the destination's image service answers
    """

    def setUp(self) -> None:
        super().setUp()
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.logged = self.useFixture(fixtures.FakeLogger())
        self.glance = Glance()
        self.far = Glance()
        self.up = True
        self._pretend(caller, "ask_remote", self.ask_remote)
        self._pretend(
            identity.Identity, "caller_in_project", self.caller_in_project
        )
        self._pretend(
            identity.Identity, "destination_region", self.destination_region
        )
        self._pretend(probe, "find_problem", self.find_problem)
        self.trusts: list[tuple[Any, ...]] = []
        self._pretend(identity.Identity, "make_trust", self.make_trust)
        self.build()

    def _pretend(self, owner: Any, name: str, replacement: Any) -> None:
        self.useFixture(fixtures.MockPatchObject(owner, name, replacement))

    def build(self, **overrides: settings.Section) -> None:
        """Build the extension again.

        :param overrides: of the configuration, by section
        """
        url = f"sqlite:///{self.directory}/jobs.sqlite"
        values = settings.merge(
            {
                "DEFAULT": {
                    "region_id": "ot1",
                    "state_path": self.directory,
                },
                "database": {"connection": url},
                "service_auth": keystones.credentials(password=_SECRET),
            },
            overrides,
        )
        path = settings.write(self.directory / "test.conf", values)
        self.conf = loading.load(config_file=str(path))
        self.extension = api.wrap(self.glance, self.conf)
        self.app = lint.middleware(self.extension)
        self.database = database.Database(self.conf)
        self.repository = jobs.JobStore(self.database, events.Events())

    # These stand for Keystone; tests replace them.

    def caller_in_project(
        self, project_id: str, context: ir_context.RequestContext
    ) -> ir_context.RequestContext:
        """Return the caller as a member of another project."""
        return ir_context.RequestContext(
            project_id=project_id, roles=list(MEMBER), overwrite=False
        )

    def make_trust(
        self,
        context: ir_context.RequestContext,
        project_id: str,
        roles: Sequence[str],
        expires_at: datetime.datetime,
    ) -> str | None:
        """Return the id of a new trust."""
        self.trusts.append((context.user_id, project_id, roles))
        return f"trust-{len(self.trusts)}"

    def destination_region(
        self,
        context: ir_context.RequestContext,
        source_region: str,
        wanted: str | None = None,
    ) -> identity.DestinationRegion:
        """Return the region of a copy."""
        if wanted:
            reason = identity.RegionReason.REQUESTED
        else:
            reason = identity.RegionReason.DEFAULT
        return identity.DestinationRegion(wanted or "ot2", reason)

    def ask_remote(
        self,
        session: Any,
        catalogue: Any,
        region: str,
        context: ir_context.RequestContext,
        timeout: float,
    ) -> caller.Ask:
        """Return the way to ask the Glance of another region."""
        return caller.ask_wrapped(self.far, {}, context)

    def find_problem(
        self, session: Any, catalogue: Any, region: str, timeout: float
    ) -> probe.Problem | None:
        """Return the problem of a region's image service."""
        if self.up:
            return None
        return probe.problem_of_error(OSError("It is down."), region)

    # Requests

    def request(
        self,
        method: str,
        path: str,
        *,
        caller: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        **extra_environ: str,
    ) -> webob.Response:
        """Send a request below the base path.

        :param caller: the keys of auth_token; None for a member of the source
        :param extra_environ: overrides keys of the environ
        """
        request = webob.Request.blank(
            router.BASE_PATH + path,
            environ=dict(environ() if caller is None else caller),
            method=method,
            headers={"Accept": "application/json", **(headers or {})},
            body=body,
        )
        request.environ.update(extra_environ)
        response = request.get_response(self.app)
        # The body is read and closed, as a server does.
        _ = response.body
        return response

    def get(self, path: str, **kwargs: Any) -> webob.Response:
        """Send a GET."""
        return self.request("GET", path, **kwargs)

    def post(self, body: Any, **kwargs: Any) -> webob.Response:
        """Request a copy.

        :param body: bytes as they are; all else becomes JSON
        """
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        return self.request("POST", "/jobs", body=body, **kwargs)

    def copy(
        self, image_id: str, tenant: str = DESTINATION, **kwargs: Any
    ) -> webob.Response:
        """Request a copy of an image to a tenant."""
        body = {"image_id": image_id, "tenant_id_dst": tenant}
        return self.post(body, **kwargs)

    def act(self, job_id: str, body: Any, **kwargs: Any) -> webob.Response:
        """Send an action for a job, in version 1.1.

        :param body: bytes as they are; all else becomes JSON
        """
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        path = f"/jobs/{job_id}/action"
        return self.request("POST", path, body=body, headers=V1_1, **kwargs)

    def retry(self, job_id: str, **kwargs: Any) -> webob.Response:
        """Request another run of a job."""
        return self.act(job_id, {"retry": {}}, **kwargs)

    # The database

    def add_job(self, **values: Any) -> str:
        """Insert a row into the table of jobs, and return its id."""
        row = {
            "id": uuidutils.generate_uuid(),
            "status": JobStatus.REPLICATE_REQUESTED,
            "active": True,
            "source_image_id": uuidutils.generate_uuid(),
            "source_image_name": "Test-image-Ubuntu",
            "source_region_id": "ot1",
            "source_tenant_id": SOURCE,
            "destination_region_id": "ot2",
            "destination_tenant_id": DESTINATION,
            "image_size": 100,
            "bytes_copied": 0,
            "claim_number": 0,
            "request_id": "req-test",
            "created_at": _EPOCH,
            "updated_at": _EPOCH,
            **values,
        }
        with self.database.engine.begin() as connection:
            connection.execute(sa.insert(models.Job).values(row))
        job_id: str = row["id"]
        return job_id

    def add_job_that_is_over(self, **values: Any) -> str:
        """Insert a canceled job of an existing image."""
        return self.add_job(
            **{
                "source_image_id": self.glance.add()["id"],
                "status": JobStatus.CANCELED,
                "active": None,
                **values,
            }
        )

    def count_jobs(self) -> int:
        """Return the number of jobs."""
        with self.database.engine.connect() as connection:
            count = sa.select(sa.func.count()).select_from(models.Job)
            return connection.scalars(count).one()

    # Answers

    def assert_error(
        self, status: int, response: webob.Response, *words: str
    ) -> None:
        """Check that an answer is an error in the old client's format.

        :param words: a part of its message
        """
        self.assertEqual(status, response.status_int, response.body)
        error = response.json["error"]
        self.assertEqual({"code", "title", "message"}, set(error))
        self.assertEqual(status, error["code"])
        self.assertEqual(HTTPStatus(status).phrase, error["title"])
        for word in words:
            self.assertIn(word, error["message"])

    def assert_no_secret(self, *texts: str) -> None:
        """Check that no text has a secret of the extension."""
        for secret in (_SECRET, "t0ken-of-the-caller"):
            for text in texts:
                self.assertNotIn(secret, text)
