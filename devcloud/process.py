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

"""Child processes that never outlive the tests that started them."""

import collections
import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence

import fixtures

import devcloud
from devcloud import reaper

_TAIL_LINES = 40
# Variables that could direct a child's connections to other machines.
_FOREIGN_PREFIXES = ("OS_", "KEYSTONE_", "GLANCE_", "UWSGI_")
_PROXY_NAMES = ("http_proxy", "https_proxy", "all_proxy")


class ProcessError(Exception):
    """A child process could not be started, failed, or took too long."""


def tail(path: pathlib.Path, lines: int = _TAIL_LINES) -> str:
    """Return the last lines of a log, or a note that it is empty."""
    try:
        with path.open(errors="replace") as log:
            text = "".join(collections.deque(log, lines))
    except FileNotFoundError:
        text = ""
    return text or "(nothing was logged)"


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without cloud and proxy settings."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_FOREIGN_PREFIXES)
        and name.lower() not in _PROXY_NAMES
    }
    return {**kept, "no_proxy": "127.0.0.1", **(extra or {})}


def script(name: str) -> str:
    """Return the path of a console script beside the running interpreter.

    :raises ProcessError: when no such script is installed
    """
    path = pathlib.Path(sys.prefix, "bin", name)
    if not path.exists():
        raise ProcessError(f"{path} is missing; is its package installed?")
    return str(path)


def python_module(name: str) -> list[str]:
    """Return the command that runs a module of the test cloud.

    A child does not run in the repository's root, so the command gives Python
    its path.
    """
    path = f"PYTHONPATH={devcloud.ROOT}"
    return ["env", path, sys.executable, "-m", name]


class Process:
    """A child process with a process group of its own."""

    def __init__(
        self,
        name: str,
        child: subprocess.Popen[bytes],
        log_path: pathlib.Path,
    ) -> None:
        self.name = name
        self.log_path = log_path
        self._child = child

    @property
    def pid(self) -> int:
        """The process id; it is the id of its group as well."""
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, or minus a signal's number; None while it runs."""
        return self._child.poll()

    @property
    def running(self) -> bool:
        """Whether the process has not ended yet."""
        return self.returncode is None

    def send_signal(self, number: int) -> None:
        """Send a signal to the process alone, if it still runs."""
        self._child.send_signal(number)

    def wait_until(
        self, holds: Callable[[], bool], timeout: float = 60.0
    ) -> None:
        """Wait until a condition holds, such as that a server listens.

        :param timeout: seconds
        :raises ProcessError: when the process ends, or it takes longer
        """
        deadline = time.monotonic() + timeout
        while not holds():
            if not self.running or time.monotonic() > deadline:
                raise ProcessError(self.ending())
            time.sleep(0.05)

    def terminate(self) -> None:
        """Send SIGTERM to the process, as an operator does."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the process and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def wait(self, timeout: float = 30.0) -> int:
        """Wait for the end; return the exit status.

        :param timeout: seconds
        :raises ProcessError: when the process still runs by then
        """
        try:
            return self._child.wait(timeout)
        except subprocess.TimeoutExpired as exc:
            raise ProcessError(
                f"{self.name} still runs after {timeout:g} s; {self.ending()}"
            ) from exc

    def stop(self, timeout: float = 10.0) -> None:
        """Send SIGTERM, then SIGKILL; no process of the group is left.

        :param timeout: seconds between the two signals
        """
        self.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(timeout)
        self.kill()
        self._child.wait()

    def log_tail(self, lines: int = _TAIL_LINES) -> str:
        """Return the last lines that the process logged."""
        return tail(self.log_path, lines)

    def ending(self) -> str:
        """Describe the state of the process, with the end of its log."""
        state = "running" if self.running else f"exit {self.returncode}"
        return f"{self.name} ({state}) logged last:\n{self.log_tail()}"


class Supervisor(fixtures.Fixture):
    """Starts child processes, and ensures that none is left.

    The clean-up stops them all. If this process dies before that, another
    program (reaper.py) stops them and removes ``directory``.

    :param directory: for the logs, one file per name
    :param keep_directory: whether the directory is kept after a crash
    """

    def __init__(
        self, directory: pathlib.Path, keep_directory: bool = False
    ) -> None:
        super().__init__()
        self.directory = directory
        self._doomed = [] if keep_directory else [str(directory)]

    def _setUp(self) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._processes: list[Process] = []
        self._reaper = subprocess.Popen(
            [sys.executable, "-I", "-S", reaper.__file__, *self._doomed],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.addCleanup(self._dismiss_reaper)
        self.addCleanup(self.stop_all)

    def _dismiss_reaper(self) -> None:
        assert self._reaper.stdin is not None
        self._reaper.stdin.close()
        self._reaper.wait()

    def _tell_reaper(self, line: str) -> None:
        assert self._reaper.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._reaper.stdin.write(f"{line}\n")
            self._reaper.stdin.flush()

    def spawn(
        self,
        name: str,
        command: Sequence[str],
        extra_env: Mapping[str, str] | None = None,
        pass_fds: Collection[int] = (),
    ) -> Process:
        """Start a child in a session of its own, which Ctrl-C does not reach.

        :param name: names the process in messages, and its log
        :param extra_env: variables in addition to :func:`environment`
        :param pass_fds: descriptors that the child inherits
        :raises ProcessError: when the supervisor was stopped already
        """
        log_path = self.directory / f"{name}.log"
        with self._lock, log_path.open("ab") as log:
            if self._closed:
                raise ProcessError(f"{name} not started: all is stopping")
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(extra_env),
                cwd=self.directory,
                pass_fds=tuple(pass_fds),
                start_new_session=True,
            )
            process = Process(name, child, log_path)
            self._processes.append(process)
            self._tell_reaper(f"+{child.pid}")
        return process

    def run(
        self,
        name: str,
        command: Sequence[str],
        extra_env: Mapping[str, str] | None = None,
        timeout: float = 120.0,
    ) -> None:
        """Run a command to its end.

        :param timeout: seconds
        :raises ProcessError: when it fails or takes longer than that
        """
        process = self.spawn(name, command, extra_env)
        try:
            status = process.wait(timeout)
        finally:
            self.stop(process)
        if status:
            raise ProcessError(process.ending())

    def stop(self, process: Process, timeout: float = 10.0) -> None:
        """Stop one child and forget it.

        :param timeout: seconds between SIGTERM and SIGKILL
        """
        process.stop(timeout)
        with self._lock:
            if process in self._processes:
                self._processes.remove(process)
                self._tell_reaper(f"-{process.pid}")

    def stop_all(self) -> None:
        """Stop all children, the youngest first; allow no further one."""
        with self._lock:
            self._closed = True
            processes = self._processes[::-1]
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + reaper.GRACE
        for process in processes:
            self.stop(process, max(deadline - time.monotonic(), 0.1))


@contextlib.contextmanager
def report_on(process: Process) -> Iterator[None]:
    """Add the end of a process's log to errors of connections to it."""
    try:
        yield
    except OSError as exc:
        # A dying process closes its sockets a moment before it ends.
        with contextlib.suppress(ProcessError):
            process.wait(1.0)
        raise ProcessError(
            f"{process.name} cannot be reached ({exc}); {process.ending()}"
        ) from exc
