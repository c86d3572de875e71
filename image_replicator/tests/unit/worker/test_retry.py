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

"""The waits before further attempts."""

import testtools

from image_replicator.errors import ErrorCode
from image_replicator.worker import retry

POLICY = retry.Policy(max_attempts=5, delay=4, max_delay=20)


def longest(code: ErrorCode, attempt: int) -> float | None:
    """Return the wait without jitter."""
    return POLICY.seconds_to_wait(code, attempt, jitter=lambda: 0.0)


class TestPolicy(testtools.TestCase):
    def test_each_wait_is_twice_as_long_up_to_the_most(self) -> None:
        waits = [
            longest(ErrorCode.DESTINATION_UNREACHABLE, n) for n in range(1, 5)
        ]
        self.assertEqual([4, 8, 16, 20], waits)

    def test_jitter_takes_up_to_half(self) -> None:
        wait = POLICY.seconds_to_wait(
            ErrorCode.SOURCE_BUSY, 2, jitter=lambda: 1.0
        )
        self.assertEqual(4, wait)
        waits = {
            POLICY.seconds_to_wait(ErrorCode.SOURCE_BUSY, 2) for _ in range(50)
        }
        self.assertTrue(len(waits) > 1)
        self.assertTrue(all(w is not None and 4 <= w <= 8 for w in waits))

    def test_the_last_attempt_is_the_last(self) -> None:
        self.assertIsNone(longest(ErrorCode.DESTINATION_UNREACHABLE, 5))
        self.assertIsNone(longest(ErrorCode.DESTINATION_UNREACHABLE, 6))

    def test_errors_that_may_pass(self) -> None:
        for code in (
            ErrorCode.SOURCE_UNREACHABLE,
            ErrorCode.SOURCE_READ_FAILED,
            ErrorCode.SOURCE_UNAUTHORIZED,
            ErrorCode.DESTINATION_UNAVAILABLE,
            ErrorCode.DESTINATION_BUSY,
            ErrorCode.DESTINATION_FAILED,
            ErrorCode.DESTINATION_CONFLICT,
            ErrorCode.DESTINATION_GONE,
            ErrorCode.DESTINATION_NOT_IN_CATALOGUE,
            ErrorCode.IDENTITY_UNAVAILABLE,
            ErrorCode.INTERNAL_ERROR,
        ):
            self.assertEqual(4, longest(code, 1), code.word)

    def test_errors_that_do_not_pass(self) -> None:
        for code in (
            ErrorCode.SOURCE_NOT_FOUND,
            ErrorCode.SOURCE_FORBIDDEN,
            ErrorCode.SOURCE_NOT_ACTIVE,
            ErrorCode.SOURCE_SIZE_DIFFERS,
            ErrorCode.DESTINATION_REFUSED,
            ErrorCode.DESTINATION_FORBIDDEN,
            ErrorCode.DESTINATION_QUOTA_EXCEEDED,
            ErrorCode.SOURCE_TLS_FAILED,
            ErrorCode.DESTINATION_NOT_IMAGE_SERVICE,
            ErrorCode.METADATA_REFUSED,
        ):
            self.assertIsNone(longest(code, 1), code.word)

    def test_a_mismatch_is_tried_once_more(self) -> None:
        self.assertEqual(4, longest(ErrorCode.VERIFICATION_FAILED, 1))
        self.assertIsNone(longest(ErrorCode.VERIFICATION_FAILED, 2))

    def test_any_number_of_attempts(self) -> None:
        policy = retry.Policy(max_attempts=10**6, delay=4, max_delay=20)
        wait = policy.seconds_to_wait(
            ErrorCode.SOURCE_BUSY, 10**5, lambda: 0.0
        )
        self.assertEqual(20, wait)
