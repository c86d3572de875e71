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
"""Tests on a Galera cluster of three nodes.

Starting one takes ten seconds, so all tests of a process use the same. Each
has a database of its own, and leaves the cluster with all its nodes.
"""

import atexit
import functools

import fixtures
import testtools
from oslo_utils import uuidutils

from devcloud import galera


@functools.cache
def shared_cluster() -> galera.Cluster:
    """Return this process's cluster, started at the first call.

    :raises unittest.SkipTest: when there can be none, in CI AssertionError
    """
    galera.require_programs()
    shared = galera.Cluster()
    shared.setUp()
    atexit.register(shared.cleanUp)
    return shared


class GaleraTestCase(testtools.TestCase):
    """A test on the shared cluster.

    :ivar cluster: with all its nodes
    :ivar urls: of the test's own, empty database, at each node
    """

    def setUp(self) -> None:
        super().setUp()
        self.useFixture(fixtures.FakeLogger())
        self.cluster = shared_cluster()
        name = f"test_{uuidutils.generate_uuid(dashed=False)[:12]}"
        self.urls = self.cluster.create_database(name)
        self.addCleanup(self.cluster.drop_database, name)
        self.addCleanup(self.cluster.make_good)
