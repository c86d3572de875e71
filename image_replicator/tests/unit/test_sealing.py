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

"""The keys that seal users' tokens."""

import os
import pathlib
import stat
import threading

import fixtures
import testtools
from cryptography import fernet

from image_replicator import sealing
from image_replicator.conf import loading

TOKEN = "gAAAAA-t0ken"


class SealingTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.state = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.directory = self.state / "sealing-keys"
        self.sealer = sealing.Sealer(self.directory, make=True)

    def numbers(self) -> set[str]:
        return {path.name for path in self.directory.iterdir()}

    def assert_unusable(self, *words: str) -> None:
        sealer = sealing.Sealer(self.directory)
        error = self.assertRaises(sealing.KeysUnusable, sealer.check)
        for word in ("[delegation] sealing_keys", *words):
            self.assertIn(word, str(error))


class TestSealing(SealingTestCase):
    def test_what_is_sealed_can_be_opened(self) -> None:
        sealed = self.sealer.seal(TOKEN)
        self.assertNotIn("t0ken", sealed)
        again = sealing.Sealer(self.directory)
        self.assertEqual(TOKEN, again.open(sealed))

    def test_another_key_opens_nothing(self) -> None:
        sealed = self.sealer.seal(TOKEN)
        elsewhere = sealing.Sealer(self.state / "others", make=True)
        error = self.assertRaises(sealing.CannotOpen, elsewhere.open, sealed)
        self.assertIn("no key in", str(error))
        for text in ("", "n0nsense", sealed[:-4] + "AAAA"):
            self.assertRaises(sealing.CannotOpen, self.sealer.open, text)

    def test_a_directory_that_is_gone_opens_nothing(self) -> None:
        missing = sealing.Sealer(self.directory)
        self.assertRaises(sealing.CannotOpen, missing.open, "sealed")

    def test_a_fingerprint_tells_nothing_of_a_key(self) -> None:
        self.sealer.seal(TOKEN)
        primary, staged = self.sealer.fingerprints()
        self.assertNotEqual(primary, staged)
        for number in ("0", "1"):
            key = (self.directory / number).read_text()
            self.assertNotIn(primary, key)
            self.assertNotIn(staged, key)


class TestDirectory(SealingTestCase):
    def test_it_is_for_its_user_and_group(self) -> None:
        old = os.umask(0)
        self.addCleanup(os.umask, old)
        self.sealer.seal(TOKEN)
        for path in (self.directory, *self.directory.iterdir()):
            self.assertEqual(0, path.stat().st_mode & stat.S_IRWXO)
        self.sealer.check()

    def test_only_the_first_of_many_makes_it(self) -> None:
        barrier = threading.Barrier(8)
        sealed: list[str] = []

        def seal() -> None:
            barrier.wait(10)
            sealed.append(
                sealing.Sealer(self.directory, make=True).seal(TOKEN)
            )

        threads = [threading.Thread(target=seal) for _each in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        self.assertEqual([TOKEN] * 8, [self.sealer.open(s) for s in sealed])
        self.assertEqual([self.directory], [p for p in self.state.iterdir()])

    def test_it_cannot_be_made(self) -> None:
        sealer = sealing.Sealer(self.state / "no" / "such" / "keys", make=True)
        error = self.assertRaises(sealing.KeysUnusable, sealer.seal, TOKEN)
        self.assertIn("cannot be made", str(error))

    def test_mistakes_are_found_at_the_start(self) -> None:
        self.assert_unusable(str(self.directory), "No such file")
        self.directory.mkdir(mode=0o750)
        self.assert_unusable("no key is there", "delegation rotate")
        (self.directory / "1").write_text("n0 key")
        self.assert_unusable("holds no key")
        (self.directory / "1").write_bytes(fernet.Fernet.generate_key())
        (self.directory / "1").chmod(0o644)
        self.assert_unusable("chmod o-rwx")
        (self.directory / "1").chmod(0o640)
        sealing.Sealer(self.directory).check()
        self.directory.chmod(0o755)
        self.assert_unusable("chmod o-rwx")


class TestConfiguration(SealingTestCase):
    def from_conf(self, text: str) -> sealing.Sealer | None:
        path = self.state / "test.conf"
        path.write_text(f"[DEFAULT]\nstate_path = {self.state}\n{text}")
        return sealing.Sealer.from_conf(loading.load(config_file=str(path)))

    def test_a_single_machine_needs_no_option(self) -> None:
        sealer = self.from_conf("")
        assert sealer
        sealer.check()
        self.assertEqual([self.state / "test.conf"], [*self.state.iterdir()])
        self.assertEqual(TOKEN, sealer.open(sealer.seal(TOKEN)))
        self.assertEqual(self.directory, sealer.directory)

    def test_a_cloud_has_no_keys_by_default(self) -> None:
        url = "mysql+pymysql://user:password@host/jobs"
        database = f"[database]\nconnection = {url}\n"
        self.assertIsNone(self.from_conf(database))
        sealer = self.from_conf(f"{database}[delegation]\nsealing_keys = /k\n")
        assert sealer
        self.assertEqual(pathlib.Path("/k"), sealer.directory)
        self.assertRaises(sealing.KeysUnusable, sealer.seal, TOKEN)


class TestRotation(SealingTestCase):
    def test_the_first_makes_the_keys(self) -> None:
        self.sealer.rotate(3)
        self.assertEqual({"0", "1"}, self.numbers())
        self.sealer.check()

    def test_an_empty_directory_gets_the_keys(self) -> None:
        self.directory.mkdir(mode=0o750)
        self.sealer.rotate(3)
        self.assertEqual({"0", "1"}, self.numbers())
        self.sealer.check()

    def test_the_staged_key_becomes_the_primary_one(self) -> None:
        self.sealer.rotate(3)
        _primary, staged = self.sealer.fingerprints()
        sealed = self.sealer.seal(TOKEN)
        self.sealer.rotate(3)
        self.assertEqual({"0", "1", "2"}, self.numbers())
        self.assertEqual(staged, self.sealer.fingerprints()[0])
        self.assertEqual(TOKEN, self.sealer.open(sealed))

    def test_a_node_that_is_one_rotation_behind_opens_what_is_sealed(
        self,
    ) -> None:
        self.sealer.rotate(3)
        behind = self.state / "behind"
        behind.mkdir()
        for path in self.directory.iterdir():
            (behind / path.name).write_bytes(path.read_bytes())
        self.sealer.rotate(3)
        sealed = self.sealer.seal(TOKEN)
        self.assertEqual(TOKEN, sealing.Sealer(behind).open(sealed))

    def test_the_oldest_keys_go(self) -> None:
        self.sealer.rotate(3)
        sealed = self.sealer.seal(TOKEN)
        for _time in range(3):
            self.sealer.rotate(3)
        self.assertEqual({"0", "3", "4"}, self.numbers())
        self.assertRaises(sealing.CannotOpen, self.sealer.open, sealed)

    def test_one_that_broke_off(self) -> None:
        """The staged key had been moved, and no new one was written."""
        self.sealer.rotate(3)
        sealed = self.sealer.seal(TOKEN)
        (self.directory / "0").rename(self.directory / "2")
        self.assertEqual(TOKEN, self.sealer.open(sealed))
        self.sealer.rotate(3)
        self.assertEqual({"0", "1", "2"}, self.numbers())
        self.assertEqual(TOKEN, self.sealer.open(sealed))
