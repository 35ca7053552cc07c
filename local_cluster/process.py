"""One child process with a log file: start it, stop it, and say what it said last."""

import os
import signal
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from crosskey.local_cluster.cluster_error import ClusterError
from crosskey.local_cluster.guardian import guard, release

TAIL_LINES = 30


class ProcessDiedError(ClusterError):
    """A child process ended although nobody asked it to."""


def environment_without_postgres() -> dict[str, str]:
    """Return the environment without PGPORT and the like: PostgreSQL's programs would take them for settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


@dataclass(kw_only=True)
class ChildProcess:
    """A command that runs in the background and writes to a log file.

    It has a session of its own, so that Ctrl-C in the terminal reaches only its parent, which stops its children in
    the right order. If the parent is killed, a guardian ends it, first by `parting_signal`.
    """

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    parting_signal: signal.Signals = signal.SIGTERM
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)

    @property
    def pid(self) -> int:
        """The process's id; RuntimeError if it was never started."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs or before it was started."""
        return None if self._process is None else self._process.poll()

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the command; RuntimeError if it runs already."""
        if self.running:
            raise RuntimeError(f"{self.name} runs already")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={**environment_without_postgres(), **self.environment},
                user=self.user,
                group=self.user,
                extra_groups=None if self.user is None else [],
                start_new_session=True,
            )
        guard(self._process.pid, self.parting_signal)

    def check_running(self) -> None:
        """Raise ProcessDiedError with the end of the log if the process is not running."""
        if not self.running:
            raise ProcessDiedError(f"{self.name} ended with exit code {self.exit_code}; {self.log}:\n{self.log_tail()}")

    def stop(self, grace_seconds: float, with_signal: signal.Signals = signal.SIGTERM) -> None:
        """Ask the process to end, and kill it if it still runs after `grace_seconds`."""
        self.send_signal(with_signal)
        self.wait_or_kill(grace_seconds)

    def send_signal(self, number: signal.Signals) -> None:
        """Send the process a signal, if it runs."""
        if self._process is not None:
            self._process.send_signal(number)

    def wait_or_kill(self, grace_seconds: float) -> None:
        """Wait until the process has ended, and kill it if it still runs after `grace_seconds`."""
        if self._process is None:
            return
        try:
            self._process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        release(self._process.pid)

    def kill(self) -> None:
        """End the process at once, as a crash would, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            release(self._process.pid)

    def log_tail(self) -> str:
        """Return the last lines of the log."""
        with self.log.open(errors="replace") as lines:
            return "".join(deque(lines, TAIL_LINES))


def stop_processes(processes: Sequence[ChildProcess], grace_seconds: float) -> None:
    """Stop processes side by side: ask all, then wait for each until the grace is over.

    Each is asked once: a second signal would end one that has drained and is about to exit.
    """
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        process.wait_or_kill(grace_seconds)
