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

"""A fake identity service in threads of this process, with set answers."""

import http.server
import json
import threading
from typing import Any

import fixtures
from keystoneauth1 import fixture as ksa_fixture
from keystoneauth1 import session as ksa_session
from keystoneauth1.identity import v3

HOST = "127.0.0.1"
PASSWORD = "pa55word"

#: The URLs of a region's image service, by interface.
Endpoints = dict[str, str]


class _Handler(http.server.BaseHTTPRequestHandler):
    keystone: "FakeKeystone"

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.endswith("/trusts"):
            self.keystone.trusts.append(json.loads(body)["trust"])
            self.keystone.trustors.add(self.headers["X-Auth-Token"])
        elif "/auth/tokens" in self.path:
            self.keystone.scopes.append(_scope(json.loads(body)))
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _answer(self) -> None:
        status, body = self.keystone.answer(f"{self.command} {self.path}")
        self.send_response(status)
        self.send_header("X-Subject-Token", "t0ken")
        self.end_headers()
        self.wfile.write(
            body if isinstance(body, bytes) else json.dumps(body).encode()
        )

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


def _scope(body: dict[str, Any]) -> str:
    """Return what a token is asked for: a trust's id, or a word."""
    scope = body["auth"].get("scope", "none")
    if isinstance(scope, str):
        return scope
    trust = scope.get("OS-TRUST:trust")
    return trust["id"] if trust else "project"


def credentials(**overrides: str | None) -> dict[str, object]:
    """Return valid options of ``[service_auth]``; no server has the URL."""
    return {
        "auth_type": "password",
        "auth_url": f"http://{HOST}:1/v3",
        "username": "replicator",
        "password": PASSWORD,
        "user_domain_id": "default",
        "project_name": "service",
        "project_domain_id": "default",
        **overrides,
    }


class FakeKeystone(fixtures.Fixture):
    """A fake Keystone, whose catalogue has some regions' image services.

    :ivar regions: the endpoints of the image services, by region
    :ivar gateways: the internal endpoints of the gateways, by region
    :ivar tags: of every project
    :ivar project: the project of tokens
    :ivar roles: of a token's user
    :ivar status: of each answer; other than with 200 there is no content
    :ivar body: of each answer, instead of the right one
    :ivar scopes: of each request for a token: the id of a trust, "unscoped" or
        "project"
    :ivar scope_failures: statuses of the next answers to requests for tokens
        with a trust
    :ivar trust_status: of answers to requests that show or delete a trust
    :ivar trusts: what each request for a trust asked for
    :ivar trustors: the tokens of these requests
    :ivar seen: method, path and query of each request, in order
    """

    def __init__(self, **regions: Endpoints) -> None:
        super().__init__()
        self.regions = regions
        self.gateways: dict[str, str] = {}
        self.tags: list[str] = []
        self.project: str | None = "service"
        self.roles = ["service"]
        self.status = 200
        self.body: bytes | None = None
        self.scopes: list[str] = []
        self.trust_status = 200
        self.scope_failures: list[int] = []
        self.trusts: list[dict[str, Any]] = []
        self.trustors: set[str] = set()
        self.seen: list[str] = []

    def _setUp(self) -> None:
        handler = type("Handler", (_Handler,), {"keystone": self})
        server = http.server.ThreadingHTTPServer((HOST, 0), handler)
        server.block_on_close = False
        thread = threading.Thread(
            target=server.serve_forever, args=(0.01,), daemon=True
        )
        thread.start()
        self.url = f"http://{HOST}:{server.server_address[1]}/v3"
        self.addCleanup(server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)

    def answer(self, request: str) -> tuple[int, Any]:
        """Return the status and the body of the answer to a request."""
        self.seen.append(request)
        if self.body is not None:
            return self.status, self.body
        if self.status != 200:
            return self.status, {"error": {"message": "no"}}
        if self._is_for_trust(request) and self.scope_failures:
            return self.scope_failures.pop(0), {"error": {"message": "no"}}
        if request.endswith("/v3"):
            return 200, {"version": ksa_fixture.V3Discovery(self.url)}
        if "/trusts/" in request:
            return self.trust_status, {"trust": {"id": "7ru57"}}
        if request.endswith("/trusts"):
            return 201, {"trust": {"id": "7ru57"}}
        if request.endswith("/tags"):
            return 200, {"tags": self.tags}
        token = self._token()
        if request.endswith("/catalog"):
            return 200, {"catalog": token["token"]["catalog"]}
        return 201, token

    def _is_for_trust(self, request: str) -> bool:
        return request.startswith("POST /v3/auth/tokens") and self.scopes[
            -1
        ] not in ("unscoped", "project", "none")

    def _token(self) -> ksa_fixture.V3Token:
        token = ksa_fixture.V3Token(
            user_name="replicator", project_name=self.project
        )
        for role in self.roles:
            token.add_role(role)
        token.add_service("identity").add_standard_endpoints(
            public=self.url, internal=self.url, region="ot1"
        )
        images = token.add_service("image")
        for region, endpoints in self.regions.items():
            for interface, url in endpoints.items():
                images.add_endpoint(interface, url, region=region)
        gateways = token.add_service("image-data")
        for region, url in self.gateways.items():
            gateways.add_endpoint("internal", url, region=region)
        return token

    def session(self) -> ksa_session.Session:
        """Return a session that gets its tokens here."""
        auth = v3.Password(
            self.url,
            username="replicator",
            password=PASSWORD,
            user_domain_id="default",
            project_name="service",
            project_domain_id="default",
        )
        return ksa_session.Session(auth=auth, timeout=10)
