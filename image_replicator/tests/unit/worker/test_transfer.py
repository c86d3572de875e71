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

"""The image that a copy creates at the destination."""

import hashlib
from typing import Any

from keystoneauth1 import session as ksa_session

from image_replicator import exception
from image_replicator import jobs
from image_replicator import metadata
from image_replicator import user_auth
from image_replicator.errors import Side
from image_replicator.images import connections
from image_replicator.tests.unit import glances
from image_replicator.tests.unit.worker import base
from image_replicator.worker import access
from image_replicator.worker import availability
from image_replicator.worker import buffer
from image_replicator.worker import nearest
from image_replicator.worker import outcome
from image_replicator.worker import rate
from image_replicator.worker import transfer

DATA = base.DATA


class TransferTestCase(base.WorkerTestCase):
    #: The most bytes of the image in memory.
    WINDOW = 1 << 20

    def setUp(self) -> None:
        super().setUp()
        self.pool = connections.Pool(self.session)

    def begin(self, data: bytes = DATA, **properties: Any) -> None:
        """Claim a job, and return its copy."""
        self.new_job(data, **properties)
        self.prepare()

    def prepare(self, **rules: Any) -> None:
        self.job, self.claimed = self.claim()
        own = self.pool.take()
        self.copy = transfer.Transfer(
            self.job,
            self.claimed,
            owned=self.stores.owned,
            database=availability.DatabaseAvailability(),
            open_access=lambda: self._open(own.session),
            connections=own,
            rules=metadata.Rules(**rules),
            options=self.conf.transfer,
            memory=buffer.Buffer(self.WINDOW, self.WINDOW),
            bandwidth=rate.Limiter(0),
            sources=nearest.NearestSource(
                self.stores.replicas, self.stores.routes, self.conf.transfer
            ),
        )
        self.addCleanup(own.close)

    def _open(self, session: ksa_session.Session) -> access.Access:
        """Return both image services, with our own right."""
        source = glances.image_client(session, "ot1", Side.SOURCE)
        return access.Access(
            source,
            glances.image_client(session),
            {},
            None,
            session,
            lambda _region, _right: access.Readers(source, None),
            user_auth.Trustee(None),
        )

    def image(self) -> dict[str, Any]:
        """Return the only image at the destination."""
        (image,) = self.destination.images.values()
        return image

    def assert_fails(self, code: str) -> str:
        """Run the copy, which must fail; return the error's message."""
        error: exception.TransferError = self.assertRaises(
            exception.TransferError, self.copy.run
        )
        self.assertEqual(code, error.code.word)
        return error.message


class TestCopy(TransferTestCase):
    def test_an_image_is_brought_over(self) -> None:
        self.begin(name="☃", hw_disk_bus="virtio", tags=["a"], user_id="x")
        self.copy.run()
        image = self.image()
        self.assertEqual(DATA, image["_data"])
        self.assertEqual(
            ("☃", "virtio", ["a"]),
            (image["name"], image["hw_disk_bus"], image["tags"]),
        )
        self.assertNotIn("user_id", image)
        self.assertEqual(
            (base.TENANT, "private", False),
            (image["owner"], image["visibility"], image["protected"]),
        )
        self.assertNotEqual(self.job.source_image_id, image["id"])
        self.assertEqual(len(DATA), self.copy.bytes_copied)

    def test_the_row_names_the_image_before_it_is_made(self) -> None:
        rows = []

        def look(handler: glances.Handler) -> None:
            rows.append(self.stores.jobs.get(self.job.id))
            self.destination.behave(handler)

        self.destination.on("POST", "images", look)
        self.begin()
        self.copy.run()
        (row,) = rows
        self.assertEqual(self.image()["id"], row.reserved_image_id)
        self.assertIsNone(row.destination_image_id)
        row = self.stores.jobs.get(self.job.id)
        self.assertEqual(self.image()["id"], row.destination_image_id)

    def test_an_image_without_bytes(self) -> None:
        self.begin(b"")
        self.copy.run()
        self.assertEqual(("active", 0), _state(self.image()))
        self.assertEqual(0, self.source.count("GET", "file"))

    def test_several_streams(self) -> None:
        for name in ("min_streams", "max_streams"):
            self.conf.set_override(name, 4, "transfer")
        self.begin(DATA * 16)
        self.copy.run()
        self.assertEqual(DATA * 16, self.image()["_data"])
        self.assertGreaterEqual(self.source.count("GET", "file"), 4)

    def test_it_shows_what_it_was_verified_by(self) -> None:
        self.begin()
        replicated = self._replicated()
        value = hashlib.sha512(DATA).hexdigest()
        self.assertEqual(
            jobs.Verification(
                algorithm="sha512", source=value, destination=value
            ),
            replicated.verification,
        )
        self.assertGreater(replicated.bytes_per_second or 0, 0)
        self.begin(b"")
        self.assertIsNone(self._replicated().bytes_per_second)

    def _replicated(self) -> outcome.Replicated:
        ended = self.copy.run()
        assert isinstance(ended, outcome.Replicated)
        return ended

    def test_it_has_the_source_s_name_or_the_one_that_was_asked_for(
        self,
    ) -> None:
        for asked, expected in ((None, "its own"), ("☃", "☃"), ("", "")):
            self.destination.images.clear()
            self.begin(name="its own", destination_image_name=asked)
            self.copy.run()
            self.assertEqual(expected, self.image()["name"])

    def test_an_image_without_a_name_can_be_given_one(self) -> None:
        self.begin(name=None)
        self.copy.run()
        self.assertNotIn("name", self.image())
        self.destination.images.clear()
        self.begin(name=None, destination_image_name="named")
        self.copy.run()
        self.assertEqual("named", self.image()["name"])

    def test_it_is_protected_last(self) -> None:
        self.begin(protected=True)
        self.copy.run()
        self.assertIs(True, self.image()["protected"])
        self.assertEqual(
            [
                ("POST", "images"),
                ("PUT", "file"),
                ("GET", "image"),
                ("PATCH", "image"),
            ],
            self.destination.seen,
        )

    def test_an_earlier_attempts_image_is_removed_first(self) -> None:
        self.new_job()
        _job, claim = self.claim()
        left = "0f5c9d4e-3a8a-4d0e-8a1e-0d6a4f3f2b10"
        self.destination.add(left, b"", protected=True)
        self.stores.owned.reserve_image(claim, left)
        self.stores.owned.image_created(claim, left)
        self.stores.owned.give_back(claim)
        self.prepare()
        self.copy.run()
        self.assertNotEqual(left, self.image()["id"])

    def test_an_earlier_image_that_stays_is_told_apart(self) -> None:
        """The error says that the image is an earlier attempt's."""
        self.new_job()
        _job, claim = self.claim()
        self.stores.owned.reserve_image(
            claim, "0f5c9d4e-3a8a-4d0e-8a1e-0d6a4f3f2b10"
        )
        self.stores.owned.give_back(claim)
        self.destination.on("DELETE", "image", glances.saying(500))
        self.prepare()
        self.assertIn("earlier", self.assert_fails("destination_failed"))
        self.assertEqual(0, self.destination.count("POST", "images"))

    def test_a_creation_of_an_earlier_attempt_cannot_come_late(self) -> None:
        self.new_job()
        _job, claim = self.claim()
        lost = "0f5c9d4e-3a8a-4d0e-8a1e-0d6a4f3f2b10"
        self.stores.owned.reserve_image(claim, lost)
        self.stores.owned.give_back(claim)
        self.prepare()
        self.copy.run()
        self.assertNotEqual(lost, self.image()["id"])
        self.assertRaises(
            exception.TransferError,
            glances.image_client(self.session).create,
            {"id": lost},
        )


