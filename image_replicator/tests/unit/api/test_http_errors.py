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

"""The HTTP statuses of errors of the domain."""

from collections.abc import Iterator

import fixtures
import testtools

from image_replicator import exception
from image_replicator.api import http_errors


def subclasses(
    base: type[exception.RequestError],
) -> Iterator[type[exception.RequestError]]:
    """Yield all subclasses of a class, at any depth."""
    for each in base.__subclasses__():
        yield each
        yield from subclasses(each)


class TestStatuses(testtools.TestCase):
    def test_every_error_of_the_domain_has_its_row(self) -> None:
        self.assertEqual(
            set(subclasses(exception.RequestError)), set(http_errors.STATUSES)
        )

    def test_an_error_of_the_domain_keeps_its_message(self) -> None:
        error = http_errors.api_error(exception.TooManyJobs(3, 3), "req-1")
        self.assertEqual(413, error.status)
        self.assertIn("3 active jobs", error.message)

    def test_any_other_error_says_no_more_than_the_request_id(self) -> None:
        logged = self.useFixture(fixtures.FakeLogger())
        for unexpected in (
            ValueError("secret"),
            exception.ClaimLost("secret"),
            exception.ConfigurationError("secret"),
        ):
            error = http_errors.api_error(unexpected, "req-1")
            self.assertEqual(500, error.status)
            self.assertEqual("Request req-1 failed.", error.message)
        self.assertIn("req-1", logged.output)
