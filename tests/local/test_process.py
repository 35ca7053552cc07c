"""Child processes: how they start, stop, and tell why they died."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from crosskey.local_cluster.process import ChildProcess, ProcessDiedError, stop_processes
from tests.eventually import eventually

pytestmark = pytest.mark.processes

START_SECONDS = 10.0
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
)
OBEDIENT = "import time; print('ready', flush=True); time.sleep(60)"


@pytest.fixture
def run_python(tmp_path: Path) -> Iterator[Callable[[str], ChildProcess]]:
    """A factory of started processes, each of which runs a piece of Python and has said "ready"."""
    processes: list[ChildProcess] = []

    def run(code: str) -> ChildProcess:
        log = tmp_path / f"{len(processes)}.log"
        processes.append(ChildProcess(name="python", command=[sys.executable, "-c", code], log=log))
        processes[-1].start()
        _wait_for_word("ready", processes[-1])
        return processes[-1]

    yield run
    for process in processes:
        process.kill()


def test_stop_ends_a_process_with_sigterm(run_python: Callable[[str], ChildProcess]) -> None:
    process = run_python(OBEDIENT)
    process.stop(grace_seconds=10)
    assert process.exit_code == -signal.SIGTERM


def test_stop_kills_a_process_that_does_not_end_in_time(run_python: Callable[[str], ChildProcess]) -> None:
    process = run_python(STUBBORN)
    process.stop(grace_seconds=0.1)
    assert process.exit_code == -signal.SIGKILL


def test_processes_that_stop_together_share_the_grace(run_python: Callable[[str], ChildProcess]) -> None:
    processes = [run_python(OBEDIENT) for _ in range(2)]
    stop_processes(processes, grace_seconds=10)
    assert [process.exit_code for process in processes] == [-signal.SIGTERM] * 2


def test_a_process_that_died_is_reported_with_the_end_of_its_log(run_python: Callable[[str], ChildProcess]) -> None:
    process = run_python("import sys; print('ready', flush=True); sys.exit('out of cheese')")
    _wait_for_word("cheese", process)
    process.kill()
    with pytest.raises(ProcessDiedError, match=r"exit code -?\d+;(.|\n)*out of cheese"):
        process.check_running()


def test_a_killed_process_can_be_started_again(run_python: Callable[[str], ChildProcess]) -> None:
    process = run_python(OBEDIENT)
    first_pid = process.pid
    process.kill()
    assert not process.running
    process.start()
    assert process.running
    assert process.pid != first_pid


def test_a_running_process_is_not_started_twice(run_python: Callable[[str], ChildProcess]) -> None:
    process = run_python(OBEDIENT)
    with pytest.raises(RuntimeError, match="runs already"):
        process.start()


PARENT = """
import os, signal, sys, time
from pathlib import Path
from crosskey.local_cluster.process import ChildProcess

def started(name, code):
    child = ChildProcess(name=name, command=[sys.executable, "-c", code], log=Path(sys.argv[1]) / name)
    child.start()
    while "ready" not in child.log_tail():
        time.sleep(0.01)
    return child

children = [started("goes on", sys.argv[2]), started("was stopped", sys.argv[2])]
children[1].stop(10)
print(*(child.pid for child in children), flush=True)
os.kill(os.getpid(), getattr(signal, sys.argv[3]))
signal.pause()
"""


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_processes_end_with_a_parent_that_was_killed(tmp_path: Path, name: str) -> None:
    parent = subprocess.run(
        [sys.executable, "-c", PARENT, tmp_path, OBEDIENT, name],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert parent.returncode == -getattr(signal, name), parent.stderr
    for pid in parent.stdout.split():
        eventually(partial(_is_gone, pid), f"process {pid} ends")


def _is_gone(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def _wait_for_word(word: str, process: ChildProcess) -> None:
    deadline = time.monotonic() + START_SECONDS
    while word not in process.log_tail():
        assert time.monotonic() < deadline, process.log_tail()
        time.sleep(0.01)
