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

"""Checks the log of writes: no two workers write one job at once.

The rules are those of the published API and of the design, written here a
second time. No code of the image replicator is used. Each rule is a function
that takes a write and returns or yields what is wrong with it.
"""

import itertools
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Final

from devcloud.chaos import audit

#: Every allowed change of status.
_CHANGES: Final = {
    ("replicate_requested", "replicating"),
    ("replicate_requested", "cancel_requested"),
    ("replicating", "replicated"),
    ("replicating", "error"),
    ("replicating", "cancel_requested"),
    ("replicating", "replicate_requested"),
    ("cancel_requested", "canceling"),
    ("canceling", "canceled"),
    ("canceling", "error"),
}
FINAL: Final = frozenset({"replicated", "canceled", "error"})

#: The statuses of a job that a worker owns.
_CLAIMS: Final = {
    ("replicate_requested", "replicating"),
    ("cancel_requested", "canceling"),
    ("canceling", "canceling"),
}


class Step:
    """A write to a row that exists before and after it.

    :ivar write: the logged write
    :ivar old: the row before it
    :ivar new: the row after it
    """

    def __init__(
        self, write: audit.Write, old: audit.State, new: audit.State
    ) -> None:
        self.write = write
        self.old = old
        self.new = new

    @property
    def change(self) -> tuple[str, str]:
        """The statuses before and after the write."""
        return self.old.status, self.new.status

    @property
    def owner(self) -> str | None:
        """The owner before the write; None if the job was over."""
        return None if self.old.status in FINAL else self.old.worker_id

    @property
    def claims(self) -> bool:
        """Whether a worker claims a job that has no owner."""
        return self.owner is None and self.new.worker_id is not None

    @property
    def releases(self) -> bool:
        """Whether the job has no owner afterwards, but had one before."""
        return self.owner is not None and self.new.worker_id is None

    @property
    def owner_wrote(self) -> bool | None:
        """Whether the owner wrote; None if the writer is not known."""
        if self.write.writer is None:
            return None
        return self.owner is not None and self.owner.startswith(
            f"{self.write.writer}:"
        )

    @property
    def expired(self) -> bool:
        """Whether the owner's lease had expired."""
        lease = self.old.lease_expires_at
        return lease is not None and lease < self.write.at


Rule = Callable[[Step], str | None]


def _status(step: Step) -> str | None:
    before, after = step.change
    if before == after or step.change in _CHANGES:
        return None
    return f"went from {before} to {after}"


def _over(step: Step) -> str | None:
    """A job that is over changes only when its image is removed."""
    old, new = step.old, step.new
    if old.status not in FINAL or old == new:
        return None
    swept = audit.State(
        status=old.status, worker_id=old.worker_id, attempts=old.attempts
    )
    if old.status != "replicated" and new == swept:
        return None
    return f"was {old.status} and changed all the same"


def _claim(step: Step) -> str | None:
    if not step.claims or step.old.status in FINAL:
        return None
    more = step.new.attempts - step.old.attempts
    if step.new.lease_expires_at is None:
        return "was claimed without a lease"
    if more != 1:
        return f"was claimed, attempts by {more:+}"
    if step.change in _CLAIMS:
        return None
    return f"was claimed, from {step.old.status} to {step.new.status}"


def _release(step: Step) -> str | None:
    if not step.releases:
        return None
    if step.owner_wrote is False and not step.expired:
        return "was taken from its owner before the lease ran out"
    if step.change == ("replicating", "replicate_requested"):
        return None
    if step.new.status == step.old.status != "replicating":
        return None
    return f"lost its owner, from {step.old.status} to {step.new.status}"


def _hold(step: Step) -> str | None:
    """While a worker owns a job, only that worker and the user write."""
    if step.owner is None or step.releases:
        return None
    if step.new.worker_id != step.owner:
        return f"went from {step.owner} to {step.new.worker_id} at once"
    if step.owner_wrote is False and not _is_wish(step):
        return f"is {step.owner}'s, and {step.write.writer} wrote"
    return None


def _is_wish(step: Step) -> bool:
    """Tell whether a write is only a user's cancelation."""
    return step.new.status == "cancel_requested" and _same_but(step, "status")


def _same_but(step: Step, *names: str) -> bool:
    """Tell whether only these columns have changed."""
    old, new = vars(step.old), vars(step.new)
    return all(old[name] == new[name] for name in old if name not in names)


