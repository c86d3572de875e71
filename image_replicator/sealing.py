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

"""The keys that seal users' tokens, in a directory outside the database.

The directory is a key repository as Keystone's for Fernet tokens: each file is
named by a number and holds one key. ``0`` is the staged key, which is the next
primary one; the highest number is the primary key, with which tokens are
sealed; all keys open what they sealed.
See https://docs.openstack.org/keystone/latest/admin/fernet-token-faq.html
"""

import contextlib
import hashlib
import os
import pathlib
import shutil
import stat
import tempfile
from typing import Final

from cryptography import fernet
from oslo_config import cfg
from oslo_log import log as logging

from image_replicator import exception

LOG = logging.getLogger(__name__)

_STAGED: Final = 0

#: The files are for their user and group, as API and worker may run as two
#: users of one group.
_DIRECTORY_MODE: Final = 0o750
_KEY_MODE: Final = 0o640

#: The directory's name in state_path, where none is configured.
_DEFAULT_NAME: Final = "sealing-keys"

_FINGERPRINT_LENGTH: Final = 12


class CannotOpen(Exception):
    """No key of this node opens the sealed text."""


class KeysUnusable(exception.ConfigurationError):
    """The keys cannot be read or made; the message says why."""


class Sealer:
    """Seals and opens texts with the keys of a directory.

    The keys are read anew for each text: that is a file or three, and a
    rotation needs no restart.

    :param directory: of the keys.
    :param make: whether the first use makes the directory if it is missing.
    """

    def __init__(self, directory: pathlib.Path, make: bool = False) -> None:
        self.directory = directory
        self._make = make

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> "Sealer | None":
        """Return the sealer of the configured directory.

        On a single machine, which uses SQLite, the directory need not be
        configured; the first process that needs it makes it.

        :returns: None if there is to be none.
        """
        configured = conf.delegation.sealing_keys
        if configured:
            return cls(pathlib.Path(configured))
        if not conf.database.connection.startswith("sqlite:"):
            return None
        return cls(pathlib.Path(conf.state_path, _DEFAULT_NAME), make=True)

    def seal(self, text: str) -> str:
        """Return the text, sealed with the primary key.

        :raises KeysUnusable: if there is no key.
        """
        return self._fernet().encrypt(text.encode()).decode()

    def open(self, sealed: str) -> str:
        """Return a text that was sealed here or on another node.

        :raises CannotOpen: if no key opens it.
        """
        try:
            return self._fernet().decrypt(sealed.encode()).decode()
        except KeysUnusable as error:
            raise CannotOpen(str(error)) from error
        except fernet.InvalidToken as error:
            raise CannotOpen(
                f"no key in {self.directory} opens a token; copy the keys of "
                "the node that sealed it"
            ) from error

    def fingerprints(self) -> list[str]:
        """Return a name of each key, the primary key's first.

        It is the beginning of the key's SHA-256, which tells nothing of the
        key.

        :returns: nothing while the first token that makes the keys is to come.
        :raises KeysUnusable: if there is no key.
        """
        if self._is_to_be_made:
            return []
        return [
            hashlib.sha256(key.encode()).hexdigest()[:_FINGERPRINT_LENGTH]
            for key in self._keys()
        ]

    @property
    def _is_to_be_made(self) -> bool:
        return self._make and not self.directory.exists()

    def check(self) -> None:
        """Check that the keys can be used, and that nobody else reads them.

        :raises KeysUnusable: if not.
        """
        if self._is_to_be_made:
            return
        self._fernet()
        for path in (self.directory, *self._paths()):
            if path.stat().st_mode & stat.S_IRWXO:
                raise self._unusable(
                    f"others than its user and group may use {path}; take "
                    "that from them with chmod o-rwx"
                )

    def rotate(self, max_active_keys: int) -> None:
        """Make a new primary key, or the directory with its first keys.

        The staged key becomes the primary one, and a new one is staged, as
        Keystone does it. So the new primary key is on all nodes already, if
        they got a copy of the directory since the rotation before. An
        interrupted rotation leaves keys that can be used.

        :param max_active_keys: how many keys are kept: the newest.
        :raises KeysUnusable: if the keys cannot be written.
        """
        if not self.directory.exists():
            make(self.directory)
            return
        try:
            found = numbered(self.directory)
            if _STAGED in found:
                primary = max(found) + 1
                found[_STAGED].rename(self.directory / str(primary))
            _write_key(self.directory / str(_STAGED))
            found = numbered(self.directory)
            if len(found) == 1:
                # The directory was empty.
                _write_key(self.directory / "1")
            old = sorted(set(found) - {_STAGED})
            for number in old[: max(0, len(found) - max_active_keys)]:
                found[number].unlink()
        except OSError as error:
            raise self._unusable(str(error)) from error

    def _fernet(self) -> fernet.MultiFernet:
        try:
            return fernet.MultiFernet(
                [fernet.Fernet(key) for key in self._keys()]
            )
        except ValueError as error:
            raise self._unusable("a file holds no key") from error

    def _keys(self) -> list[str]:
        """Return the keys, the primary one first."""
        if self._is_to_be_made:
            make(self.directory)
        try:
            return [path.read_text().strip() for path in self._paths()]
        except FileNotFoundError:
            # A rotation has just removed the oldest one.
            return [path.read_text().strip() for path in self._paths()]
        except (OSError, UnicodeDecodeError) as error:
            raise self._unusable(str(error)) from error

    def _paths(self) -> list[pathlib.Path]:
        try:
            found = numbered(self.directory)
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from error
        if not found:
            raise self._unusable(
                "no key is there; 'image-replicator-manage delegation rotate' "
                "makes one"
            )
        return [found[number] for number in sorted(found, reverse=True)]

    def _unusable(self, reason: str) -> KeysUnusable:
        return KeysUnusable(
            f"[delegation] sealing_keys: {self.directory}: {reason}"
        )


def check(conf: cfg.ConfigOpts) -> None:
    """Check the configured keys, so that a mistake is found at the start.

    :raises KeysUnusable: if they cannot be used.
    """
    sealer = Sealer.from_conf(conf)
    if sealer:
        sealer.check()


def numbered(directory: pathlib.Path) -> dict[int, pathlib.Path]:
    """Return the files of keys by their number.

    :raises OSError: if the directory cannot be read.
    """
    return {
        int(path.name): path
        for path in directory.iterdir()
        if path.name.isdecimal()
    }


def make(directory: pathlib.Path) -> None:
    """Make the directory with a staged and a primary key.

    If two processes do it at once, the keys of one of them remain.

    :raises KeysUnusable: if it cannot be made.
    """
    try:
        directory.parent.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)
        made = pathlib.Path(
            tempfile.mkdtemp(prefix=".sealing-keys-", dir=directory.parent)
        )
    except OSError as error:
        raise KeysUnusable(
            f"[delegation] sealing_keys: {directory} cannot be made: {error}"
        ) from error
    try:
        made.chmod(_DIRECTORY_MODE)
        for number in (_STAGED, 1):
            _write_key(made / str(number))
        # It fails if another process was first, as that one is not empty.
        with contextlib.suppress(FileExistsError, OSError):
            made.rename(directory)
            LOG.info("Made the sealing keys in %s", directory)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _write_key(path: pathlib.Path) -> None:
    """Write a new key; it is never seen half written."""
    descriptor, name = tempfile.mkstemp(prefix=".key-", dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(fernet.Fernet.generate_key())
        file.flush()
        os.fsync(file.fileno())
    os.chmod(name, _KEY_MODE)
    os.rename(name, path)
