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

"""image-replicator-worker: copies images from region to region."""

import signal
import sys
import threading
from collections.abc import Sequence
from concurrent import futures
from typing import Final

from oslo_log import log as logging

from image_replicator import credentials
from image_replicator import exception
from image_replicator import sealing
from image_replicator.conf import loading
from image_replicator.db import stores
from image_replicator.worker import worker

LOG = logging.getLogger(__name__)

_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a worker until SIGTERM.

    :param argv: the command's arguments; None for the process's own.
    :returns: the process's exit status.
    """
    # Blocked before any thread starts, so that every thread inherits it.
    # sigwait below receives the signals, and no handler interrupts anything.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    prog = "image-replicator-worker"
    try:
        conf = loading.load(sys.argv[1:] if argv is None else argv, prog=prog)
        session = credentials.service_session(conf)
        sealing.check(conf)
        opened = stores.open_stores(conf)
    except exception.ConfigurationError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 1
    loading.setup_logging(conf)
    process = worker.Worker(conf, opened, session)
    with futures.ThreadPoolExecutor(1, "worker") as pool:
        running = pool.submit(process.run)
        _stop_on_signals(process, running)
    try:
        running.result()
    except Exception:
        LOG.exception("The worker broke down")
        return 1
    return 0


def _stop_on_signals(
    process: worker.Worker, running: "futures.Future[None]"
) -> None:
    """Stop gracefully at the first SIGTERM, at once at the next or a SIGINT.

    sigtimedwait cannot be used: if the process is halted for longer than the
    timeout, as when its machine migrates, CPython returns a signal that was
    not sent.
    """
    waiting = threading.get_ident()
    running.add_done_callback(
        lambda _running: signal.pthread_kill(waiting, signal.SIGTERM)
    )
    terminated = False
    while True:
        received = signal.sigwait(_STOP_SIGNALS)
        if running.done():
            return
        if terminated or received == signal.SIGINT:
            LOG.warning("Stopping at once")
            process.stop_now()
        else:
            LOG.info("Stopping")
            process.stop()
        terminated = True


if __name__ == "__main__":
    sys.exit(main())
