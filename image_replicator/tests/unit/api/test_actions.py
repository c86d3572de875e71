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

"""A resource with two actions, built from a controller and routes."""

import json
from typing import Any
from typing import Final

import fixtures
import testtools
import webob

from image_replicator import context as ir_context
from image_replicator import exception
from image_replicator import policy
from image_replicator.api import resource
from image_replicator.api import responses
from image_replicator.api import router
from image_replicator.api import versions
from image_replicator.images import caller
from image_replicator.tests.unit.api import base

_PATH: Final = f"{router.BASE_PATH}/lamps"
_SWITCH: Final = {
    "type": "object",
    "properties": {"switch": {"enum": ["on", "off"]}},
}
_PAINT: Final = {
    "type": "object",
    "properties": {"paint": {"type": "string", "description": "a color"}},
}


def row(method: str, path: str, action: str, **values: Any) -> router.Route:
    """Return a route of lamps whose rule has the action's name."""
    return router.Route(
        method=method,
        path=_PATH + path,
        controller="lamps",
        action=action,
        rule=action,
        **values,
    )


_ROUTES: Final = (
    row("GET", "", "index"),
    row("GET", "/{lamp_id}", "show"),
    row(
        "POST",
        "/{lamp_id}/action",
        "switch",
        key="switch",
        bodies={versions.V1_0: _SWITCH},
    ),
    row(
        "POST",
        "/{lamp_id}/action",
        "paint",
        key="paint",
        since=versions.V1_1,
        bodies={versions.V1_1: _PAINT},
    ),
)


class Lamps(resource.ItemController):
    """The controller of lamps a and b, of projects with the same names."""

    show_rule = "show"

    def find(self, item_id: str) -> resource.Item[str]:
        """Return a lamp."""
        error = exception.NotFound(f"No lamp {item_id}.")
        if item_id not in ("a", "b"):
            raise error
        return resource.Item(
            named=item_id, target={"project_id": item_id}, not_found=error
        )

    def _answer(self, call: resource.Call[Any], action: str) -> webob.Response:
        return responses.json_response([action, call.named, dict(call.body)])

    def index(self, call: resource.Call[None]) -> webob.Response:
        """Answer with the name of the action."""
        return self._answer(call, "index")

    def show(self, call: resource.Call[str]) -> webob.Response:
        """Answer with the name of the action."""
        return self._answer(call, "show")

    def switch(self, call: resource.Call[str]) -> webob.Response:
        """Answer with the name of the action."""
        return self._answer(call, "switch")

    def paint(self, call: resource.Call[str]) -> webob.Response:
        """Answer with the name of the action."""
        return self._answer(call, "paint")


class Enforcer(policy.Enforcer):
    """Allows a rule to callers with a role of its name, in their project."""

    def __init__(self) -> None:
        """Create an enforcer without rules."""

    def allows(
        self, rule: str, context: ir_context.RequestContext, target: Any
    ) -> bool:
        """Tell whether the caller has the role and the project."""
        own: str = target["project_id"]
        return rule in context.roles and own == context.project_id


def ask_nobody(*_args: Any) -> caller.Ask:
    """Return a way to ask an image service that no test uses."""
    return lambda path, headers, max_body: caller.Reply(500, b"")


class TestActions(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.useFixture(fixtures.FakeLogger())
        self.app = resource.Resource(
            {"lamps": Lamps()}, Enforcer(), ask_nobody, _ROUTES
        )

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        roles: tuple[str, ...] = ("index", "show", "switch", "paint"),
        version: str = "1.1",
    ) -> webob.Response:
        """Send a request as a caller whose project is ``a``."""
        request = webob.Request.blank(
            _PATH + path,
            environ=base.environ("a", roles),
            method=method,
            headers={
                "Accept": "application/json",
                versions.HEADER: f"{versions.SERVICE_TYPE} {version}",
            },
            body=json.dumps(body).encode() if body is not None else b"",
        )
        return request.get_response(self.app)

    def act(self, body: Any, **kwargs: Any) -> webob.Response:
        """Send an action for the caller's own lamp."""
        return self.ask("POST", "/a/action", body, **kwargs)

    def assert_refused(
        self, status: int, response: webob.Response, *words: str
    ) -> None:
        """Check that an answer is an error with these words."""
        self.assertEqual(status, response.status_int, response.text)
        for word in words:
            self.assertIn(word, response.json["error"]["message"])

    def test_key_of_the_body_chooses_the_action(self) -> None:
        for key, value in (("switch", "on"), ("paint", "red")):
            response = self.act({key: value})
            self.assertEqual(200, response.status_int, response.text)
            self.assertEqual([key, "a", {key: value}], response.json)

    def test_each_action_has_its_own_rule(self) -> None:
        for key, value in (("switch", "on"), ("paint", "red")):
            roles = {"show", "switch", "paint"} - {key}
            response = self.act({key: value}, roles=tuple(roles))
            self.assert_refused(403, response)

    def test_each_action_has_its_own_schema(self) -> None:
        self.assert_refused(400, self.act({"switch": "red"}), "on, off")
        self.assert_refused(400, self.act({"paint": 1}), "a color")

    def test_rule_comes_before_the_schema(self) -> None:
        response = self.act({"switch": "red"}, roles=("show", "paint"))
        self.assert_refused(403, response)

    def test_body_that_names_no_action_or_two(self) -> None:
        for body, word in (
            ({}, "'switch' or 'paint' is a required property"),
            ({"sing": 1}, "'sing' is not known here; known are switch, paint"),
            ({"switch": "on", "paint": "red"}, "one action"),
            ([], "a JSON object"),
        ):
            self.assert_refused(400, self.act(body), word)

    def test_caller_of_no_action_learns_nothing_of_the_body(self) -> None:
        bodies: tuple[Any, ...] = ({}, {"sing": 1}, [], None)
        for body in bodies:
            response = self.act(body, roles=("show",))
            self.assert_refused(403, response)
            response = self.act(body, roles=("show", "paint"))
            self.assert_refused(400, response)

    def test_action_of_a_later_version_is_not_known_before(self) -> None:
        response = self.act({"paint": "red"}, version="1.0")
        self.assert_refused(400, response, "known are switch.")
        response = self.act({"sing": 1}, roles=("paint",), version="1.0")
        self.assert_refused(404, response)
        response = self.act({}, roles=("show", "paint"), version="1.0")
        self.assert_refused(403, response)

    def test_hidden_thing_looks_like_none(self) -> None:
        for method, suffix in (("GET", ""), ("POST", "/action")):
            for name in ("b", "c"):
                response = self.ask(method, f"/{name}{suffix}", {})
                self.assert_refused(404, response, f"No lamp {name}.")

    def test_target_without_an_id_is_the_caller_s_project(self) -> None:
        self.assertEqual(["index", None, {}], self.ask("GET", "").json)
        self.assert_refused(403, self.ask("GET", "", roles=("show",)))

    def test_wrong_method_is_told_each_method_once(self) -> None:
        response = self.ask("GET", "/a/action")
        self.assertEqual(405, response.status_int)
        self.assertEqual("POST", response.headers["Allow"])
