"""Ends the processes of one that was killed: they have sessions of their own, and would go on without it.

A guardian is a process that reads from a pipe, which ends with whoever holds the other end, however that ends. Until
then it is told which processes there are. Run as a script, since it needs nothing but the standard library.
"""

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

GRACE_SECONDS = 10.0
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class _Guardian:
    """The process, the writing end of its pipe, and whom it guards."""

    pid: int
    pipe: int
    guarded: set[int]


_guardians: dict[int, _Guardian] = {}
"""By the process that has it: one that was forked has none yet."""

_lock = threading.Lock()


def guard(pid: int, with_signal: signal.Signals) -> None:
    """Have a process ended, first by that signal, when this one is gone."""
    own = os.getpid()
    with _lock:
        if own not in _guardians:
            _guardians[own] = _spawn()
        _guardians[own].guarded.add(pid)
        _tell(_guardians[own], f"+ {pid} {with_signal.value}\n")


def release(pid: int) -> None:
    """Let a process be: it has ended. With the last one the guardian goes."""
    own = os.getpid()
    with _lock:
        guardian = _guardians.get(own)
        if guardian is None or pid not in guardian.guarded:
            return
        guardian.guarded.discard(pid)
        _tell(guardian, f"- {pid}\n")
        if not guardian.guarded:
            os.close(guardian.pipe)
            with suppress(ChildProcessError):
                os.waitpid(guardian.pid, 0)
            del _guardians[own]


def _tell(guardian: _Guardian, line: str) -> None:
    # A line is shorter than what a pipe takes at once. A guardian that was killed guards nothing.
    with suppress(BrokenPipeError):
        os.write(guardian.pipe, line.encode())


def _spawn() -> _Guardian:
    reading, writing = os.pipe()
    try:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", str(Path(__file__).resolve())],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, reading, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
            setsid=True,
        )
    finally:
        os.close(reading)
    return _Guardian(pid, writing, set())


def _stand_guard() -> None:
    guarded: dict[int, tuple[int, str]] = {}
    for line in sys.stdin:
        sign, pid, *number = line.split()
        guarded.pop(int(pid), None)
        if sign == "+":
            guarded[int(pid)] = (int(number[0]), _beginning(int(pid)))
    _end({pid: each for pid, each in guarded.items() if _is_there(pid, each[1])})


def _end(processes: dict[int, tuple[int, str]]) -> None:
    for pid, (number, _) in processes.items():
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    deadline = time.monotonic() + GRACE_SECONDS
    while any(_is_there(pid, began) for pid, (_, began) in processes.items()):
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_SECONDS)
    for pid, (_, began) in processes.items():
        if _is_there(pid, began):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _is_there(pid: int, began: str) -> bool:
    """Whether it is that very process; numbers are given again."""
    return bool(began) and _beginning(pid) == began


def _beginning(pid: int) -> str:
    """When the process began, as the kernel counts; empty if there is none."""
    try:
        # Its name, in parentheses, may have spaces.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


if __name__ == "__main__":
    # Whoever ends a whole group of processes does not mean this one.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _stand_guard()
