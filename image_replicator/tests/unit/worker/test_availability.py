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

"""Calls wait for an unavailable database, and log it once."""

import threading
from typing import Any

import fixtures
import sqlalchemy as sa
import testtools
from oslo_db import exception as db_exc

from image_replicator.db import errors
from image_replicator.tests.unit.worker import base
from image_replicator.worker import availability

AWAY = "does not serve us"
BACK = "serves us again"


class AvailabilityTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.logger = self.useFixture(fixtures.FakeLogger())
        self.useFixture(
            fixtures.MonkeyPatch(
                f"{availability.__name__}.RETRY_INTERVAL", 0.001
            )
        )
        self.database = availability.DatabaseAvailability()
        self.stop = threading.Event()
        self.left: list[Exception] = []
        self.calls = 0

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Raise the remaining errors, then return the arguments."""
        self.calls += 1
        if self.left:
            raise self.left.pop(0)
        return args, kwargs

    def assert_logged(self, away: int, back: int) -> None:
        output = self.logger.output
        self.assertEqual(
            (away, back), (output.count(AWAY), output.count(BACK))
        )


class TestCallUntilAvailable(AvailabilityTestCase):
    def test_a_database_that_serves_is_asked_once(self) -> None:
        self.assertEqual(
            ((1, 2), {"a": 3}),
            self.database.call_until_available(
                self.stop, self.call, 1, 2, a=3
            ),
        )
        self.assertEqual(1, self.calls)
        self.assert_logged(away=0, back=0)

    def test_any_outage_is_waited_out_and_told_once(self) -> None:
        self.left = [
            db_exc.DBConnectionError(),
            db_exc.DBDeadlock(),
            db_exc.DBError(sa.exc.OperationalError("", {}, OSError("full"))),
            db_exc.DBError(sa.exc.InternalError("", {}, OSError("read-only"))),
            db_exc.DBError(sa.exc.TimeoutError()),
            errors.SchemaTooOld(),
            db_exc.DBConnectionError(),
        ]
        self.assertEqual(
            ((1,), {}),
            self.database.call_until_available(self.stop, self.call, 1),
        )
        self.assertEqual(8, self.calls)
        self.assert_logged(away=1, back=1)

    def test_lasting_errors_are_raised_at_once(self) -> None:
        for error in (
            db_exc.DBDataError(),
            db_exc.DBDuplicateEntry(),
            db_exc.DBReferenceError("t", "c", "k", "kt"),
            db_exc.DBConstraintError("t", "c"),
            db_exc.DBError(ValueError("a NUL")),
            db_exc.DBError(sa.exc.DataError("", {}, OSError("4 bytes"))),
            db_exc.DBError(sa.exc.IntegrityError("", {}, OSError("NULL"))),
            db_exc.DBError(),
            RuntimeError(),
        ):
            self.calls = 0
            self.left = [error]
            raised = self.assertRaises(
                type(error),
                self.database.call_until_available,
                self.stop,
                self.call,
            )
            self.assertIs(error, raised)
            self.assertEqual(1, self.calls)
        self.assert_logged(away=0, back=0)

    def test_a_stop_ends_the_waiting(self) -> None:
        self.useFixture(
            fixtures.MonkeyPatch(
                f"{availability.__name__}.RETRY_INTERVAL", 600.0
            )
        )
        self.left = [db_exc.DBConnectionError()] * 9
        self.stop.set()
        self.assertRaises(
            db_exc.DBConnectionError,
            self.database.call_until_available,
            self.stop,
            self.call,
        )
        self.assertEqual(1, self.calls)

    def test_a_stop_does_not_keep_from_trying_once(self) -> None:
        self.stop.set()
        self.database.call_until_available(self.stop, self.call)
        self.assertEqual(1, self.calls)


class TestNote(AvailabilityTestCase):
    def _fail(self) -> None:
        self.left = [db_exc.DBConnectionError()]
        self.assertRaises(
            db_exc.DBConnectionError, self.database.call, self.call
        )

    def test_each_outage_is_told_once(self) -> None:
        for _outage in range(2):
            for _failure in range(3):
                self._fail()
            for _success in range(3):
                self.database.call(self.call)
        self.assert_logged(away=2, back=2)

    def test_other_errors_say_nothing_of_the_database(self) -> None:
        self._fail()
        self.left = [RuntimeError()]
        self.assertRaises(RuntimeError, self.database.call, self.call)
        self.assert_logged(away=1, back=0)

    def test_all_threads_meet_the_same_outage(self) -> None:
        together = threading.Barrier(8)

        def fail() -> None:
            together.wait(base.PATIENCE)
            raise db_exc.DBConnectionError()

        def meet() -> None:
            self.assertRaises(
                db_exc.DBConnectionError, self.database.call, fail
            )

        threads = [threading.Thread(target=meet) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(base.PATIENCE)
        self.assert_logged(away=1, back=0)
