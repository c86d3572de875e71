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

"""Sends an image's data, and finds out whether it has arrived."""

import time
from collections.abc import Callable
from typing import Final

from oslo_log import log as logging

from image_replicator import exception
from image_replicator.errors import Side
from image_replicator.images import answers
from image_replicator.images import client
from image_replicator.worker import retry
from image_replicator.worker import stream

LOG = logging.getLogger(__name__)

#: Seconds between two looks at an image whose data is being saved.
_PAUSE: Final = 1.0

#: Looks in a row that may fail: a proxy that lost the answer may restart.
_MOST_FAILURES: Final = 10


def upload(
    destination: client.ImageClient,
    image_id: str,
    data: stream.ImageStream,
    *,
    patience: float,
    wait: Callable[[float], None],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Upload an image's data.

    A proxy before the destination may lose the answer, while the image
    service has all bytes. So if the upload fails after the last byte was
    sent, the image itself tells whether the data has arrived.

    :param patience: seconds for which the destination may save the data.
    :param wait: waits for a number of seconds; raises to stop the copy.
    :param clock: returns seconds; never goes back.
    :raises TransferError: if the source failed, or the destination did not
        take the data.
    """
    data.fill()
    if not len(data):
        # There is no last byte before which this would be done.
        data.confirm()
    try:
        destination.upload(image_id, data if len(data) else b"")
    except exception.TransferError as error:
        if not _may_have_arrived(data, error):
            raise
        LOG.info("%s Looking whether the image is there.", error.message)
        if isinstance(error, answers.ServiceFailed):
            # An image that it left in "saving" stays so for ever.
            patience = 0
        deadline = clock() + patience
        if not _has_arrived(
            destination, image_id, wait, lambda: clock() < deadline
        ):
            raise


def _may_have_arrived(
    data: stream.ImageStream, error: exception.TransferError
) -> bool:
    return (
        data.exhausted
        and error.code.side is Side.DESTINATION
        and not isinstance(error, answers.Refused)
    )


def _has_arrived(
    destination: client.ImageClient,
    image_id: str,
    wait: Callable[[float], None],
    in_time: Callable[[], bool],
) -> bool:
    """Wait while the image is being saved; return whether it is active."""
    failures = 0
    while True:
        try:
            status = destination.show(image_id)["status"]
        except exception.TransferError as error:
            failures += 1
            if failures == _MOST_FAILURES or not retry.may_pass(error.code):
                return False
        else:
            failures = 0
            if status != "saving":
                return bool(status == "active")
        if not in_time():
            return False
        wait(_PAUSE)
