"""Home's answer to the commit is lost on the way to the router, which asks home what became of it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from crosskey import errors
from crosskey.v1 import shard_node_pb2 as proto
from router.calls.call_context import call_context
from router.calls.nodes import GrpcNodes
from router.calls.participant import Participant
from router.committing.distributed_transaction import DistributedTransaction
from router.committing.finishing import Finisher
from router.committing.gids import Gid
from tests.hand_coordinator import insert
from tests.rules.setting import Setting

HOME, OTHER = 0, 1


class LossyNodes(GrpcNodes):
    """Loses the answer to every commit with a decision, after home has carried it out or before it is sent."""

    def __init__(self, addresses: Sequence[str]) -> None:
        super().__init__(addresses)
        self.carries_out = True

    @asynccontextmanager
    async def participate(self, shard: int) -> AsyncIterator[Participant]:
        """As Nodes.participate."""
        async with super().participate(shard) as participant:
            yield _LossyParticipant(participant, carries_out=self.carries_out)


class _LossyParticipant:
    def __init__(self, participant: Participant, *, carries_out: bool) -> None:
        self._participant = participant
        self._carries_out = carries_out

    async def run(self, commands: Sequence[proto.Command]) -> Sequence[proto.CommandResult]:
        """As Participant.run."""
        commits = any(command.commit.decision_gid for command in commands)
        results: Sequence[proto.CommandResult] = []
        if self._carries_out or not commits:
            results = await self._participant.run(commands)
        if commits:
            lost = errors.ShardUnavailable("lost")
            lost.answered = False
            raise lost
        return results


@pytest_asyncio.fixture
async def nodes(setting: Setting) -> AsyncIterator[LossyNodes]:
    """The nodes of the cluster."""
    nodes = LossyNodes([node.address for node in setting.cluster.nodes])
    yield nodes
    await nodes.close()


async def insert_on_two_shards(setting: Setting, nodes: LossyNodes, *ids: int) -> None:
    """Inserts a row on each, and commits."""
    finisher = Finisher(nodes)
    statements: dict[int, list[Any]] = {
        shard: [insert("counters", {"id": number}).run] for shard, number in zip((HOME, OTHER), ids, strict=True)
    }
    with call_context(None):
        async with DistributedTransaction(nodes, finisher, Gid.new(setting.hand.cluster_name, HOME)) as transaction:
            await transaction.run(statements)
            await transaction.commit()
    await finisher.drain()


async def test_home_has_committed(setting: Setting, nodes: LossyNodes) -> None:
    ids = setting.number_on(HOME), setting.number_on(OTHER)
    await insert_on_two_shards(setting, nodes, *ids)
    assert [setting.client.count("counters", {"id": number}) for number in ids] == [1, 1]


async def test_home_has_not(setting: Setting, nodes: LossyNodes) -> None:
    nodes.carries_out = False
    ids = setting.number_on(HOME), setting.number_on(OTHER)
    with pytest.raises(errors.Conflict) as lost:
        await insert_on_two_shards(setting, nodes, *ids)
    assert lost.value.retryable
    assert [setting.client.count("counters", {"id": number}) for number in ids] == [0, 0]
