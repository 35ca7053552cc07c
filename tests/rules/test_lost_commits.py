"""A commit whose connection to PostgreSQL is lost before its answer: PostgreSQL is asked what became of it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
import pytest_asyncio

from crosskey import errors
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.shard_node.events.feed import EventFeed
from crosskey.shard_node.postgres.database import Database
from crosskey.shard_node.postgres.startup import ShardIdentity
from crosskey.shard_node.schema.shard import Shard
from crosskey.shard_node.service import NodeCalls
from crosskey.shard_node.writing import lost_commits
from tests.cut_connections import Way
from tests.hand_coordinator import commit, insert
from tests.rules.setting import Setting
from tests.shard_sql import as_superuser, query, wait_for_waiters

SHARD = 0
_END_WAITING = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'crosskey' AND wait_event_type = 'Lock'
"""

Commands = list[proto.Command]
MakesCommands = Callable[[Setting, int], Commands]
HoldsUp = Callable[[Setting, int], AbstractContextManager[None]]

# The pools' own connections, which the way loses too, are not closed one by one.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest_asyncio.fixture
async def way(setting: Setting, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Way]:
    """From the node to its PostgreSQL."""
    async with Way(setting.cluster.databases[SHARD].dsn, tmp_path_factory.mktemp("w")).laid() as way:
        yield way


@pytest_asyncio.fixture
async def node(setting: Setting, way: Way) -> AsyncIterator[NodeCalls]:
    """A session with a second node of the shard, in this process."""
    [(cluster, shards)] = query(setting.cluster, SHARD, "SELECT cluster, shards FROM crosskey.shard")
    database = Database(way.dsn, pool_size=2, pool_queue=10, lock_timeout_ms=20_000)
    await database.open()
    calls = NodeCalls(Shard(database, ShardIdentity(cluster, SHARD, shards, "", "", b"")), EventFeed(database))
    yield calls
    await calls.close()
    await database.close()


@contextmanager
def local_commits_held_up(setting: Setting, doomed: int) -> Iterator[None]:
    """The deferred trigger of `dooms` waits at COMMIT."""
    with as_superuser(setting.cluster, SHARD) as holder, holder.transaction():
        holder.execute("SELECT FROM cascade_parents WHERE id = %s FOR UPDATE", (doomed,))
        yield


@contextmanager
def decisions_held_up(setting: Setting, _: int) -> Iterator[None]:
    """What is sent along with COMMIT waits."""
    with as_superuser(setting.cluster, SHARD) as holder, holder.transaction():
        holder.execute("LOCK TABLE crosskey.decision IN SHARE MODE")
        yield


def locally(_: Setting, doomed: int) -> Commands:
    """Two statements and a plain commit."""
    return [insert("dooms", {"id": doomed}), insert("hasty", {"id": doomed}), commit()]


def with_a_decision(setting: Setting, doomed: int) -> Commands:
    """A statement and the commit of a distributed transaction."""
    return [insert("hasty", {"id": doomed}), commit(setting.hand.gid(home=SHARD))]


WAYS_TO_COMMIT = pytest.mark.parametrize(
    ("commands", "held_up"), [(locally, local_commits_held_up), (with_a_decision, decisions_held_up)]
)


async def execute(node: NodeCalls, commands: Commands) -> proto.RunResponse:
    """What the node answers to a branch that is plain if it can be."""
    plain = not commands[-1].commit.decision_gid
    start = proto.RunRequest.START_PLAIN if plain else proto.RunRequest.START_ALONE
    response = await node.handlers["run"](proto.RunRequest(branch=1, commands=commands, start=start))
    assert isinstance(response, proto.RunResponse)
    return response


@WAYS_TO_COMMIT
async def test_one_that_was_carried_out_is_answered(
    setting: Setting, node: NodeCalls, way: Way, commands: MakesCommands, held_up: HoldsUp
) -> None:
    doomed = await asyncio.to_thread(setting.parent_on, SHARD)
    with held_up(setting, doomed):
        executing = asyncio.create_task(execute(node, commands(setting, doomed)))
        await asyncio.to_thread(wait_for_waiters, setting.cluster, SHARD)
        way.cut()
    response = await executing
    assert response.finished
    assert response.results[-1].count == 1
    assert setting.client.count("hasty", {"id": doomed}) == 1


@WAYS_TO_COMMIT
async def test_one_that_was_not_is_run_again(
    setting: Setting, node: NodeCalls, way: Way, commands: MakesCommands, held_up: HoldsUp
) -> None:
    doomed = await asyncio.to_thread(setting.parent_on, SHARD)
    with held_up(setting, doomed):
        executing = asyncio.create_task(execute(node, commands(setting, doomed)))
        await asyncio.to_thread(wait_for_waiters, setting.cluster, SHARD)
        way.cut()
        await asyncio.to_thread(query, setting.cluster, SHARD, _END_WAITING)
    with pytest.raises(errors.Conflict) as lost:
        await executing
    assert lost.value.retryable
    assert setting.client.count("hasty", {"id": doomed}) == 0


async def test_one_that_goes_on_for_too_long_is_unknown(
    setting: Setting, node: NodeCalls, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lost_commits, "PATIENCE_SECONDS", 0.0)
    doomed = await asyncio.to_thread(setting.parent_on, SHARD)
    with local_commits_held_up(setting, doomed):
        executing = asyncio.create_task(execute(node, locally(setting, doomed)))
        await asyncio.to_thread(wait_for_waiters, setting.cluster, SHARD)
        way.cut()
        with pytest.raises(errors.OutcomeUnknown):
            await executing
