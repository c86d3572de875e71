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

"""A node of a Galera cluster: a MariaDB with Galera in it."""

import dataclasses
import os
import pathlib
import pwd
import re
import shutil
import signal
import time
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Final

import pymysql

from devcloud import mariadb
from devcloud import ports
from devcloud import process
from devcloud import programs

#: The nodes' user where we are root: as root, rsync transfers no state.
_USER: Final = "mysql"
_PROVIDERS: Final = (
    pathlib.Path("/usr/lib/galera"),
    pathlib.Path("/usr/lib64/galera-4"),
)
_PATIENCE: Final = 60.0  # seconds for a node to be expelled, or to rejoin
_LOOK: Final = 0.05  # seconds between two looks

#: Galera's defaults are several times as long, for networks that lose more.
_PROVIDER_OPTIONS: Final = {
    "gcache.size": "16M",
    "evs.keepalive_period": "PT0.5S",
    "evs.inactive_check_period": "PT0.5S",
    "evs.suspect_timeout": "PT3S",
    "evs.inactive_timeout": "PT6S",
}

_RECOVERED: Final = re.compile(r"Recovered position: *(\S+)")


@dataclasses.dataclass(frozen=True)
class Ports:
    """The ports by which a node talks to the other nodes.

    :ivar group: for what the cluster commits
    :ivar increment: to receive what a node missed
    :ivar snapshot: to receive all data
    """

    group: int
    increment: int
    snapshot: int


