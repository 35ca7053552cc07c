"""A coordinator that dies after any step of a distributed transaction leaves all of it or nothing, once resolved."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count, islice
from typing import NamedTuple

import pytest

from crosskey import Client, errors
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.router.calls.call_context import call_context
from crosskey.router.calls.nodes import Nodes
from crosskey.router.committing import finishing
from crosskey.router.committing.finishing import Finisher
from crosskey.router.committing.gids import Gid
from crosskey.router.committing.resolver import Resolver
from tests.crashes.protocol_steps import (
    CHILD_SHARD,
    PARENT_SHARD,
    THIRD_SHARD,
    Child,
    delete_of_a_pinned_parent,
    first_reference,
    first_reference_with_a_third_home,
)
from tests.eventually import eventually
from tests.fresh_cluster import FreshClusters
from tests.hand_coordinator import HandCoordinator
from tests.hot_keys.families import FAMILIES, Family, schema_of
from tests.hot_keys.stored_rows import pinned_for, shadowed_on
from tests.numbers_on_shards import numbers_on
from tests.shard_sql import as_superuser, prepared, query, query_all

pytestmark = pytest.mark.processes

CASCADE = FAMILIES[0]

PATIENT = {"CROSSKEY_LOCK_TIMEOUT_MS": "20000"}
RESOLVING_SOON = {"CROSSKEY_RESOLVER_INTERVAL_MS": "50", "CROSSKEY_RESOLVER_MIN_AGE_MS": "100"}

_OPEN = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND xact_start < now()"

_COMMITTING = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND query LIKE '%%INSERT INTO crosskey.decision%%COMMIT' AND wait_event_type = 'Lock'
"""

_ids = count(1)
_parents = numbers_on(PARENT_SHARD)
_places = {shard: next(numbers_on(shard)) for shard in (CHILD_SHARD, THIRD_SHARD)}


class Protocol(NamedTuple):
    """A distributed transaction, and after which of its steps what holds."""

    steps: Callable[[HandCoordinator, Family, int, Child], Iterator[Gid]]
    prepared_after: int
    committed_after: int
    forgotten_after: int
    children_before: frozenset[int]
    """The shards on which the parent has one child each before."""
    children_after: frozenset[int]

    def decision_after(self, step: int) -> str:
        """What home remembers once everything is resolved."""
        if step < self.prepared_after or step == self.forgotten_after:
            return "UNDECIDED"
        return "COMMITTED" if step >= self.committed_after else "ABORTED"


NOWHERE, ONE_CHILD, TWO_CHILDREN = frozenset[int](), frozenset({CHILD_SHARD}), frozenset({CHILD_SHARD, THIRD_SHARD})

FIRST_REFERENCE = Protocol(first_reference, 2, 3, 5, NOWHERE, ONE_CHILD)
THIRD_HOME = Protocol(first_reference_with_a_third_home, 3, 5, 8, NOWHERE, ONE_CHILD)
DELETE = Protocol(delete_of_a_pinned_parent, 5, 7, 10, TWO_CHILDREN, NOWHERE)

STOPS = [
    pytest.param(protocol, step, id=f"{protocol.steps.__name__}-{step}")
    for protocol in (FIRST_REFERENCE, THIRD_HOME, DELETE)
    for step in range(1, protocol.forgotten_after + 1)
]


class Crashing:
    """A cluster whose router can be held up while a coordinator driven by hand dies."""

    def __init__(self, cluster: LocalCluster, client: Client, hand: HandCoordinator) -> None:
        self.cluster = cluster
        self.client = client
        self.hand = hand

    @contextmanager
    def router_held_up(self) -> Iterator[None]:
        """Nobody resolves anything meanwhile."""
        pid = self.cluster.routers[0].pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def insert_parent(self, child_shards: Iterable[int] = ()) -> int:
        """A parent with one child on each of the shards."""
        parent = next(_parents)
        self.client.insert(CASCADE.parents, {"id": parent})
        for shard in child_shards:
            self.client.insert(CASCADE.children, self.new_child(shard, parent))
        self.wait_until_none_in_doubt()
        return parent

    def new_child(self, shard: int, parent: int) -> Child:
        """A child, not inserted yet."""
        return {"place": _places[shard], "id": next(_ids), "parent": parent}

    def die_after(self, protocol: Protocol, step: int, parent: int) -> Gid:
        """Takes so many steps and no more."""
        steps = protocol.steps(self.hand, CASCADE, parent, self.new_child(CHILD_SHARD, parent))
        *_, gid = islice(steps, step)
        steps.close()  # type: ignore[attr-defined]  # a generator is what it is
        return gid

    def wait_until_none_in_doubt(self) -> None:
        """Nothing is prepared, and no transaction is open on any shard."""
        eventually(lambda: not prepared(self.cluster), "nothing is prepared any more")
        eventually(lambda: not query_all(self.cluster, _OPEN), "no transaction is open any more")


@pytest.fixture(scope="module")
def crashing(fresh_cluster: FreshClusters) -> Iterator[Crashing]:
    cluster = fresh_cluster(schema_of([CASCADE]), node_environment=PATIENT, router_environment=RESOLVING_SOON)
    hand = HandCoordinator(cluster)
    with Client(cluster.address) as client:
        yield Crashing(cluster, client, hand)
    hand.close()


