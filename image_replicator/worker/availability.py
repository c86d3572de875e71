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

"""Calls to a database that may be unavailable for a while."""

import threading
import time
from collections.abc import Callable
from typing import Final
from typing import ParamSpec
from typing import TypeVar

from oslo_db import exception as db_exc
from oslo_log import log as logging

from image_replicator.db import errors

LOG = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds between two attempts while the database is unavailable.
RETRY_INTERVAL: Final = 1.0


class DatabaseAvailability:
    """The state of the database, as the threads of a worker find it.

    The threads share it, so that an outage is logged once when it begins and
    once when it ends.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._unavailable_since: float | None = None

    def call_until_available(
        self,
        stop: threading.Event,
        call: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Make a call, and repeat it while the database is unavailable.

        Only errors that may pass are waited out. A value that the database
        refuses would be refused for ever.

        :param stop: ends the waiting.
        :param call: may be repeated without harm.
        :raises DBError: if ``stop`` was set, or if waiting does not help.
        """
        while True:
            try:
                return self.call(call, *args, **kwargs)
            except db_exc.DBError as error:
                if not errors.is_temporary(error):
                    raise
                if stop.wait(RETRY_INTERVAL):
                    raise

    def call(
        self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Make a call once, and record whether the database was available.

        :param call: uses the database in any case; otherwise its success
            would not show that the database is available.
        :raises DBError: if the database could not be used, or refused a
            value.
        """
        try:
            result = call(*args, **kwargs)
        except db_exc.DBError as error:
            if errors.is_temporary(error):
                self._record_unavailable(error)
            raise
        self._record_available()
        return result

    def _record_unavailable(self, error: db_exc.DBError) -> None:
        with self._lock:
            if self._unavailable_since is not None:
                return
            self._unavailable_since = time.monotonic()
        LOG.error("The database does not serve us; waiting for it: %s", error)

    def _record_available(self) -> None:
        with self._lock:
            if self._unavailable_since is None:
                return
            seconds = time.monotonic() - self._unavailable_since
            self._unavailable_since = None
        LOG.info("The database serves us again, after %.0f s", seconds)