class Node(mariadb.MariaDB):
    """One node of a cluster.

    :param number: from 1
    :param own: the ports of this node
    :param group: the group ports of all nodes
    """

    def __init__(
        self,
        number: int,
        own: Ports,
        group: Sequence[int],
    ) -> None:
        super().__init__()
        self.number = number
        self._own = own
        self._group = group
        self._variables: Mapping[str, str] = {}
        self._forms_cluster = number == 1

    # What a server of its kind is asked for.

    def _find_programs(self) -> None:
        super()._find_programs()
        self._provider = _find_provider()
        self._prefix = _as_user() if os.geteuid() == 0 else []

    def _make_data(self) -> None:
        data = self.directory / "data"
        if self._forms_cluster:
            super()._make_data()
        else:
            data.mkdir()
        if self._prefix:
            self.directory.chmod(0o755)
            for path in (data, *data.rglob("*")):
                shutil.chown(path, _USER, pwd.getpwnam(_USER).pw_gid)

    def _command(self) -> list[str]:
        own, host = self._own, ports.HOST
        peers = ",".join(f"{host}:{port}" for port in self._group)
        provider_options = {
            "gmcast.listen_addr": f"tcp://{host}:{own.group}",
            "ist.recv_addr": f"{host}:{own.increment}",
            **_PROVIDER_OPTIONS,
        }
        options = {
            "server-id": self.number,
            "socket": f"{self.directory}/data/socket",
            "pid-file": f"{self.directory}/data/pid",
            "binlog-format": "ROW",
            "default-time-zone": "+00:00",
            # Else only an administrator may create a trigger.
            "log-bin-trust-function-creators": 1,
            "innodb-autoinc-lock-mode": 2,
            "wsrep-on": "ON",
            "wsrep-provider": self._provider,
            "wsrep-cluster-name": "image-replicator",
            "wsrep-cluster-address": f"gcomm://{peers}",
            "wsrep-node-name": f"node-{self.number}",
            "wsrep-node-address": f"{host}:{own.group}",
            "wsrep-sst-method": "rsync",
            "wsrep-sst-receive-address": f"{host}:{own.snapshot}",
            "wsrep-slave-threads": 2,
            "wsrep-provider-options": ";".join(
                f"{name}={value}" for name, value in provider_options.items()
            ),
        }
        return [
            *self._prefix,
            "env",
            *(f"{name}={value}" for name, value in self._variables.items()),
            *super()._command(),
            *(f"--{name}={value}" for name, value in options.items()),
            *self._start_options(),
        ]

    def _start_options(self) -> list[str]:
        """Return how this start differs from others."""
        if self._forms_cluster:
            return ["--wsrep-new-cluster"]
        if self._recovered:
            return [f"--wsrep-start-position={self._recovered}"]
        return []

    # What befalls a node.

    def start(self, forms_cluster: bool | None = None) -> None:
        """Start the node and wait until it serves.

        :param forms_cluster: whether it forms a new one with what it has;
            None for the first node's first start
        :raises process.ProcessError: with the end of its log, when it cannot
        """
        if forms_cluster is not None:
            self._forms_cluster = forms_cluster
        self._recovered = self._recover()
        super().start()
        self._forms_cluster = False

    def _recover(self) -> str | None:
        """Find out where a node that crashed stood, as Debian's unit does.

        Without that it would receive all data anew.
        """
        if "seqno:   -1" not in self._state():
            return None
        log = self.directory / "recovery.log"
        log.unlink(missing_ok=True)
        command = [*self._command(), "--wsrep-recover"]
        self._supervisor.run("recovery", command)
        found = _RECOVERED.findall(log.read_text(errors="replace"))
        return found[-1] if found else None

    def _state(self) -> str:
        """Return what Galera keeps of where the node stood."""
        path = self.directory / "data" / "grastate.dat"
        return path.read_text() if path.exists() else ""

    @property
    def stopped_last(self) -> bool:
        """Whether no other node of the cluster can know more."""
        return "safe_to_bootstrap: 1" in self._state()

    def stop(self, kill: bool = False) -> None:
        self.resume()
        super().stop(kill)

    def set_clock(self, seconds: float) -> None:
        """Restart the node with a clock that is ahead of the machine's.

        :param seconds: negative for one that is behind, 0 for the right time
        """
        self.stop()
        self._variables = {}
        if seconds:
            self._variables = {
                "LD_PRELOAD": _find_faketime(),
                "FAKETIME": f"{seconds:+g}",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
        self.start()

    def halt(self) -> None:
        """Let the node stand still, its connections open: SIGSTOP."""
        if self._process:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a halted node go on."""
        if self._process:
            self._process.send_signal(signal.SIGCONT)

    def cut_off(self) -> None:
        """Let the node and the others hear nothing of each other.

        Its users reach it, and are told that it serves nobody.
        """
        self._set_isolated(1)

    def reconnect(self) -> None:
        """Let a node that was cut off rejoin."""
        self._set_isolated(0)

    def _set_isolated(self, isolated: int) -> None:
        self.tell(
            f"SET GLOBAL wsrep_provider_options='gmcast.isolate={isolated}'"
        )

    def status(self, name: str) -> str:
        """Return one of ``SHOW STATUS``'s values, from any node that runs."""
        rows = self.tell(f"SHOW GLOBAL STATUS LIKE '{name}'")
        return str(rows[0][1])

    def drop_database(self, name: str) -> None:
        """Drop a database and its owner."""
        self._execute(
            f"DROP DATABASE `{name}`", f"DROP USER `{name}`@`{ports.HOST}`"
        )

    @property
    def serves(self) -> bool:
        """Whether the node belongs to the part that has the majority."""
        try:
            return self.status("wsrep_ready") == "ON"
        except pymysql.OperationalError:
            return False

    def wait_until_serves(self, serves: bool) -> None:
        """Wait until the node serves, or no longer does.

        :raises process.ProcessError: with the end of its log, when it takes
            too long
        """
        deadline = time.monotonic() + _PATIENCE
        while self.serves is not serves:
            if time.monotonic() > deadline:
                raise process.ProcessError(self.log_tail())
            time.sleep(_LOOK)

    def log_tail(self) -> str:
        """Return how the node's process stands, and what it logged last."""
        return self._process.ending() if self._process else "not running"

    def tell(self, statement: str) -> Any:
        """Run a statement as administrator; return its rows.

        Other than through SQLAlchemy, a node that has lost the others takes
        what it can do alone.
        """
        with (
            pymysql.connect(
                host=ports.HOST, port=self.port, user=self.administrator
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)
            return cursor.fetchall()


def require_programs() -> None:
    """See whether a cluster can be started.

    :raises unittest.SkipTest: when it cannot, in CI AssertionError
    """
    for program in ("mariadbd", "mariadb-install-db", "rsync"):
        programs.find(program)
    _find_provider()


def require_faketime() -> None:
    """See whether a node's clock can be set.

    :raises unittest.SkipTest: when it cannot, in CI AssertionError
    """
    _find_faketime()


def _find_faketime() -> str:
    """Return the path of the library that gives a process another clock.

    :raises unittest.SkipTest: when it is not there, in CI AssertionError
    """
    # There is a directory for each architecture.
    places = sorted(pathlib.Path("/usr/lib").glob("*/faketime"))
    return programs.find("libfaketimeMT.so.1", places, os.R_OK)


def _find_provider() -> str:
    """Return the path of Galera itself, which a server loads."""
    return programs.find("libgalera_smm.so", _PROVIDERS, os.R_OK)


def _as_user() -> list[str]:
    """Return the words before a command that let an ordinary user run it."""
    return [
        programs.find("setpriv"),
        f"--reuid={_USER}",
        f"--regid={_USER}",
        "--init-groups",
    ]
