"""Branches that have only found and locked rows: when they let go of these."""

from __future__ import annotations

import asyncio

import pytest

from crosskey import errors
from crosskey.internal.v1 import reads_pb2, recovery_pb2, session_pb2
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.router.calls.call_context import call_context
from crosskey.router.committing.distributed_transaction import DistributedTransaction
from crosskey.router.committing.finishing import Finisher
from crosskey.router.committing.gids import Gid
from tests.fake_nodes import fake_nodes

READER, HOME, OTHER = range(3)
READ = proto.Command(ask=reads_pb2.Question(read=reads_pb2.ReadRequest(table="public.t")))
WRITE = proto.Statement(table="public.t")


class Shards:
    """Answers every call, and notes in `ended` what has ended a branch, once it is done."""

    def __init__(self, answers_of_home: list[Exception | None]) -> None:
        self.ended: list[str] = []
        self._answers_of_home = answers_of_home

    async def answer(self, shard: int, call: session_pb2.Call) -> session_pb2.Answer:
        """As of fake_nodes."""
        match call.WhichOneof("call"):
            case "run":
                return self._run(call.run)
            case "finish_prepared":
                # Whatever else could go on meanwhile does so.
                for _ in range(100):
                    await asyncio.sleep(0)
                self.ended.append(f"{'commit' if call.finish_prepared.commit else 'roll back'} on {shard}")
                return session_pb2.Answer(finish_prepared=recovery_pb2.FinishPreparedResponse())
            case "decide":
                outcome = recovery_pb2.DecideResponse.OUTCOME_COMMITTED
                return session_pb2.Answer(decide=recovery_pb2.DecideResponse(outcomes=[outcome]))
            case "leave" if shard == READER:
                self.ended.append("leave the reader")
        return session_pb2.Answer()

    def _run(self, request: proto.RunRequest) -> session_pb2.Answer:
        kinds = {command.WhichOneof("command") for command in request.commands}
        error = self._answers_of_home.pop() if "commit" in kinds else None
        if error is not None:
            raise error
        return session_pb2.Answer(run=proto.RunResponse(finished=bool(kinds & {"prepare", "commit"})))


async def commit(shards: Shards) -> None:
    """Reads on one shard, writes on two, and commits."""
    nodes = fake_nodes(3, shards.answer)
    transaction = DistributedTransaction(nodes, Finisher(nodes), Gid.new("toys", HOME))
    with call_context(5.0):
        async with transaction:
            await transaction.commands({READER: [READ]})
            await transaction.run({HOME: [WRITE], OTHER: [WRITE]})
            await transaction.commit()


async def test_a_reader_keeps_its_locks_until_every_shard_shows_what_was_written() -> None:
    shards = Shards([None])
    await commit(shards)
    assert shards.ended == [f"commit on {OTHER}", "leave the reader"]


async def test_it_keeps_them_while_it_is_asked_whether_home_has_committed() -> None:
    lost = errors.ShardUnavailable("no answer")
    lost.answered = False
    shards = Shards([lost])
    await commit(shards)
    assert shards.ended == [f"commit on {OTHER}", "leave the reader"]


async def test_it_lets_go_of_them_when_home_refuses() -> None:
    shards = Shards([errors.ForeignKeyViolation("refused")])
    with pytest.raises(errors.ForeignKeyViolation):
        await commit(shards)
    assert "leave the reader" in shards.ended
