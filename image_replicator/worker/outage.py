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

"""What a worker does while the database is away: it waits, and says so."""

import threading
import time
from collections.abc import Callable
from typing import Final
from typing import ParamSpec
from typing import TypeVar

from oslo_db import exception as db_exc
from oslo_log import log as logging

LOG = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds between two attempts while the database is away.
INTERVAL: Final = 1.0

#: These are about what was sent, and come back however long one waits.
_LASTING: Final = (
    db_exc.DBConstraintError,
    db_exc.DBDataError,
    db_exc.DBDuplicateEntry,
    db_exc.DBInvalidUnicodeParameter,
    db_exc.DBReferenceError,
)


class Outages:
    """The outages of the database, as one worker's threads meet them.

    Whatever the server says is taken for an outage: one that is down, fails
    over, is read-only for a while or has no room left.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since: float | None = None

    def wait_out(
        self,
        stop: threading.Event,
        call: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Call until the database serves.

        :param call: may be repeated.
        :param stop: ends the waiting.
        :raises DBError: if it was ended, or if waiting cannot help.
        """
        while True:
            try:
                return self.note(call, *args, **kwargs)
            except _LASTING:
                raise
            except db_exc.DBError:
                if stop.wait(INTERVAL):
                    raise

    def note(
        self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call once, and take note of whether the database serves.

        :param call: what surely asks the database; else its success would
            say nothing.
        """
        try:
            result = call(*args, **kwargs)
        except db_exc.DBError as error:
            self._begun(error)
            raise
        self._ended()
        return result

    def _begun(self, error: db_exc.DBError) -> None:
        with self._lock:
            if self._since is not None:
                return
            self._since = time.monotonic()
        LOG.error("The database does not serve us; waiting for it: %s", error)

    def _ended(self) -> None:
        with self._lock:
            if self._since is None:
                return
            seconds = time.monotonic() - self._since
            self._since = None
        LOG.info("The database serves us again, after %.0f s", seconds)