def _state(image: dict[str, Any]) -> tuple[str, int]:
    return image["status"], image["size"]


class TestMark(TransferTestCase):
    """An image has the mark until it is verified."""

    def setUp(self) -> None:
        super().setUp()
        self.tags: list[list[str]] = []
        for method, kind in (("PUT", "file"), ("GET", "image")):
            self.destination.on(method, kind, self._look)

    def _look(self, handler: glances.Handler) -> None:
        self.tags.append(list(self.image()["tags"]))
        self.destination.behave(handler)

    def test_it_is_there_until_the_image_is_verified(self) -> None:
        for tags in ([], ["a", "b"]):
            self.tags.clear()
            self.destination.images.clear()
            self.begin(tags=tags)
            self.copy.run()
            marked = [*tags[:-1], "image_replicator:ot1"]
            self.assertEqual([marked] * 2, self.tags)
            self.assertEqual(tags, self.image()["tags"])

    def test_an_image_that_cannot_be_verified_keeps_it(self) -> None:
        def store_nothing(handler: glances.Handler) -> None:
            handler.body()
            handler.answer(204)

        self.destination.on("PUT", "file", store_nothing)
        self.begin()
        self.assert_fails("verification_failed")
        self.assertEqual(["image_replicator:ot1"], self.image()["tags"])

    def test_another_copy_s_mark_does_not_travel(self) -> None:
        self.begin(tags=["image_replicator:ot0", "a"])
        self.copy.run()
        self.assertEqual([["image_replicator:ot1"]] * 2, self.tags)
        self.assertEqual(["a"], self.image()["tags"])


class TestConnections(TransferTestCase):
    def test_a_next_copy_uses_those_of_the_one_before(self) -> None:
        self.begin()
        self.copy.run()
        used = self.copy.release()
        self.pool.give_back(used)
        self.begin()
        self.assertIs(used, self.copy.connections)
        self.copy.run()

    def test_a_stop_while_the_end_is_written_does_not_break_them(
        self,
    ) -> None:
        """After the end of a job, the heartbeat stops its copy."""
        self.begin()
        self.copy.run()
        self.copy.stop(outcome.StopReason.CLAIM_LOST)
        self.assertIs(False, self.copy.release().broken)

    def test_a_stop_that_comes_late_does_not_break_them(self) -> None:
        self.begin()
        first = self.copy
        first.run()
        self.pool.give_back(first.release())
        self.begin()

        def stop_the_first(handler: glances.Handler) -> None:
            first.stop(outcome.StopReason.CLAIM_LOST)
            self.source.behave(handler)

        for kind in ("image", "file"):
            self.source.on("GET", kind, stop_the_first)
        self.copy.run()
        self.assertIs(False, self.copy.connections.broken)

    def test_a_copy_that_was_never_run_lets_go_of_them_too(self) -> None:
        self.begin()
        released = self.copy.release()
        self.copy.stop(outcome.StopReason.CLAIM_LOST)
        self.assertIs(False, released.broken)

    def test_those_of_a_copy_that_failed_are_used_again_too(self) -> None:
        self.begin()
        self.source.images.clear()
        self.assert_fails("source_not_found")
        self.assertIs(False, self.copy.connections.broken)
