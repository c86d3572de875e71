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

"""A worker that kills itself at a named step of a copy.

``python -m devcloud.doomed_worker POINT ARGUMENT …`` runs
``image-replicator-worker ARGUMENT …`` until it comes to the point, such as
``before owned.reserve_image``, ``after images.create`` or, in the middle of
the data, ``within images.upload``. No code of the product is changed.
"""

import functools
import os
import signal
import sys
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any
from typing import Final

from image_replicator.cmd import worker
from image_replicator.db import authorities
from image_replicator.db import leftovers
from image_replicator.db import owned_jobs
from image_replicator.db import replicas
from image_replicator.db import routes
from image_replicator.db import work_queue
from image_replicator.db import workers
from image_replicator.images import client

OWNERS: Final[dict[str, type]] = {
    "queue": work_queue.WorkQueue,
    "owned": owned_jobs.OwnedJobs,
    "authorities": authorities.Authorities,
    "leftovers": leftovers.Leftovers,
    "replicas": replicas.Replicas,
    "routes": routes.Routes,
    "workers": workers.WorkerRegistry,
    "images": client.ImageClient,
}

_WHOLE: Final = 2


def steps(owner: str) -> set[str]:
    """Return the names of all steps of a kind; each public method is one."""
    return {
        f"{owner}.{name}"
        for kind in OWNERS[owner].__mro__
        for name, member in vars(kind).items()
        if not name.startswith("_") and callable(member)
    }


def die() -> None:
    """End the process at once, without any clean-up, as a power cut does."""
    os.kill(os.getpid(), signal.SIGKILL)


def doom(point: str) -> None:
    """Make this process end at a point."""
    when, _, step = point.partition(" ")
    owner, _, name = step.partition(".")
    method = getattr(OWNERS[owner], name)
    wrapped = {"before": _before, "after": _after, "within": _within}[when]
    setattr(OWNERS[owner], name, functools.wraps(method)(wrapped(method)))


def _before(method: Callable[..., Any]) -> Callable[..., Any]:
    def step(*args: Any, **kwargs: Any) -> None:
        die()

    return step


def _after(method: Callable[..., Any]) -> Callable[..., Any]:
    def step(*args: Any, **kwargs: Any) -> Any:
        done = method(*args, **kwargs)
        # A look for a job that finds none does not count as a step.
        if done is not None or not method.__name__.startswith("claim"):
            die()
        return done

    return step


def _within(upload: Callable[..., Any]) -> Callable[..., Any]:
    """Die when half of the data has been sent."""

    def step(images: Any, image_id: str, data: Any) -> Any:
        return upload(images, image_id, _Half(data))

    return step


class _Half:
    def __init__(self, data: Any) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[bytes]:
        sent = 0
        for chunk in self._data:
            if sent > len(self) // _WHOLE:
                die()
            yield chunk
            sent += len(chunk)


if __name__ == "__main__":
    doom(sys.argv[1])
    sys.exit(worker.main(sys.argv[2:]))
