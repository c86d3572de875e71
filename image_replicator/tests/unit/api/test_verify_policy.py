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

"""Every route checks the policy before it reads anything else."""

import json
import pathlib

import webob

from image_replicator import policy
from image_replicator.api import router
from image_replicator.api import versions
from image_replicator.tests.unit.api import base

_PROTECTED = [r for r in router.ROUTES if r.rule != policy.VERSIONS]
_LATEST = {versions.HEADER: f"{versions.SERVICE_TYPE} latest"}


class TestVerifyPolicy(base.ApiTestCase):
    def deny(self, *rules: str) -> None:
        """Write a policy that allows some rules to nobody."""
        path = pathlib.Path(self.directory, "policy.json")
        path.write_text(json.dumps(dict.fromkeys(rules, "!")))
        self.build(oslo_policy={"policy_file": path})

    def call(
        self,
        route: router.Route,
        job_id: str,
        roles: tuple[str, ...] = base.ADMIN,
    ) -> webob.Response:
        """Request an operation, with a body that is not valid."""
        path = route.path.removeprefix(router.BASE_PATH)
        return self.request(
            route.method,
            path.format(job_id=job_id),
            caller=base.environ(roles=roles),
            headers=_LATEST,
        )

    def test_denied_operation_is_forbidden(self) -> None:
        job_id = self.add_job()
        for route in _PROTECTED:
            with self.subTest(rule=route.rule):
                self.deny(route.rule)
                response = self.call(route, job_id)
                # A caller who may not see a job must not learn that it exists.
                hidden = route.rule == policy.SHOW
                self.assert_error(404 if hidden else 403, response)

    def test_caller_without_roles_gets_nowhere(self) -> None:
        job_id = self.add_job()
        for route in _PROTECTED:
            with self.subTest(rule=route.rule):
                response = self.call(route, job_id, roles=())
                hidden = "{" in route.path
                self.assert_error(404 if hidden else 403, response)

    def test_reader_changes_nothing(self) -> None:
        job_id = self.add_job()
        for route in _PROTECTED:
            if route.method != "GET":
                with self.subTest(rule=route.rule):
                    response = self.call(route, job_id, base.READER)
                    self.assert_error(403, response)

    def test_no_operation_serves_a_job_that_may_not_be_seen(self) -> None:
        self.deny(policy.SHOW)
        job_id = self.add_job()
        for route in _PROTECTED:
            if "{" in route.path:
                with self.subTest(rule=route.rule):
                    self.assert_error(404, self.call(route, job_id))
        self.assertEqual(
            "replicate_requested", self.repository.get(job_id).status
        )

    def test_every_rule_of_the_table_exists(self) -> None:
        known = {rule.name for rule in policy.list_rules()}
        self.assertEqual(set(), {r.rule for r in router.ROUTES} - known)

    def test_every_operation_is_documented_by_its_rule(self) -> None:
        documented = {
            (rule.name, operation["method"], operation["path"])
            for rule in policy.list_rules()
            for operation in getattr(rule, "operations", ())
        }
        for route in router.ROUTES:
            self.assertIn((route.rule, route.method, route.path), documented)