@pytest.mark.parametrize(("protocol", "step"), STOPS)
def test_all_or_nothing(crashing: Crashing, protocol: Protocol, step: int) -> None:
    parent = crashing.insert_parent(protocol.children_before)
    with crashing.router_held_up():
        gid = crashing.die_after(protocol, step, parent)
    crashing.wait_until_none_in_doubt()
    committed = step >= protocol.committed_after
    children = protocol.children_after if committed else protocol.children_before
    assert crashing.client.count(CASCADE.children, {"parent": parent}) == len(children)
    assert pinned_for(crashing.cluster, CASCADE, parent) == children
    assert shadowed_on(crashing.cluster, CASCADE, parent) == children
    deleted = committed and protocol is DELETE
    assert crashing.client.count(CASCADE.parents, {"id": parent}) == (0 if deleted else 1)
    assert crashing.hand.decide(gid, peek=True) == protocol.decision_after(step)


@contextmanager
def home_dies_at_the_commit(crashing: Crashing, *, committed: bool) -> Iterator[None]:
    """Its PostgreSQL goes on by itself, commits or not, and tells nobody; the node is back soon."""
    home = crashing.cluster.nodes[CHILD_SHARD]
    with as_superuser(crashing.cluster, CHILD_SHARD) as holder, holder.transaction():
        holder.execute("LOCK TABLE crosskey.decision IN SHARE MODE")
        yield
        eventually(lambda: query(crashing.cluster, CHILD_SHARD, _COMMITTING), "home is about to commit")
        home.kill()
        if not committed:
            query(crashing.cluster, CHILD_SHARD, f"SELECT pg_terminate_backend(pid, 5000) FROM ({_COMMITTING}) AS them")
    home.start_serving()


@pytest.mark.parametrize("committed", [True, False])
def test_a_node_dies_while_home_commits(crashing: Crashing, committed: bool) -> None:
    """If it is back soon enough to say that nothing was committed, the insert is run again; else nobody knows."""
    parent = crashing.insert_parent()
    child = crashing.new_child(CHILD_SHARD, parent)
    with ThreadPoolExecutor() as background:
        with home_dies_at_the_commit(crashing, committed=committed):
            inserting = background.submit(crashing.client.insert, CASCADE.children, child)
        error = inserting.exception()
    crashing.wait_until_none_in_doubt()
    assert isinstance(error, errors.OutcomeUnknown) or (error is None and not committed)
    there = committed or error is None
    assert crashing.client.count(CASCADE.children, {"parent": parent}) == int(there)
    assert pinned_for(crashing.cluster, CASCADE, parent) == ({CHILD_SHARD} if there else set())


@pytest.mark.parametrize("committed", [True, False])
async def test_the_second_phase_waits_for_a_node_that_restarts(
    crashing: Crashing, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    monkeypatch.setattr(finishing, "FINISH_TIMEOUT_SECONDS", 60.0)
    parent = crashing.insert_parent()
    node = crashing.cluster.nodes[PARENT_SHARD]
    nodes = Nodes.behind([node.address for node in crashing.cluster.nodes])
    finisher = Finisher(nodes)
    with crashing.router_held_up(), call_context(None) as context:
        step = FIRST_REFERENCE.committed_after if committed else FIRST_REFERENCE.prepared_after
        gid = crashing.die_after(FIRST_REFERENCE, step, parent)
        node.kill()
        end = asyncio.create_task((finisher.commit if committed else finisher.roll_back)(gid, [PARENT_SHARD]))
        await asyncio.to_thread(eventually, lambda: context.calls, "the second phase has begun")
        await asyncio.to_thread(node.start_serving)
        await end
        assert prepared(crashing.cluster) == []
        await finisher.drain()
    await nodes.close()
    assert pinned_for(crashing.cluster, CASCADE, parent) == ({CHILD_SHARD} if committed else set())


async def test_a_stale_decision_is_forgotten_when_nobody_needs_it(crashing: Crashing) -> None:
    parent = crashing.insert_parent()
    nodes = Nodes.behind([node.address for node in crashing.cluster.nodes])
    resolver = Resolver(nodes, interval_ms=1, min_age_ms=0)
    with crashing.router_held_up():
        gid = crashing.die_after(FIRST_REFERENCE, FIRST_REFERENCE.committed_after, parent)
        query(
            crashing.cluster,
            gid.home,
            "UPDATE crosskey.decision SET decided_at = now() - interval '1 hour' WHERE gid = %s",
            str(gid),
        )
        await resolver.forget_stale_once()
        assert crashing.hand.decide(gid, peek=True) == "COMMITTED"
        await resolver.resolve_once()
        assert prepared(crashing.cluster) == []
        await resolver.forget_stale_once()
        assert crashing.hand.decide(gid, peek=True) == "UNDECIDED"
    await nodes.close()
    assert crashing.client.count(CASCADE.children, {"parent": parent}) == 1


def test_after_all_that_the_audit_finds_nothing(crashing: Crashing) -> None:
    assert list(crashing.client.list_in_doubt().transactions) == []
    assert crashing.client.audit() == []
