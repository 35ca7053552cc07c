"""The stream on which both clients send their requests: what it carries, and how it ends."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import crosskey
from crosskey.v1 import router_pb2
from tests.client.toy_router import MAX_IN_FLIGHT, RunningRouter
from tests.eventually import eventually, until

ROOT = Path(__file__).parents[2]
MANY = 300


async def all_of(*calls: Any) -> list[Any]:
    """What each call came to, errors too."""
    return await asyncio.gather(*calls, return_exceptions=True)


async def test_a_request_that_waits_holds_up_no_other(client: Any, toy: RunningRouter) -> None:
    slow = asyncio.ensure_future(client.get("users", id="slow"))
    await until(lambda: toy.router.begun == 1, "the slow request is begun")
    assert await asyncio.gather(*(client.count("users") for _ in range(MANY))) == [0] * MANY
    assert not slow.done()
    slow.cancel()
    await asyncio.wait([slow])


async def test_requests_share_one_stream(client: Any, toy: RunningRouter) -> None:
    await client.count("users")
    stream = next(iter(toy.router.streams))
    await asyncio.gather(*(client.count("users") for _ in range(MANY)))
    assert toy.router.streams == {stream}


async def test_a_large_request_goes_by_itself(client: Any, toy: RunningRouter) -> None:
    row = {"id": "x" * 3_000_000}
    assert await client.insert("users", row) == [row]
    assert not toy.router.streams
    with pytest.raises(crosskey.RequestTooLarge) as caught:
        await client.insert("users", {"id": "x" * 5_000_000})
    assert not caught.value.retryable


async def test_a_deadline_stops_the_request_at_the_router(client: Any, toy: RunningRouter) -> None:
    with pytest.raises(crosskey.DeadlineExceeded, match="before the router answered") as caught:
        await client.with_timeout(0.2).get("users", id="slow")
    assert (caught.value.answered, caught.value.retryable) == (False, False)
    await until(lambda: toy.router.stopped == 1, "the router stops")
    assert await client.count("users") == 0


async def test_a_cancelled_request_is_stopped_at_the_router(toy: RunningRouter) -> None:
    async with crosskey.AsyncClient(toy.address) as client:
        slow = asyncio.create_task(client.get("users", id="slow"))
        await until(lambda: toy.router.begun == 1, "the request is begun")
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        await until(lambda: toy.router.stopped == 1, "the router stops")
        assert await client.count("users") == 0


def test_an_interrupted_request_is_stopped_at_the_router(toy: RunningRouter, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Ctrl-C does where a thread waits."""

    def interrupted(*_: Any) -> bool:
        eventually(lambda: toy.router.begun == 1, "the request is begun")
        raise KeyboardInterrupt

    with crosskey.Client(toy.address) as client:
        with monkeypatch.context() as patches:
            patches.setattr("crosskey.blocking_call_stream._Answered.wait", interrupted)
            with pytest.raises(KeyboardInterrupt):
                client.get("users", id="slow")
        eventually(lambda: toy.router.stopped == 1, "the router stops")
        assert client.count("users") == 0


async def test_too_many_requests_are_refused_and_may_be_repeated(toy: RunningRouter) -> None:
    async with crosskey.AsyncClient(toy.address) as client:
        slow = [asyncio.create_task(client.get("users", id="slow")) for _ in range(MAX_IN_FLIGHT)]
        await until(lambda: toy.router.begun == MAX_IN_FLIGHT, "the router is full")
        refused = await all_of(*(client.count("users") for _ in range(5000)))
        assert {(type(error), error.retryable, error.answered) for error in refused} == {
            (crosskey.Overloaded, True, True)
        }
        for task in slow:
            task.cancel()
        await asyncio.wait(slow)
        await until(lambda: toy.router.stopped == MAX_IN_FLIGHT, "the router has room")
        assert await client.count("users") == 0


async def test_requests_in_flight_when_a_router_ends_are_all_answered() -> None:
    router = RunningRouter()
    with router.running():
        client = crosskey.AsyncClient(router.address)
        slow = [asyncio.create_task(client.get("users", id="slow")) for _ in range(MAX_IN_FLIGHT)]
        await until(lambda: router.router.begun == MAX_IN_FLIGHT, "all are begun")
    for error in await all_of(*slow):
        assert isinstance(error, crosskey.ShardUnavailable | crosskey.Cancelled)
        assert (error.answered, error.retryable) == (False, False)
    with pytest.raises(crosskey.ShardUnavailable) as caught:
        await client.count("users")
    assert (caught.value.answered, caught.value.retryable) == (True, True)
    with router.running():
        await client.wait_until_connected()
        assert await asyncio.gather(*(client.count("users") for _ in range(MANY))) == [0] * MANY
        await client.close()


