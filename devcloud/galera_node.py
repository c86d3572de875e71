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

"""A node of a Galera cluster: a MariaDB that loads Galera."""

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

#: The nodes' user if we are root, as rsync transfers no state as root.
_USER: Final = "mysql"
_PROVIDERS: Final = (
    pathlib.Path("/usr/lib/galera"),
    pathlib.Path("/usr/lib64/galera-4"),
)
_PATIENCE: Final = 60.0  # seconds for a node to be expelled, or to rejoin
_LOOK: Final = 0.05  # seconds between two looks

#: Galera's defaults are several times as long, for networks that lose packets.
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

    :ivar group: for the cluster's commits
    :ivar increment: to receive the commits that a node missed
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

    # The methods of a database server

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
        """Return the options of this start alone."""
        if self._forms_cluster:
            return ["--wsrep-new-cluster"]
        if self._recovered:
            return [f"--wsrep-start-position={self._recovered}"]
        return []

    # Failures of a node

    def start(self, forms_cluster: bool | None = None) -> None:
        """Start the node and wait until it serves.

        :param forms_cluster: whether the node forms a new cluster with its
            data; None for the first start of the first node
        :raises process.ProcessError: with the end of its log, when it cannot
        """
        if forms_cluster is not None:
            self._forms_cluster = forms_cluster
        self._recovered = self._recover()
        super().start()
        self._forms_cluster = False

    def _recover(self) -> str | None:
        """Find the last commit of a node that crashed, as Debian's unit does.

        Without it the node would receive all data again.
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
        """Return the node's saved state."""
        path = self.directory / "data" / "grastate.dat"
        return path.read_text() if path.exists() else ""

    @property
    def stopped_last(self) -> bool:
        """Whether no other node can have later commits."""
        return "safe_to_bootstrap: 1" in self._state()

    def stop(self, kill: bool = False) -> None:
        self.resume()
        super().stop(kill)

    def set_clock(self, seconds: float) -> None:
        """Restart the node with a clock ahead of the machine's.

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
        """Halt the node with SIGSTOP; its connections stay open."""
        if self._process:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume a halted node."""
        if self._process:
            self._process.send_signal(signal.SIGCONT)

    def cut_off(self) -> None:
        """Cut the node off from the other nodes.

        Clients still reach it, and get the error that it does not serve.
        """
        self._set_isolated(1)

    def reconnect(self) -> None:
        """Let a node that was cut off rejoin the cluster."""
        self._set_isolated(0)

    def _set_isolated(self, isolated: int) -> None:
        self.tell(
            f"SET GLOBAL wsrep_provider_options='gmcast.isolate={isolated}'"
        )

    def status(self, name: str) -> str:
        """Return a value of ``SHOW STATUS``; any running node answers."""
        rows = self.tell(f"SHOW GLOBAL STATUS LIKE '{name}'")
        return str(rows[0][1])

    def drop_database(self, name: str) -> None:
        """Drop a database and its owner."""
        self._execute(
            f"DROP DATABASE `{name}`", f"DROP USER `{name}`@`{ports.HOST}`"
        )

    @property
    def serves(self) -> bool:
        """Whether the node belongs to the part with the majority."""
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
        """Return the state of the node's process, and the end of its log."""
        return self._process.ending() if self._process else "not running"

    def tell(self, statement: str) -> Any:
        """Run a statement as administrator; return its rows.

        Unlike SQLAlchemy's, this connection also works on a node that has lost
        the others.
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
    """Check that a cluster can be started.

    :raises unittest.SkipTest: when it cannot, in CI AssertionError
    """
    for program in ("mariadbd", "mariadb-install-db", "rsync"):
        programs.find(program)
    _find_provider()


def require_faketime() -> None:
    """Check that a node's clock can be set.

    :raises unittest.SkipTest: when it cannot, in CI AssertionError
    """
    _find_faketime()


def _find_faketime() -> str:
    """Return the path of the library that gives a process another clock.

    :raises unittest.SkipTest: if it is missing; in CI AssertionError
    """
    # There is a directory for each architecture.
    places = sorted(pathlib.Path("/usr/lib").glob("*/faketime"))
    return programs.find("libfaketimeMT.so.1", places, os.R_OK)


def _find_provider() -> str:
    """Return the path of Galera's library, which a server loads."""
    return programs.find("libgalera_smm.so", _PROVIDERS, os.R_OK)


def _as_user() -> list[str]:
    """Return the prefix of a command that runs it as an ordinary user."""
    return [
        programs.find("setpriv"),
        f"--reuid={_USER}",
        f"--regid={_USER}",
        "--init-groups",
    ]
