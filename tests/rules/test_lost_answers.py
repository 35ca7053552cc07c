"""Home's answer to the commit is lost on the way to the router, which asks home what became of it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from typing_extensions import override

from crosskey import errors
from crosskey.internal.v1 import session_pb2
from crosskey.router.calls.call_context import call_context
from crosskey.router.calls.nodes import Node, Nodes
from crosskey.router.committing.distributed_transaction import DistributedTransaction
from crosskey.router.committing.finishing import Finisher
from crosskey.router.committing.gids import Gid
from tests.hand_coordinator import insert
from tests.rules.setting import Setting

HOME, OTHER = 0, 1


class LossyNode(Node):
    """Loses the answer to every commit with a decision, after home has carried it out or before it is sent."""

    carries_out = True

    @override
    async def ask(self, name: str, call: session_pb2.Call) -> session_pb2.Answer:
        commits = any(command.commit.decision_gid for command in call.run.commands)
        answer = session_pb2.Answer()
        if self.carries_out or not commits:
            answer = await super().ask(name, call)
        if commits:
            lost = errors.ShardUnavailable("lost")
            lost.answered = False
            raise lost
        return answer


class LossyNodes(Nodes):
    """Such nodes."""

    def __init__(self, addresses: list[str]) -> None:
        self.lossy = [LossyNode(shard, address) for shard, address in enumerate(addresses)]
        super().__init__(self.lossy)

    def lose_commits(self) -> None:
        """From now on before they are sent."""
        for node in self.lossy:
            node.carries_out = False


@pytest_asyncio.fixture
async def nodes(setting: Setting) -> AsyncIterator[LossyNodes]:
    """The nodes of the cluster."""
    nodes = LossyNodes([node.address for node in setting.cluster.nodes])
    yield nodes
    await nodes.close()


async def insert_on_two_shards(setting: Setting, nodes: LossyNodes, *ids: int, gid: Gid | None = None) -> None:
    """Inserts a row on each, and commits."""
    gid = gid or Gid.new(setting.hand.cluster_name, HOME)
    finisher = Finisher(nodes)
    statements: dict[int, list[Any]] = {
        shard: [insert("counters", {"id": number}).run] for shard, number in zip((HOME, OTHER), ids, strict=True)
    }
    with call_context(None):
        async with DistributedTransaction(nodes, finisher, gid) as transaction:
            await transaction.run(statements)
            await transaction.commit()
    await finisher.drain()


async def test_home_has_committed(setting: Setting, nodes: LossyNodes) -> None:
    ids = setting.number_on(HOME), setting.number_on(OTHER)
    await insert_on_two_shards(setting, nodes, *ids)
    assert [setting.client.count("counters", {"id": number}) for number in ids] == [1, 1]


async def test_a_transaction_may_have_begun_long_ago(setting: Setting, nodes: LossyNodes) -> None:
    ids = setting.number_on(HOME), setting.number_on(OTHER)
    of_1970 = Gid(setting.hand.cluster_name, HOME, f"{0:032x}")
    await insert_on_two_shards(setting, nodes, *ids, gid=of_1970)
    assert [setting.client.count("counters", {"id": number}) for number in ids] == [1, 1]


async def test_home_has_not(setting: Setting, nodes: LossyNodes) -> None:
    nodes.lose_commits()
    ids = setting.number_on(HOME), setting.number_on(OTHER)
    with pytest.raises(errors.Conflict) as lost:
        await insert_on_two_shards(setting, nodes, *ids)
    assert lost.value.retryable
    assert [setting.client.count("counters", {"id": number}) for number in ids] == [0, 0]
