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

"""image-replicator-gateway: ranges and compression near an image service."""

import signal
import sys
import threading
from collections.abc import Sequence

from oslo_log import log as logging

from image_replicator import exception
from image_replicator.conf import loading
from image_replicator.gateway import readings
from image_replicator.gateway import server
from image_replicator.gateway import source

LOG = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the gateway until SIGTERM.

    :param argv: the command's arguments; None for the process's own.
    :returns: the process's exit status.
    """
    prog = "image-replicator-gateway"
    try:
        conf = loading.load(sys.argv[1:] if argv is None else argv, prog=prog)
        found = readings.Readings(conf, source.ImageSource(conf))
        serving = server.Server(conf, found)
        _stop_on_signals(serving)
        serving.prepare()
    except (exception.ConfigurationError, OSError) as error:
        print(f"{prog}: [gateway]: {error}", file=sys.stderr)
        return 1
    loading.setup_logging(conf)
    LOG.info(
        "Gateway at %s:%s for %s",
        *serving.bind_addr[:2],
        conf.gateway.image_endpoint,
    )
    serving.serve()
    return 0


def _stop_on_signals(serving: server.Server) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        # A handler must not wait for the threads.
        signal.signal(
            number,
            lambda *_: threading.Thread(target=serving.end).start(),
        )


if __name__ == "__main__":
    sys.exit(main())
