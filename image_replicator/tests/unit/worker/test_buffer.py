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


import testtools

from image_replicator.worker import buffer


class TestBuffer(testtools.TestCase):
    def test_each_copy_gets_its_share(self) -> None:
        memory = buffer.Buffer(total=160, most=64)
        shares = [memory.share()]
        for _ in range(4):
            memory.join()
            shares.append(memory.share())
        self.assertEqual([64, 64, 64, 53, 40], shares)

    def test_who_is_left_gets_more_again(self) -> None:
        memory = buffer.Buffer(total=160, most=64)
        for _ in range(8):
            memory.join()
        self.assertEqual(20, memory.share())
        for _ in range(6):
            memory.leave()
        self.assertEqual(64, memory.share())
