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

"""The requests to Keystone that a request for a copy costs."""

from typing import Final

from image_replicator.tests.functional.rights import base

#: The requests for a copy whose trusts are known: the token is rescoped to the
#: destination project, and the project's tags are read.
_KNOWN: Final = ["POST /v3/auth/tokens?nocatalog", "GET /v3/projects/{}/tags"]

_TRUST: Final = "POST /v3/OS-TRUST/trusts"


class TestRequests(base.RightsTestCase):
    def setUp(self) -> None:
        super().setUp()
        # The API and Glance get tokens of their own at the first request.
        alice = self.cloud.images("ot1")
        self.cancel(self.ask_for_copy(alice.create()["id"]))
        self.asker = self.new_asker()
        # Glance knows the asker's token from here on.
        self.image_ids = [
            self.images_of(self.asker).create()["id"] for _ in range(3)
        ]

    def _asked(self, image_id: str, destination: str) -> list[str]:
        """Request a copy; return what Keystone is asked meanwhile."""
        before = len(self.cloud.requests_to_keystone())
        self.ask_for_copy(
            image_id,
            destination,
            user=self.asker.name,
            project=self.asker.source,
        )
        return [
            f"{request.method} {request.path}"
            for request in self.cloud.requests_to_keystone()[before:]
        ]

    def test_the_first_copy_costs_a_request_more_for_each_project(
        self,
    ) -> None:
        first, second, third = self.image_ids
        there, own = self.asker.destination, self.asker.source
        project_id = self.cloud.project_id(there)
        known = [line.format(project_id) for line in _KNOWN]
        self.assertEqual([*known, _TRUST, _TRUST], self._asked(first, there))
        self.assertEqual(known, self._asked(second, there))
        # A copy to the own project needs no other token, and no other trust.
        tags = _KNOWN[1].format(self.cloud.project_id(own))
        self.assertEqual([tags], self._asked(third, own))
