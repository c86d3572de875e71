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

"""A duty is due at once, and then once in each interval."""

import testtools

from image_replicator.worker import interval


class TestInterval(testtools.TestCase):
    def test_it_is_time_at_once_and_then_now_and_then(self) -> None:
        now = 7.0
        schedule = interval.Interval(10.0, lambda: now)
        due = []
        for now in range(7, 60, 3):
            if schedule.is_over():
                due.append(now)
        self.assertEqual([7, 19, 31, 43, 55], due)
