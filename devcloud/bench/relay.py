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

"""The long way of the benchmark: a process of its own."""

import argparse
import asyncio
import contextlib
import mmap
import signal
import socket
import struct
from collections.abc import AsyncGenerator

from devcloud import carrier
from devcloud import distance

#: The form of the count of bytes in its file.
COUNT = struct.Struct("=Q")


class Counter(carrier.Behaviour):
    """Counts the bytes that are carried to the clients.

    :param descriptor: of the file in which the count is kept
    """

    def __init__(self, descriptor: int) -> None:
        self._count = mmap.mmap(descriptor, COUNT.size)

    async def apply(
        self,
        link: carrier.Link,
        direction: carrier.Direction,
        pieces: AsyncGenerator[bytes],
    ) -> AsyncGenerator[bytes]:
        """Yield the bytes as they are."""
        async for piece in pieces:
            if direction is carrier.Direction.DOWNLOAD:
                (before,) = COUNT.unpack_from(self._count)
                COUNT.pack_into(self._count, 0, before + len(piece))
            yield piece


async def _run(listener: socket.socket, way: carrier.Carrier) -> None:
    task = asyncio.create_task(way.serve(listener))
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def main() -> None:
    """Serve a listening socket that was inherited, until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("descriptor", type=int)
    parser.add_argument("upstream_port", type=int)
    parser.add_argument("count_descriptor", type=int)
    parser.add_argument("shape", type=distance.Shape.parse)
    options = parser.parse_args()
    listener = socket.socket(fileno=options.descriptor)
    behaviour = distance.Distance(options.shape)
    way = carrier.Carrier(
        [Counter(options.count_descriptor), behaviour], piece=behaviour.piece
    )
    way.upstream_port = options.upstream_port
    asyncio.run(_run(listener, way))


if __name__ == "__main__":
    main()
