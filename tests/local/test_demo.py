"""`crosskey demo`, as a user runs it: what it shows, how it exits, and that nothing is left of it."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crosskey.cli.demo.stage import StoryWentWrong, expect

pytestmark = pytest.mark.processes

DEMO_SECONDS = 60.0
STOP_SECONDS = 30.0
MARK = "CROSSKEY_TEST_MARK"

TOLD = [
    # The characters, on their shards.
    "77 users",
    "508 follows",
    "77 users_accounts",
    # A username that is taken on another shard.
    'ALREADY_EXISTS: duplicate key value violates unique constraint "accounts_username_key"',
    # The first reference pins the parent on its shard; a later one is one call to one node.
    "calls to nodes: s1 Run, s2 Run\n",
    "calls to nodes: s2 Run\n",
    'FAILED_PRECONDITION: insert or update on table "follows" violates foreign key constraint',
    '"constraint": "follows_followee_id_fkey"',
    "RESTRICT_VIOLATION",
    '"constraint": "messages_sender_id_fkey"',
    # Javert's follows go from every shard, and his inbox from his own.
    "shard 0  25 → 25  144 → 140   25 → 25",
    "shard 1  26 → 25  187 → 164   25 → 24",
    "shard 2  27 → 27  179 → 172   27 → 27",
    '{"count": "0"}',
    "nothing found: every child has its parent",
]


class Demo:
    """A running `crosskey demo` with a temporary folder of its own."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        """Start it."""
        self._temporary = folder / "tmp"
        self._temporary.mkdir()
        self._printed = folder / "printed.log"
        self._mark = uuid.uuid4().hex
        with self._printed.open("w") as printed:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "crosskey.cli", "demo"],
                stdout=printed,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    "TMPDIR": str(self._temporary),
                    "PYTHONUNBUFFERED": "1",
                    MARK: self._mark,
                    **environment,
                },
            )

    @property
    def printed(self) -> str:
        """Everything that it printed so far."""
        return self._printed.read_text()

    def wait(self) -> int:
        """Wait for its end, and return its exit code."""
        return self.process.wait(DEMO_SECONDS)

    def wait_until_printed(self, text: str) -> None:
        """Wait until it has printed that."""
        deadline = time.monotonic() + DEMO_SECONDS
        while text not in self.printed:
            assert self.process.poll() is None, self.printed
            assert time.monotonic() < deadline, self.printed
            time.sleep(0.02)

    def left_running(self) -> list[Path]:
        """Return the processes that it started, by the mark in their environment."""
        return [process for process in Path("/proc").glob("[0-9]*") if self._is_ours(process)]

    def left_on_disk(self) -> list[Path]:
        """Return what is in its temporary folder."""
        return list(self._temporary.iterdir())

    def _is_ours(self, process: Path) -> bool:
        try:
            return f"{MARK}={self._mark}".encode() in (process / "environ").read_bytes()
        except OSError:
            return False


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that is not pytest's: each pytest that starts closes those of all others to PostgreSQL's user."""
    with tempfile.TemporaryDirectory(prefix="crosskey-test-") as name:
        yield Path(name)


@contextmanager
def running_demo(folder: Path, **environment: str) -> Iterator[Demo]:
    """A demo that has just been started; stopped at the end if it still runs."""
    demo = Demo(folder, environment)
    try:
        yield demo
    finally:
        if demo.process.poll() is None:
            demo.process.terminate()
            demo.process.wait(STOP_SECONDS)


def test_the_story_goes_as_told_and_leaves_nothing(folder: Path) -> None:
    with running_demo(folder) as demo:
        assert demo.wait() == 0, demo.printed
    missing = [text for text in TOLD if text not in demo.printed]
    assert not missing, demo.printed
    assert demo.left_running() == []
    assert demo.left_on_disk() == []


@pytest.mark.parametrize(
    ("with_signal", "when"), [(signal.SIGTERM, "Starting"), (signal.SIGINT, "A row lands on its shard")]
)
def test_a_signal_stops_it_with_a_code_of_its_own_and_leaves_nothing(
    folder: Path, with_signal: signal.Signals, when: str
) -> None:
    with running_demo(folder) as demo:
        demo.wait_until_printed(when)
        demo.process.send_signal(with_signal)
        demo.process.send_signal(with_signal)
        assert demo.wait() == 130, demo.printed
    assert "Traceback" not in demo.printed
    assert demo.left_running() == []
    assert demo.left_on_disk() == []


def test_a_cluster_that_cannot_start_fails_it_and_leaves_nothing(folder: Path) -> None:
    with running_demo(folder, CROSSKEY_LOCK_TIMEOUT_MS="soon") as demo:
        assert demo.wait() == 1, demo.printed
    assert "'soon' is not a valid integer" in demo.printed
    assert "Traceback" not in demo.printed
    assert demo.left_running() == []
    assert demo.left_on_disk() == []


def test_a_story_that_goes_another_way_fails() -> None:
    with pytest.raises(StoryWentWrong, match="another way than this: the row is on shard 1 alone"):
        expect(False, "the row is on shard 1 alone")
