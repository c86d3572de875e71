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

"""The plan of a seed."""

import testtools

from devcloud.chaos import plan


class TestPlan(testtools.TestCase):
    def test_it_follows_from_the_seed(self) -> None:
        plans = [plan.make(s, seconds=60, jobs=100) for s in ("a", "a", "b")]
        self.assertEqual(plans[0], plans[1])
        self.assertNotEqual(plans[0].steps, plans[2].steps)
        self.assertNotEqual(plans[0].wishes, plans[2].wishes)

    def test_each_trouble_is_in_it_and_ends(self) -> None:
        for seconds in (12.0, 60.0, 3600.0):
            steps = plan.make("a", seconds=seconds, jobs=1).steps
            self.assertEqual(set(plan.Act), {step.act for step in steps})
            self.assertEqual(sorted(steps), steps)
            # A right may be lacking until after the rest.
            *_, last = (
                step for step in steps if step.act is not plan.Act.GIVE_RIGHT
            )
            self.assertLess(last.at, seconds)

    def test_no_copy_is_asked_for_twice(self) -> None:
        todo = plan.make("a", seconds=60, jobs=103, tenants=5)
        copies = [
            (wish.source, tenant)
            for wish in todo.wishes
            for tenant in wish.tenants
        ]
        self.assertEqual((103, 103), (len(copies), len(set(copies))))
        for wish in todo.wishes:
            self.assertIn(len(wish.tenants), range(1, 5))
            if not plan.is_of_1_2(wish.source):
                self.assertEqual(1, len(wish.tenants))
        self.assertEqual(21, len(todo.sizes))

    def test_a_calm_one(self) -> None:
        todo = plan.make("a", seconds=60, jobs=100, size=10, trouble=False)
        self.assertTrue(todo.calm)
        self.assertEqual({10}, set(todo.sizes))
        self.assertEqual({None}, {w.cancel_after for w in todo.wishes})
        self.assertFalse(plan.make("a", seconds=60, jobs=100).calm)
