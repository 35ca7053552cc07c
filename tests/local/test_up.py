"""`crosskey up`, as a user runs it."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crosskey import Client, CrosskeyError
from tests.eventually import eventually

pytestmark = pytest.mark.processes

START_SECONDS = 60.0
STOP_SECONDS = 30.0

SCHEMA = """
CREATE TABLE users (id bigint PRIMARY KEY);
COMMENT ON TABLE users IS '@shard_by id';
"""


class Up:
    """A running `crosskey up`, and what it printed until it was ready."""

    def __init__(self, folder: Path, *flags: str) -> None:
        """Start it with its data in `folder`, with one shard unless the flags say otherwise."""
        self._folder = folder
        self._printed = folder.with_suffix(".log")
        command = [sys.executable, "-m", "crosskey.cli", "up", "--data", str(folder), "--listen", "127.0.0.1:0", *flags]
        with self._printed.open("w") as printed:
            self.process = subprocess.Popen(command, stdout=printed, stderr=subprocess.STDOUT)

    @property
    def printed(self) -> str:
        """Everything that it printed so far."""
        return self._printed.read_text()

    @property
    def address(self) -> str:
        """The router's address, as printed."""
        found = re.search(r"serves on (\S+)", self.printed)
        assert found is not None, self.printed
        return found[1]

    def wait_until_ready(self) -> None:
        """Wait until it says how to stop it."""
        deadline = time.monotonic() + START_SECONDS
        while "Ctrl-C" not in self.printed:
            assert self.process.poll() is None, self.printed
            assert time.monotonic() < deadline, self.printed
            time.sleep(0.05)

    def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> int:
        """Stop it, and return its exit code."""
        self.process.send_signal(with_signal)
        return self.process.wait(STOP_SECONDS)

    def pid_of(self, word: str) -> int:
        """The child process that has the word in its command line."""
        [found] = [int(child.name) for child in self.children() if word in (child / "cmdline").read_text()]
        return found

    def children(self) -> list[Path]:
        """Return the /proc folders of its child processes, but for the one that ends them if it is killed."""
        pid = self.process.pid
        pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        folders = [Path("/proc") / child for child in pids]
        return [folder for folder in folders if "guardian" not in (folder / "cmdline").read_text()]


@contextmanager
def started_up(folder: Path, *flags: str) -> Iterator[Up]:
    """A `crosskey up` that has just been started; stopped at the end if it still runs."""
    up = Up(folder, *flags)
    try:
        yield up
    finally:
        if up.process.poll() is None:
            up.stop()


@contextmanager
def running_up(folder: Path, *flags: str) -> Iterator[Up]:
    """A `crosskey up` that is ready; stopped at the end if it still runs."""
    with started_up(folder, *flags) as up:
        up.wait_until_ready()
        yield up


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    file = tmp_path / "schema.sql"
    file.write_text(SCHEMA)
    return file


@pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything_with_exit_code_0(tmp_path: Path, with_signal: signal.Signals) -> None:
    with running_up(tmp_path / "data", "--shards", "1") as up:
        children = up.children()
        assert len(children) == len({"postgres", "node", "router"})
        assert up.stop(with_signal) == 0
        assert not any(child.exists() for child in children)


def test_data_survives_a_restart_and_pins_the_number_of_shards(tmp_path: Path, schema: Path) -> None:
    flags = ("--shards", "2", "--schema", str(schema))
    with running_up(tmp_path / "data", *flags) as up, Client(up.address) as client:
        client.insert("users", [{"id": 1}, {"id": 2}])
    with running_up(tmp_path / "data", *flags) as up, Client(up.address) as client:
        assert client.count("users") == 2
    with started_up(tmp_path / "data", "--shards", "3") as other:
        assert other.process.wait(START_SECONDS) == 1
    assert "is of 2 shards, not 3" in other.printed


def test_the_printed_grpcurl_lines_work(tmp_path: Path, schema: Path) -> None:
    with running_up(tmp_path / "data", "--shards", "1", "--schema", str(schema)) as up:
        lines = [line for line in up.printed.splitlines() if line.startswith("  ") and "/grpcurl -plaintext" in line]
        answers = [
            subprocess.run(shlex.split(line), capture_output=True, text=True, check=True).stdout for line in lines
        ]
    assert "crosskey.v1.Router" in answers[0]
    assert '"shard_key": "id"' in answers[1]
    assert len(answers) == 3


def test_a_refused_schema_stops_everything_with_exit_code_1(tmp_path: Path) -> None:
    refused = tmp_path / "refused.sql"
    refused.write_text("CREATE TABLE nowhere (id int);")
    with started_up(tmp_path / "data", "--shards", "1", "--schema", str(refused)) as up:
        assert up.process.wait(START_SECONDS) == 1
    assert "nowhere" in up.printed
    assert "Traceback" not in up.printed
    assert list(tmp_path.rglob("postmaster.pid")) == []


def test_a_process_that_ends_by_itself_stops_everything_and_shows_its_log(tmp_path: Path) -> None:
    with running_up(tmp_path / "data", "--shards", "1") as up:
        children = up.children()
        os.kill(up.pid_of("shard_node"), signal.SIGTERM)
        assert up.process.wait(STOP_SECONDS) == 1
        assert "node-0 ended with exit code 0" in up.printed
        assert not any(child.exists() for child in children)


@pytest.mark.parametrize("word", ["shard_node", "router", "postgres"])
def test_a_process_that_is_killed_is_started_again(tmp_path: Path, schema: Path, word: str) -> None:
    flags = ("--shards", "1", "--schema", str(schema))
    with running_up(tmp_path / "data", *flags) as up, Client(up.address) as client:
        client.insert("users", {"id": 1})
        os.kill(up.pid_of(word), signal.SIGKILL)

        def answers() -> bool:
            try:
                return client.count("users") == 1
            except CrosskeyError:
                return False

        eventually(lambda: "was killed; it is started again." in up.printed, "it is said")
        eventually(answers, "the cluster answers again")


def test_a_taken_port_is_refused(tmp_path: Path) -> None:
    with (
        running_up(tmp_path / "one", "--shards", "1") as up,
        started_up(tmp_path / "other", "--shards", "1", "--listen", up.address) as other,
    ):
        assert other.process.wait(START_SECONDS) == 1
        assert f"cannot listen on {up.address}" in other.printed