def _nobody_s(step: Step) -> str | None:
    """A job without an owner changes only by a claim or by its user."""
    if step.owner is not None or step.old.status in FINAL or step.claims:
        return None
    if step.old == step.new or _is_wish(step):
        return None
    return "was written to, and nobody owned it"


def _attempts(step: Step) -> str | None:
    """A claim, and no other write, increases the number by one."""
    change = step.new.attempts - step.old.attempts
    if change == 0 or step.claims:
        return None
    return f"has attempts changed by {change:+}"


def _reserved(step: Step) -> str | None:
    """The id of an image is cleared only when it is removed or complete."""
    old, new = step.old, step.new
    before, after = old.reserved_image_id, new.reserved_image_id
    if before == after:
        return None
    if before and after:
        return f"has image {after} in place of {before}, which may be there"
    if after is None and new.destination_image_id is not None:
        if step.change == ("replicating", "replicated"):
            return None
        return f"shows image {new.destination_image_id} and forgot it"
    return None


def _shown(step: Step) -> str | None:
    """The image that the API shows is the reserved one."""
    before = step.old.destination_image_id
    after = step.new.destination_image_id
    if after is None or after == before:
        return None
    if before is None and after == step.old.reserved_image_id:
        return None
    return f"shows image {after}, which was not reserved for it"


def _result(step: Step) -> str | None:
    if step.change != ("replicating", "replicated"):
        return None
    image_id = step.new.destination_image_id
    if image_id is None or image_id != step.old.reserved_image_id:
        return "is replicated without an image of its own"
    if step.new.reserved_image_id is not None:
        return "is replicated, and its image is still to be removed"
    return None


RULES: Final[Sequence[Rule]] = (
    _status,
    _over,
    _claim,
    _release,
    _hold,
    _nobody_s,
    _attempts,
    _reserved,
    _shown,
    _result,
)


def violations(log: Sequence[audit.Write]) -> Iterator[str]:
    """Yield a sentence for each violation in a log.

    :param log: of all jobs, in order
    """
    jobs: dict[str, list[audit.Write]] = {}
    for write in log:
        jobs.setdefault(write.job_id, []).append(write)
    for job_id, writes in jobs.items():
        for seq, wrong in _wrong_in_job(writes):
            yield f"write {seq}: job {job_id} {wrong}"
    yield from _shared_images(log)


def _wrong_in_job(writes: Sequence[audit.Write]) -> Iterator[tuple[int, str]]:
    first = writes[0]
    if first.old or first.new != audit.State("replicate_requested"):
        yield first.seq, f"did not begin as a job does: {first.new}"
    for before, write in itertools.pairwise(writes):
        if write.old is None:
            yield write.seq, "was made twice"
        elif write.new is None:
            yield write.seq, "was deleted"
        else:
            step = Step(write, write.old, write.new)
            if write.old != before.new:
                yield write.seq, f"was {before.new}, and is {write.old}"
            for rule in RULES:
                if wrong := rule(step):
                    yield write.seq, wrong
    yield from _claims_that_come_back(writes)


def _claims_that_come_back(
    writes: Sequence[audit.Write],
) -> Iterator[tuple[int, str]]:
    """Yield claims that a worker lost and that became valid again.

    The fence would not stop writes that the worker makes by the lost claim.
    """
    lost = set()
    for write in writes:
        if not write.old or not write.new:
            continue
        step = Step(write, write.old, write.new)
        if step.releases and step.owner_wrote is False:
            lost.add((step.owner, step.old.attempts))
        held = (step.new.worker_id, step.new.attempts)
        if step.claims and held in lost:
            yield write.seq, f"is claimed by {held} again, which lost it"


def _shared_images(log: Sequence[audit.Write]) -> Iterator[str]:
    """Yield images that belonged to two jobs or two attempts."""
    owners: dict[str, tuple[str, str | None, int]] = {}
    for write in log:
        if write.new is None or write.new.reserved_image_id is None:
            continue
        image_id = write.new.reserved_image_id
        if write.old and write.old.reserved_image_id == image_id:
            continue
        owner = (write.job_id, write.new.worker_id, write.new.attempts)
        if owners.setdefault(image_id, owner) != owner:
            yield (
                f"write {write.seq}: image {image_id} is reserved by {owner} "
                f"and was by {owners[image_id]}"
            )
