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

"""Tests of copies that read from a nearer copy of the same data.

That one is in ``ot3``, which workers measured to be nearer to ``ot2`` than
``ot1`` is.
"""

import os
from typing import Any
from unittest import mock

import fixtures
from keystoneauth1 import session as ksa_session

from image_replicator import jobs
from image_replicator import user_auth
from image_replicator.authority import Authority
from image_replicator.errors import ErrorCode
from image_replicator.errors import Side
from image_replicator.images import connections
from image_replicator.nearness import Route
from image_replicator.tests.unit import glances
from image_replicator.tests.unit.worker import base
from image_replicator.tests.unit.worker import test_transfer
from image_replicator.worker import access
from image_replicator.worker import data_source
from image_replicator.worker import nearest
from image_replicator.worker import outcome
from image_replicator.worker import tuner

DATA = os.urandom(1 << 20)
REPLICA = "99999999-9999-9999-9999-999999999999"
SOMEBODY = Authority(user_id="somebody", source_trust_id="a-trust")


class NearestTestCase(test_transfer.TransferTestCase):
    """A test with an image of which there is a copy in ``ot3``.

    :ivar near: the image service of ``ot3``
    """

    def setUp(self) -> None:
        super().setUp()
        self.near = self.useFixture(glances.FakeGlance())
        self.session = glances.new_session(
            ot1=self.source, ot2=self.destination, ot3=self.near
        )
        self.pool = connections.Pool(self.session)
        for region, latency in (("ot1", 0.1), ("ot3", 0.01)):
            way = Route(latency=latency, rate=1e8)
            self.stores.routes.record("ot2", region, way)
        self.new_job(DATA)
        self.prepare()
        self.near.add(REPLICA, DATA)
        self.make_replica()

    def _open(self, session: ksa_session.Session) -> access.Access:
        def readers(region: str, _right: Any) -> access.Readers:
            images = glances.image_client(session, region, Side.SOURCE)
            return access.Readers(images, None)

        return access.Access(
            glances.image_client(session, "ot1", Side.SOURCE),
            glances.image_client(session),
            {},
            SOMEBODY,
            session,
            readers,
            user_auth.Trustee(None),
        )

    def make_replica(self) -> None:
        """Let a job have made the copy in ``ot3``."""
        copied = self.stores.jobs.create(
            jobs.NewJob(
                source_image_id=self.job.source_image_id,
                source_image_name="",
                source_region_id="ot1",
                source_tenant_id=self.job.source_tenant_id,
                destination_region_id="ot3",
                destination_tenant_id=base.TENANT,
                image_size=len(DATA),
                request_id="req-1",
            )
        )
        job, claim = self.claim()
        self.assertEqual(copied, job.id)
        value = self.source_image(self.job.id)["os_hash_value"]
        self.stores.owned.image_created(claim, REPLICA)
        self.stores.owned.finish(
            claim,
            len(DATA),
            None,
            jobs.Verification(
                algorithm="sha512", source=value, destination=value
            ),
        )

    def run_copy(self) -> outcome.Replicated:
        """Run the copy to its end, and check its data."""
        ended = self.copy.run()
        assert isinstance(ended, outcome.Replicated)
        (image,) = self.destination.images.values()
        self.assertTrue(image["_data"] == DATA)
        return ended

    def read(self) -> tuple[int, int]:
        """Return the requests for data to ``ot3`` and to the source."""
        return self.near.count("GET", "file"), self.source.count("GET", "file")

    def first_bytes(self) -> list[int]:
        """Return where each request for data to the source began."""
        return [
            int(request.headers["Range"][len("bytes=") :].split("-")[0])
            for request in self.source.requests
            if request.kind == "file"
        ]


class TestNearest(NearestTestCase):
    def test_the_bytes_come_from_the_nearest(self) -> None:
        rows = []

        def look(handler: glances.Handler) -> None:
            rows.append(self.stores.jobs.get(self.job.id))
            self.destination.behave(handler)

        self.destination.on("POST", "images", look)
        ended = self.run_copy()
        self.assertEqual((1, 0), self.read())
        self.assertEqual(
            ("ot3", REPLICA),
            (ended.read_from.region_id, ended.read_from.image_id),
        )
        (row,) = rows
        self.assertEqual(
            ("ot3", REPLICA), (row.read_region_id, row.read_image_id)
        )
        self.assertIn("reading image " + REPLICA, self.logger.output)

    def test_nothing_is_said_before_the_choice(self) -> None:
        """Other jobs decide by it whether to wait for this one."""
        self.assertIsNone(self.copy.read_from)
        self.stores.owned.record_progress(
            self.claimed, 0, None, self.copy.read_from
        )
        row = self.stores.jobs.get(self.job.id)
        self.assertIsNone(row.read_region_id)
        self.run_copy()
        assert self.copy.read_from
        self.assertEqual("ot3", self.copy.read_from.region_id)

    def test_one_that_cannot_be_used_is_left_out(self) -> None:
        image = self.near.images[REPLICA]
        for changes in (
            {"status": "deactivated"},
            {"size": 7},
            {"os_hash_value": "00"},
            {"os_hash_algo": "sha256"},
        ):
            self.near.images[REPLICA] = image | changes
            self.run_copy()
            self.assertEqual(0, self.near.count("GET", "file"))
            self.destination.images.clear()
            self.stores.owned.give_back(self.claimed)
            self.prepare()

    def test_one_that_is_gone_is_left_out(self) -> None:
        del self.near.images[REPLICA]
        ended = self.run_copy()
        self.assertTrue(ended.read_from.is_source)
        self.assertEqual("ot1", ended.read_from.region_id)
        self.assertEqual((0, 1), self.read())

    def test_one_that_does_not_answer_is_left_out(self) -> None:
        self.near.on("GET", "image", glances.hanging_up)
        self.run_copy()
        self.assertEqual((0, 1), self.read())


