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

"""Changes of status that are refused without a statement."""

import itertools
from typing import Any

import testtools

from image_replicator import events
from image_replicator.db import transitions
from image_replicator.jobs import ACTIVE
from image_replicator.jobs import CANCELABLE
from image_replicator.jobs import FINAL
from image_replicator.jobs import JobStatus
from image_replicator.jobs import TRANSITIONS


class _Written(Exception):
    """A statement would have been sent."""


class _Database:
    def writer(self) -> None:
        raise _Written


class TestChange(testtools.TestCase):
    def test_every_pair_of_statuses(self) -> None:
        """For a change that is not allowed, no statement is sent."""
        database: Any = _Database()
        changes = transitions.Transitions(database, events.Events())
        for old, new in itertools.product(JobStatus, repeat=2):
            # The job only changes its owner.
            stays = old is new and new in ACTIVE
            allowed = new in TRANSITIONS[old] or stays
            self.assertRaises(
                _Written if allowed else ValueError,
                changes.change,
                "job",
                old,
                new,
            )


class TestVocabulary(testtools.TestCase):
    def test_every_status_is_active_or_final(self) -> None:
        self.assertEqual(set(JobStatus), ACTIVE | FINAL)
        self.assertEqual(set(), ACTIVE & FINAL)
        self.assertEqual(
            {JobStatus.REPLICATED, JobStatus.CANCELED, JobStatus.ERROR}, FINAL
        )

    def test_the_statuses_that_can_be_canceled(self) -> None:
        self.assertEqual(
            {JobStatus.REPLICATE_REQUESTED, JobStatus.REPLICATING}, CANCELABLE
        )
