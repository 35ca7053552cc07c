"""Child processes: how they start, stop, and tell why they died."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crosskey.local_cluster.process import ChildProcess, ProcessDiedError, stop_processes

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


def _wait_for_word(word: str, process: ChildProcess) -> None:
    deadline = time.monotonic() + START_SECONDS
    while word not in process.log_tail():
        assert time.monotonic() < deadline, process.log_tail()
        time.sleep(0.01)
