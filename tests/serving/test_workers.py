"""Processes that share an address: all serve, a killed one is replaced, and none outlives its parent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from tests.eventually import eventually

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]


class Parent:
    """The process whose workers share an address."""

    def __init__(self, *arguments: str) -> None:
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'clients'}"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.serving.toy_workers", *arguments],
            cwd=ROOT,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )

    def serving(self) -> str:
        """Waits until the next worker serves; answers its address."""
        address: str = ""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            told = json.loads(line) if line.startswith("{") else {}
            address = str(told.get("address", address))
            if told.get("event") == "serving":
                return address
        raise AssertionError("the parent ended")

    def workers(self) -> list[psutil.Process]:
        """The processes that serve."""
        return psutil.Process(self.process.pid).children()

    def end(self) -> None:
        """Ends what is left."""
        self.process.kill()
        self.process.communicate()


@contextmanager
def running(workers: int) -> Iterator[tuple[Parent, str]]:
    """So many workers that serve, and their address."""
    parent = Parent("127.0.0.1:0", str(workers))
    try:
        addresses = {parent.serving() for _ in range(workers)}
        assert len(addresses - {""}) == 1
        yield parent, max(addresses)
    finally:
        parent.end()


def pid_behind(address: str) -> int:
    """The process that a new connection is served by."""
    # Without a pool of its own a channel shares the connection of the one before.
    with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        ask: Any = channel.unary_unary("/toy.Toy/Pid")
        return int(ask(b"", timeout=10, wait_for_ready=True))


def test_connections_are_spread_over_all_workers() -> None:
    with running(3) as (parent, address):
        pids = {worker.pid for worker in parent.workers()}
        assert len(pids) == 3
        found: set[int] = set()

        def another_serves() -> bool:
            found.add(pid_behind(address))
            return found == pids

        eventually(another_serves, "every worker has served")


def test_a_killed_worker_is_replaced() -> None:
    with running(2) as (parent, address):
        killed, other = parent.workers()
        killed.kill()
        assert parent.serving() == address
        pids = {worker.pid for worker in parent.workers()}
        assert other.pid in pids
        assert len(pids) == 2
        assert killed.pid not in pids
        assert pid_behind(address) in pids


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_workers_are_drained_when_their_parent_is_told_to_stop(number: signal.Signals) -> None:
    with running(2) as (parent, _):
        workers = parent.workers()
        parent.process.send_signal(number)
        _, log = parent.process.communicate(timeout=20)
        assert parent.process.returncode == 0
        assert log.count('"stopped"') == 2
        assert not any(worker.is_running() for worker in workers)


def test_workers_end_with_their_parent() -> None:
    with running(2) as (parent, _):
        workers = parent.workers()
        parent.process.kill()
        _, alive = psutil.wait_procs(workers, timeout=20)
        assert alive == []


def test_workers_that_give_up_end_all_and_say_why() -> None:
    parent = Parent("127.0.0.1:0", "2", "broken")
    _, log = parent.process.communicate(timeout=20)
    assert parent.process.returncode == 1
    assert "Error: there is no database" in log


def test_a_port_that_is_taken_is_said_although_workers_share_theirs() -> None:
    with running(2) as (_, address):
        second = Parent(address, "2")
        _, log = second.process.communicate(timeout=20)
        assert second.process.returncode == 1
        assert log == f"cannot listen on {address}: Address already in use\n"
