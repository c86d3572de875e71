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

"""One copy: that it is the same, byte for byte."""

import hashlib

from image_replicator import exception
from image_replicator.tests.unit import glances
from image_replicator.tests.unit.worker import base
from image_replicator.tests.unit.worker import test_transfer

DATA = base.DATA


class TestVerification(test_transfer.TransferTestCase):
    def _store(self, data: bytes) -> None:
        """Let the destination store something else than it is sent."""

        def store(handler: glances.Handler) -> None:
            handler.body()
            image = self.destination.images[handler.image_id]
            self.destination.fill(image, data)
            handler.answer(204)

        self.destination.on("PUT", "file", store)

    def _flipped(self) -> bytes:
        return DATA[:1000] + bytes([DATA[1000] ^ 1]) + DATA[1001:]

    def test_a_flipped_bit_at_the_destination(self) -> None:
        self._store(self._flipped())
        self.begin()
        message = self.assert_fails("verification_failed")
        for data in (DATA, self._flipped()):
            self.assertIn(hashlib.sha512(data).hexdigest(), message)

    def test_a_flipped_bit_on_the_way(self) -> None:
        self.source.on("GET", "file", glances.saying(200, self._flipped()))
        self.begin()
        self.assert_fails("verification_failed")

    def test_another_size(self) -> None:
        self._store(DATA[:-1])
        self.begin()
        self.assertIn(
            f"{len(DATA) - 1} of {len(DATA)}",
            self.assert_fails("verification_failed"),
        )

    def test_an_image_that_is_not_active(self) -> None:
        def stay_queued(handler: glances.Handler) -> None:
            handler.body()
            handler.answer(204)

        self.destination.on("PUT", "file", stay_queued)
        self.begin()
        self.assertIn("queued", self.assert_fails("verification_failed"))

    def test_a_destination_that_hashes_otherwise_is_read_back(self) -> None:
        for algorithm in ("sha256", "md5", None, "unheard-of"):
            self.destination.seen.clear()
            self.destination.algorithm = algorithm
            if algorithm == "unheard-of":
                self.destination.algorithm = None
                self._store_with(algorithm)
            self.begin()
            self.copy.run()
            self.assertEqual(1, self.destination.count("GET", "file"))

    def _store_with(self, algorithm: str) -> None:
        def store(handler: glances.Handler) -> None:
            self.destination.behave(handler)
            self.destination.images[handler.image_id] |= {
                "os_hash_algo": algorithm,
                "os_hash_value": "0",
            }

        self.destination.on("PUT", "file", store)

    def test_what_is_read_back_must_be_the_same(self) -> None:
        self.destination.algorithm = "sha256"
        self._store(self._flipped())
        self.begin()
        self.assert_fails("verification_failed")

    def test_what_is_read_back_must_be_whole(self) -> None:
        self.destination.algorithm = "sha256"
        self.destination.on("GET", "file", glances.saying(200, DATA[:-1]))
        self.begin()
        self.assertRaises(exception.TransferError, self.copy.run)

    def test_what_cannot_be_read_back_is_no_mismatch(self) -> None:
        self.destination.algorithm = "sha256"
        self.destination.on("GET", "file", glances.saying(503))
        self.begin()
        self.assert_fails("destination_unavailable")

    def test_reading_back_is_taken_up_where_it_broke_off(self) -> None:
        self.destination.algorithm = "sha256"
        answers = [
            glances.saying(200, DATA[:100_000], Content_Length=len(DATA))
        ]

        def break_off(handler: glances.Handler) -> None:
            (answers.pop() if answers else self.destination.behave)(handler)

        self.destination.on("GET", "file", break_off)
        self.begin()
        self.copy.run()
        self.assertEqual(2, self.destination.count("GET", "file"))

    def test_a_source_without_a_hash_is_hashed_on_the_way(self) -> None:
        self.source.algorithm = None
        self.begin()
        self.copy.run()
        self._store(self._flipped())
        self.begin()
        self.assert_fails("verification_failed")

    def test_a_source_that_hashes_in_an_unheard_of_way(self) -> None:
        self.begin()
        self.source_image(self.job.id)["os_hash_algo"] = "unheard-of"
        self.copy.run()
        self.assertEqual(DATA, self.image()["_data"])

    def test_neither_has_a_hash(self) -> None:
        self.source.algorithm = self.destination.algorithm = None
        self.begin()
        self.copy.run()
        self._store(self._flipped())
        self.begin()
        self.assert_fails("verification_failed")

    def test_an_image_without_bytes_is_verified_too(self) -> None:
        self.destination.algorithm = "sha256"
        self.begin(b"")
        self.copy.run()
        self._store(b"something")
        self.begin(b"")
        self.assert_fails("verification_failed")
