"""What one update or delete of many parents costs: as many exchanges with each node as one of few, for every action."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import nullcontext

import pytest
import pytest_asyncio
from typing_extensions import override

import crosskey
from crosskey import errors, requests
from crosskey.internal.v1 import session_pb2
from crosskey.router.calls.cluster import Cluster
from crosskey.router.calls.nodes import Node, Nodes
from crosskey.router.committing.finishing import Finisher
from crosskey.router.committing.seats import Seats
from crosskey.router.planning import writes
from crosskey.router.planning.shadow_hints import ShadowHints
from crosskey.router.planning.writes import WritePlan
from crosskey.router.writing.anchor_lookup import AnchorLookup
from crosskey.router.writing.sequence_blocks import SequenceBlocks
from crosskey.router.writing.value_generator import ValueGenerator
from crosskey.router.writing.writer import Writer
from crosskey.v1 import router_pb2
from tests.fresh_cluster import FreshClusters
from tests.numbers_on_shards import SHARDS, numbers_on

FEW, MANY = 18, 1000
MOST_EXCHANGES = 12
"""With one node, for one request: far more than any takes, and far less than there are rows."""

ACTIONS = ("NO ACTION", "RESTRICT", "CASCADE", "SET NULL", "SET DEFAULT")
REFUSING = ("NO ACTION", "RESTRICT")
FAR = 10**9
DEFAULT_PARENT = next(numbers_on(2))


def children_of(action: str) -> str:
    """The table of children with that action."""
    return action.replace(" ", "_").lower()


def _table(action: str) -> str:
    return f"""
CREATE TABLE {children_of(action)} (
    id bigint PRIMARY KEY,
    parent bigint DEFAULT {DEFAULT_PARENT},
    place integer DEFAULT 0,
    FOREIGN KEY (parent, place) REFERENCES parents ON DELETE {action} ON UPDATE {action}
);
COMMENT ON TABLE {children_of(action)} IS '@shard_by id';
"""


SCHEMA = """
CREATE TABLE parents (id bigint, place integer, batch bigint, PRIMARY KEY (id, place));
COMMENT ON TABLE parents IS '@shard_by id';
""" + "".join(map(_table, ACTIONS))

_numbers = [itertools.islice(numbers_on(shard), 10, None) for shard in range(SHARDS)]
_batches = itertools.count(1)


class CountingNode(Node):
    """A node that counts the calls of requests."""

    def __init__(self, shard: int, address: str, exchanges: Counter[int]) -> None:
        super().__init__(shard, address)
        self._exchanges = exchanges

    @override
    async def ask(self, name: str, call: session_pb2.Call) -> session_pb2.Answer:
        self._exchanges[self.shard] += 1
        return await super().ask(name, call)


class CountingNodes(Nodes):
    """Nodes that count, by shard, the calls that are sent to them."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.exchanges: Counter[int] = Counter()
        super().__init__([CountingNode(shard, address, self.exchanges) for shard, address in enumerate(addresses)])


class CountedRouter:
    """A router's writes, in this process."""

    def __init__(self, nodes: CountingNodes) -> None:
        """Takes the nodes that count."""
        self._nodes = nodes
        self._finisher = Finisher(nodes)
        self.cluster = Cluster(nodes)
        value_generator, anchor_lookup = ValueGenerator(nodes, SequenceBlocks(nodes)), AnchorLookup(nodes)
        self._writer = Writer(
            nodes, self._finisher, Seats(len(nodes), 5), ShadowHints(), self.cluster, 8, value_generator, anchor_lookup
        )

    async def insert(self, table: str, rows: Sequence[dict[str, int]]) -> None:
        """Inserts rows."""
        view = await self.cluster.view()
        await self._writer.write(view, writes.plan_insert(view, requests.insert(table, rows)))

    @property
    def exchanges(self) -> Counter[int]:
        """How many messages each shard got for the last request that was counted."""
        return Counter(self._nodes.exchanges)

    async def count_exchanges(self, write: requests.Write) -> None:
        """Carries out an update or delete, and counts. Raises what the nodes say."""
        await self._finisher.drain()
        self._nodes.exchanges.clear()
        view = await self.cluster.view()
        if isinstance(write, router_pb2.DeleteRequest):
            plan: WritePlan = writes.plan_delete(view, write)
        else:
            assert isinstance(write, router_pb2.UpdateRequest), "only those are counted"
            plan = writes.plan_update(view, write)
        try:
            await self._writer.write(view, plan)
        finally:
            await self._finisher.drain()

    async def close(self) -> None:
        """Ends what it does in the background."""
        await self._finisher.drain()
        await self._nodes.close()


@pytest_asyncio.fixture(scope="module")
async def router(fresh_cluster: FreshClusters) -> AsyncIterator[CountedRouter]:
    """A router before a cluster with all tables and the parent that is their default."""
    router = CountedRouter(CountingNodes([node.address for node in fresh_cluster(SCHEMA).nodes]))
    await router.cluster.wait_for_nodes()
    await router.insert("parents", [{"id": DEFAULT_PARENT, "place": 0, "batch": 0}])
    yield router
    await router.close()


async def new_batch(router: CountedRouter, count: int, action: str) -> int:
    """That many parents, evenly over all shards, and a child of each: in turn on every shard. Answers their batch."""
    batch = next(_batches)
    parents = [next(_numbers[place % SHARDS]) for place in range(count)]
    children = [next(_numbers[place // SHARDS % SHARDS]) for place in range(count)]
    await router.insert("parents", [{"id": one, "place": 1, "batch": batch} for one in parents])
    rows = [{"id": child, "parent": one, "place": 1} for child, one in zip(children, parents, strict=True)]
    await router.insert(children_of(action), rows)
    return batch


def write(what: str, batch: int) -> requests.Write:
    """One request that concerns all parents of a batch."""
    where = {"batch": batch}
    match what:
        case "delete":
            return crosskey.delete("parents", where=where)
        case "shift":
            return crosskey.update("parents", {"place": crosskey.column("place") + 1}, where=where)
    return crosskey.update("parents", {"id": crosskey.column("id") + FAR}, where=where)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("what", ["delete", "shift", "move"])
async def test_many_parents_cost_what_few_do(router: CountedRouter, what: str, action: str) -> None:
    """The first child that gets the default parent has it pinned: that is why few may cost more."""
    costs = []
    for count in (FEW, MANY):
        batch = await new_batch(router, count, action)
        with pytest.raises(errors.ForeignKeyViolation) if action in REFUSING else nullcontext():
            await router.count_exchanges(write(what, batch))
        costs.append(router.exchanges)
    few, many = costs
    assert set(many) == set(range(SHARDS))
    assert max(many.values()) <= MOST_EXCHANGES
    assert action in REFUSING or many <= few