class TestFailover(NearestTestCase):
    def send_a_part(self, handler: glances.Handler) -> None:
        """Send the first quarter of what is asked for, and hang up."""
        first = int(handler.headers["Range"][len("bytes=") :].split("-")[0])
        last = len(DATA) - 1
        part = DATA[first : first + (last + 1 - first) // 4]
        handler.answer(
            206,
            part,
            {
                "Content-Length": last + 1 - first,
                "Content-Range": f"bytes {first}-{last}/{len(DATA)}",
            },
        )

    def test_one_that_breaks_off_is_left_at_the_missing_byte(self) -> None:
        self.near.on("GET", "file", self.send_a_part)
        self.run_copy()
        # The last two requests brought no byte.
        (first,) = self.first_bytes()
        self.assertEqual(len(DATA) - 3, first)

    def test_one_that_is_deleted_amid_the_copy(self) -> None:
        def end(handler: glances.Handler) -> None:
            self.send_a_part(handler)
            self.near.images.pop(REPLICA, None)
            self.near.on("GET", "file", self.near.behave)

        self.near.on("GET", "file", end)
        ended = self.run_copy()
        self.assertEqual([len(DATA) // 4], self.first_bytes())
        self.assertEqual("ot1", ended.read_from.region_id)

    def test_one_that_slows_down_to_a_crawl(self) -> None:
        self.useFixture(
            fixtures.MonkeyPatch(f"{data_source.__name__}._PERIOD", 0.5)
        )
        gate = base.Gate(self)

        def stop(handler: glances.Handler) -> None:
            self.send_a_part(handler)
            handler.wfile.flush()
            gate.wait()

        self.near.on("GET", "file", stop)
        self.run_copy()
        # Several readers may go on, in any order; none reads a byte before.
        self.assertEqual(len(DATA) // 4, min(self.first_bytes()))
        self.assertIn("it sends only", self.logger.output)

    def test_other_sizes_are_refused(self) -> None:
        self.near.on(
            "GET",
            "file",
            glances.saying(206, DATA, Content_Range="bytes 0-9/10"),
        )
        self.run_copy()
        self.assertEqual([0], self.first_bytes())

    def test_the_source_s_own_refusal_counts(self) -> None:
        self.near.on("GET", "file", glances.saying(503))
        self.source.on("GET", "file", glances.saying(403))
        self.assert_fails("source_forbidden")

    def test_one_that_lies_is_found_and_left_out(self) -> None:
        image = self.near.images[REPLICA]
        image["_data"] = bytes([DATA[0] ^ 1]) + DATA[1:]
        self.assert_fails("verification_failed")
        self.stores.owned.retry(
            self.claimed,
            0.0,
            ErrorCode.VERIFICATION_FAILED,
            "The data differs.",
        )
        self.prepare()
        self.assertEqual(2, self.job.attempts)
        self.run_copy()
        self.assertEqual([0], self.first_bytes())


class TestMeasuring(NearestTestCase):
    def test_the_way_is_recorded(self) -> None:
        self.useFixture(
            fixtures.MonkeyPatch(f"{nearest.__name__}._TELLING", 0)
        )
        before = self.stores.routes.to("ot2")
        self.run_copy()
        after = self.stores.routes.to("ot2")
        self.assertEqual(before["ot1"], after["ot1"])
        self.assertNotEqual(before["ot3"].latency, after["ot3"].latency)
        self.assertEqual(1, after["ot3"].streams)

    def test_a_copy_begins_with_the_streams_of_the_one_before(self) -> None:
        self.stores.routes.record(
            "ot2", "ot3", Route(latency=0.01, rate=1e8, streams=4)
        )
        with mock.patch.object(tuner, "Tuner", wraps=tuner.Tuner) as made:
            self.run_copy()
        *_, known = made.call_args.args
        self.assertEqual(4, known)

    def test_small_images_tell_nothing(self) -> None:
        before = self.stores.routes.to("ot2")
        self.run_copy()
        self.assertEqual(before, self.stores.routes.to("ot2"))
