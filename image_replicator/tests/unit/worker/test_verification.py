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

"""The comparison of the copy's data with the source's."""

import hashlib
from typing import Any

from image_replicator import exception
from image_replicator.errors import ErrorCode
from image_replicator.tests.unit import glances
from image_replicator.tests.unit.worker import base
from image_replicator.tests.unit.worker import test_transfer
from image_replicator.worker import outcome
from image_replicator.worker import verification

DATA = base.DATA


class TestVerification(test_transfer.TransferTestCase):
    def _store(self, data: bytes) -> None:
        """Let the destination store other bytes than it gets."""

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

    def test_the_stored_data_must_be_the_same(self) -> None:
        self.destination.algorithm = "sha256"
        self._store(self._flipped())
        self.begin()
        self.assert_fails("verification_failed")

    def test_the_stored_data_must_be_complete(self) -> None:
        self.destination.algorithm = "sha256"
        self.destination.on("GET", "file", glances.saying(200, DATA[:-1]))
        self.begin()
        self.assertRaises(exception.TransferError, self.copy.run)

    def test_data_that_cannot_be_read_back_is_no_mismatch(self) -> None:
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


class TestDamagedSource(test_transfer.TransferTestCase):
    """The source's data does not have the recorded hash."""

    def _begin(self, data: bytes = DATA, **recorded: Any) -> None:
        """Add an image with a wrong hash, and begin its copy."""
        self.begin(data)
        image = self.source_image(self.job.id)
        for name in ("os_hash_algo", "os_hash_value", "checksum"):
            image[name] = recorded.get(name)

    def _again(self) -> None:
        """Begin the next attempt."""
        self.stores.owned.retry(
            self.claimed, 0.0, ErrorCode.VERIFICATION_FAILED, "It differed."
        )
        self.prepare()

    def test_a_checksum_is_all_that_was_recorded(self) -> None:
        md5 = hashlib.md5(DATA).hexdigest()
        self._begin(checksum=md5)
        ended = self.copy.run()
        assert isinstance(ended, outcome.Replicated)
        self.assertEqual("sha512", ended.verification.algorithm)
        self._begin(checksum=md5[::-1])
        message = self.assert_fails("source_damaged")
        self.assertIn(md5[::-1], message)
        self.assertNotIn("destination", message)

    def test_a_checksum_counts_where_the_hash_is_unheard_of(self) -> None:
        unknown: Any = {"os_hash_algo": "unheard-of", "os_hash_value": "0"}
        self._begin(checksum=hashlib.md5(DATA).hexdigest(), **unknown)
        self.copy.run()
        self._begin(checksum="0" * 32, **unknown)
        self.assert_fails("source_damaged")

    def test_an_image_without_bytes(self) -> None:
        for recorded in (
            {"checksum": "0" * 32},
            {"os_hash_algo": "sha512", "os_hash_value": "0" * 128},
        ):
            self._begin(b"", **recorded)
            self.assert_fails("source_damaged")
        self._begin(b"", checksum=hashlib.md5(b"").hexdigest())
        self.copy.run()

    def test_the_first_attempt_accuses_nobody(self) -> None:
        self._begin(os_hash_algo="sha512", os_hash_value="0" * 128)
        message = self.assert_fails("verification_failed")
        self.assertIn("0" * 128, message)
        self.assertIn("another attempt", message)

    def test_the_second_attempt_finds_out_that_it_is_the_source(self) -> None:
        self._begin(os_hash_algo="sha512", os_hash_value="0" * 128)
        self.assert_fails("verification_failed")
        self._again()
        self.assert_fails("source_damaged")

    def test_the_second_attempt_finds_out_that_it_is_not(self) -> None:
        def store_nothing(handler: glances.Handler) -> None:
            image = self.destination.images[handler.image_id]
            self.destination.fill(image, bytes(len(handler.body())))
            handler.answer(204)

        self.destination.on("PUT", "file", store_nothing)
        self.begin()
        self.assertNotIn(
            "destination's image", self.assert_fails("verification_failed")
        )
        self._again()
        self.assertIn(
            "The destination's image is not what was sent",
            self.assert_fails("verification_failed"),
        )

    def test_an_ordinary_copy_hashes_nothing(self) -> None:
        """The destination's Glance hashes the data, as the source's did."""
        self.begin()
        image = self.source_image(self.job.id)
        image["checksum"] = hashlib.md5(DATA).hexdigest()
        source = verification.SourceData(image, again=False)
        self.assertEqual((), source.hashers)

    def test_a_checksum_in_capitals_is_the_same(self) -> None:
        self._begin(checksum=hashlib.md5(DATA).hexdigest().upper())
        self.copy.run()
