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

"""A right or an image is taken away while its copy is queued or made.

Each loss is tried at three moments: while the job waits, in the middle of the
upload, and when the destination has the whole image but the job is not
replicated yet. At each of them all losses happen to jobs of different users at
the same time.
"""

import dataclasses
from collections.abc import Callable
from typing import Final

from devcloud import proxy
from image_replicator.tests.functional.rights import base

_DATA: Final = bytes(range(256)) * 16384


@dataclasses.dataclass(frozen=True)
class Copy:
    """A user's job.

    :ivar image_id: of the source image
    """

    asker: base.Asker
    image_id: str
    job_id: str


@dataclasses.dataclass(frozen=True)
class Loss:
    """A right, or an image, that is taken away.

    :ivar take: takes it
    :ivar codes: that the job's error may have
    :ivar stays: whether the user may not remove the unfinished copy either
    """

    take: Callable[["LossTestCase", Copy], None]
    codes: tuple[str, ...]
    stays: bool = False


class LossTestCase(base.RightsTestCase):
    """Takes rights and images away."""

    def stop_sharing(self, copy: Copy) -> None:
        """Stop sharing alice's image with the source project."""
        project_id = self.cloud.project_id(copy.asker.source)
        self.cloud.image_client("ot1").delete(
            f"/v2/images/{copy.image_id}/members/{project_id}"
        )

    def disable(self, kind: str, name: str) -> None:
        """Disable a user or a project."""
        self.cloud.identity.enable(kind, self._id(kind, name), False)

    def delete(self, kind: str, name: str) -> None:
        """Delete a user or a project."""
        self.cloud.identity.delete(kind, self._id(kind, name))

    def _id(self, kind: str, name: str) -> str:
        if kind == "user":
            return self.cloud.user(name).id
        return self.cloud.project_id(name)

    def deactivate(self, copy: Copy) -> None:
        """Deactivate the source image, as an administrator."""
        self.cloud.image_client("ot1", "admin", "admin").post(
            f"/v2/images/{copy.image_id}/actions/deactivate"
        )

    def delete_image(self, copy: Copy) -> None:
        """Delete the source image."""
        self.images_of(copy.asker).delete(copy.image_id)


_SOURCE_LOST: Final = ("source_access_lost",)
_DESTINATION_LOST: Final = ("destination_access_lost",)

LOSSES: Final = {
    "share": Loss(LossTestCase.stop_sharing, _SOURCE_LOST),
    "source role": Loss(
        lambda test, copy: test.take_role(copy.asker, copy.asker.source),
        _SOURCE_LOST,
    ),
    "destination role": Loss(
        lambda test, copy: test.take_role(copy.asker, copy.asker.destination),
        _DESTINATION_LOST,
        stays=True,
    ),
    "user disabled": Loss(
        lambda test, copy: test.disable("user", copy.asker.name),
        _SOURCE_LOST + _DESTINATION_LOST,
        stays=True,
    ),
    "user deleted": Loss(
        lambda test, copy: test.delete("user", copy.asker.name),
        _SOURCE_LOST + _DESTINATION_LOST,
        stays=True,
    ),
    "source project disabled": Loss(
        lambda test, copy: test.disable("project", copy.asker.source),
        _SOURCE_LOST,
    ),
    "source project deleted": Loss(
        lambda test, copy: test.delete("project", copy.asker.source),
        _SOURCE_LOST,
    ),
    "destination project disabled": Loss(
        lambda test, copy: test.disable("project", copy.asker.destination),
        _DESTINATION_LOST,
        stays=True,
    ),
    "destination project deleted": Loss(
        lambda test, copy: test.delete("project", copy.asker.destination),
        _DESTINATION_LOST,
        stays=True,
    ),
    "source trust": Loss(
        lambda test, copy: test.revoke_trust(
            copy.asker, test.cloud.project_id(copy.asker.source)
        ),
        _SOURCE_LOST,
    ),
    "destination trust": Loss(
        lambda test, copy: test.revoke_trust(
            copy.asker, test.cloud.project_id(copy.asker.destination)
        ),
        _DESTINATION_LOST,
        stays=True,
    ),
    "image deactivated": Loss(LossTestCase.deactivate, ("source_not_active",)),
    "image deleted": Loss(LossTestCase.delete_image, ("source_not_found",)),
}


class TestLosses(LossTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.relays = {region: self.relay(region) for region in ("ot1", "ot2")}
        self.copies = {loss: self._ask(loss) for loss in LOSSES}
        self.control = self._ask("nothing")

    def _ask(self, loss: str) -> Copy:
        """Request a copy of an image of the user's, or of a shared one."""
        asker = self.new_asker()
        if loss == "share":
            alice = self.cloud.images("ot1")
            image_id = alice.create(_DATA, visibility="shared")["id"]
            alice.client.post(
                f"/v2/images/{image_id}/members",
                json={"member": self.cloud.project_id(asker.source)},
            )
        else:
            image_id = self.images_of(asker).create(_DATA)["id"]
        return Copy(asker, image_id, self.ask(asker, image_id))

    def _start(self) -> None:
        self.start_worker(worker={"concurrency": len(self.copies) + 1})

    def _take_all(self) -> None:
        for name, loss in LOSSES.items():
            loss.take(self, self.copies[name])

    def _assert_all_failed(self, left: str | None) -> None:
        """Check the ends of all jobs, and what they left.

        :param left: the status of a copy that the user may not remove; None
            if there is none
        """
        left_by = {}
        for name, loss in LOSSES.items():
            copy = self.copies[name]
            self.assert_failed(copy.job_id, *loss.codes)
            images = self.left_in(copy.asker.destination)
            left_by[name] = list(images.values())
        expected = {
            name: [left] if left and loss.stays else []
            for name, loss in LOSSES.items()
        }
        self.assertEqual(expected, left_by)
        self.assert_copied(self.control.job_id)

    def test_while_the_job_is_queued(self) -> None:
        self._take_all()
        self._start()
        self._assert_all_failed(left=None)

    def test_in_the_middle_of_the_upload(self) -> None:
        self.relays["ot1"].hold_after(len(_DATA) // 2)
        self._start()
        self._wait_for_all("saving")
        self._take_all()
        self.relays["ot1"].release()
        self._assert_all_failed(left="queued")

    def test_right_before_the_end(self) -> None:
        """The answer to the upload is held until all is taken away."""
        relay = self.relays["ot2"]
        relay.throttle(len(_DATA) / 4, proxy.Direction.UPLOAD)
        self._start()
        self._wait_for_all("saving")
        relay.pause(proxy.Direction.DOWNLOAD)
        relay.throttle(None)
        self._wait_for_all("active")
        self._take_all()
        relay.release()
        self._assert_all_failed(left="active")

    def _wait_for_all(self, status: str) -> None:
        """Wait until the copy of each job has a status."""
        owners = {
            self.cloud.project_id(copy.asker.destination)
            for copy in (*self.copies.values(), self.control)
        }

        def holds() -> bool:
            images = self.images_in("ot2").values()
            return owners <= {
                image["owner"] for image in images if image["status"] == status
            }

        self.wait_until(holds, f"a copy that is {status} for each job")