def test_a_blocking_client_reaches_its_router_when_it_runs_again() -> None:
    router = RunningRouter()
    failures: list[crosskey.CrosskeyError] = []

    def be_slow() -> None:
        try:
            client.get("users", id="slow")
        except crosskey.CrosskeyError as error:
            failures.append(error)

    with router.running():
        client = crosskey.Client(router.address)
        threads = [threading.Thread(target=be_slow) for _ in range(50)]
        for thread in threads:
            thread.start()
        eventually(lambda: router.router.begun == len(threads), "all are begun")
    for thread in threads:
        thread.join()
    assert {type(error) for error in failures} <= {crosskey.ShardUnavailable, crosskey.Cancelled}
    assert {(error.answered, error.retryable) for error in failures} == {(False, False)}
    with pytest.raises(crosskey.ShardUnavailable) as caught:
        client.count("users")
    assert (caught.value.answered, caught.value.retryable) == (True, True)
    with router.running():
        client.wait_until_connected()
        assert client.count("users") == 0
        client.close()


async def test_a_router_that_is_about_to_stop_lets_what_it_has_not_begun_go_elsewhere(
    client: Any, toy: RunningRouter
) -> None:
    """Whatever is asked meanwhile is answered, or was not begun."""
    for _ in range(10):
        asked = [asyncio.ensure_future(client.count("users")) for _ in range(20)]
        await toy.restart()
        asked += [asyncio.ensure_future(client.count("users")) for _ in range(20)]
        for answer in await all_of(*asked):
            assert answer == 0 or (isinstance(answer, crosskey.ShardUnavailable) and answer.retryable)
    # The last one may still be ending what it had begun, and refuses until then.
    while (await all_of(client.count("users"))) != [0]:
        pass


async def test_a_closed_client_fails_what_is_in_flight_and_what_comes_after(client: Any, toy: RunningRouter) -> None:
    slow = asyncio.ensure_future(client.get("users", id="slow"))
    await until(lambda: toy.router.begun == 1, "the request is begun")
    await client.close()
    for call in (slow, client.count("users")):
        with pytest.raises(crosskey.Cancelled, match="the connection to the router was closed"):
            await call
    await until(lambda: toy.router.stopped == 1, "the router stops")
    await client.close()


def carriers() -> list[threading.Thread]:
    """The threads that read the streams of clients."""
    return [one for one in threading.enumerate() if one.name == "crosskey-session"]


async def test_clients_that_nobody_closed_leave_nothing_behind(toy: RunningRouter) -> None:
    # Other tests of this process may have clients that are still open.
    tasks, threads = len(asyncio.all_tasks()), {*carriers()}
    for _ in range(5):
        asynchronous, blocking = crosskey.AsyncClient(toy.address), crosskey.Client(toy.address)
        assert await asynchronous.with_timeout(5).count("users") == 0
        assert await asyncio.to_thread(blocking.with_timeout(5).count, "users") == 0
    del asynchronous, blocking
    gc.collect()
    await until(lambda: not toy.router.streams, "every stream has ended")
    await until(lambda: threads.issuperset(carriers()), "their threads have ended")
    assert len(asyncio.all_tasks()) <= tasks


FORKING = """
import os, sys, crosskey
client = crosskey.Client(sys.argv[1], timeout=10)
client.insert("users", {"id": "parent"})
if not os.fork():
    client.insert("users", {"id": "child"})
    os._exit(0)
assert os.wait()[1] == 0
assert client.count("users") == 2
"""
ENDING = """
import sys, threading, crosskey
client = crosskey.Client(sys.argv[1])
client.count("users")
threading.Thread(target=client.get, args=["users"], kwargs={"id": "slow"}, daemon=True).start()
while not client.count("users"):
    pass
"""
ENDING_ASYNC = """
import asyncio, sys, crosskey
async def main():
    client = crosskey.AsyncClient(sys.argv[1])
    await client.count("users")
    asyncio.ensure_future(client.get("users", id="slow"))
    await client.count("users")
asyncio.run(main())
"""


@pytest.mark.parametrize("program", [FORKING, ENDING, ENDING_ASYNC], ids=["forks", "ends", "ends, asyncio"])
def test_a_process_that_forks_or_ends_with_an_open_client(toy: RunningRouter, program: str) -> None:
    toy.router.rows["somebody"] = {"id": "somebody"}
    if program == FORKING:
        toy.router.rows.clear()
    path = f"{ROOT}{os.pathsep}{ROOT / 'clients'}"
    environment = {**os.environ, "PYTHONPATH": path, "GRPC_ENABLE_FORK_SUPPORT": "1"}
    command = [sys.executable, "-c", program, toy.address]
    ended = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr.decode()) == (0, "")


def test_a_call_says_all_that_a_unary_call_says(toy: RunningRouter) -> None:
    """The number and the deadline of each, and no request id: the router makes one."""
    call = router_pb2.Call(count=router_pb2.CountRequest(table="users"))
    with crosskey.Client(toy.address, timeout=5) as client:
        answer = client._session.ask(call, 5.0)
    assert (call.id, call.timeout_ms, call.request_id) == (1, 5000, "")
    assert answer == router_pb2.Answer(id=1, count=router_pb2.CountResponse())
