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

"""Running the worker's recurring duties one after the other."""

from collections.abc import Callable
from typing import ParamSpec

from oslo_log import log as logging

from image_replicator.db import errors

LOG = logging.getLogger(__name__)

P = ParamSpec("P")


def run_duty(
    duty: Callable[P, None], *args: P.args, **kwargs: P.kwargs
) -> None:
    """Run one duty, and log its error, so that the next duty runs as well.

    :raises DBError: if the database is unavailable; the duties after this one
        could not use it either.
    """
    try:
        duty(*args, **kwargs)
    except Exception as error:
        if errors.is_temporary(error):
            raise
        LOG.exception("A duty of the worker failed; trying again")
