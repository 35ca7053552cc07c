"""What is said of a call that failed while the schema was changed: nothing was done, unless something may have been."""

from typing import Any, cast

import pytest

from crosskey import errors
from crosskey.internal.v1 import recovery_pb2, session_pb2
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.shard_node.events.feed import EventFeed
from crosskey.shard_node.postgres.startup import ShardIdentity
from crosskey.shard_node.schema.shard import Shard
from crosskey.shard_node.service import NodeCalls

ASK = proto.Command(savepoint=proto.Savepoint())
COMMIT, PREPARE = proto.Command(commit=proto.Commit()), proto.Command(prepare=proto.Prepare())

MAY_HAVE_COMMITTED = {
    "commit": session_pb2.Call(run=proto.RunRequest(commands=[ASK, COMMIT])),
    "prepare": session_pb2.Call(run=proto.RunRequest(commands=[PREPARE])),
    "finish": session_pb2.Call(finish_prepared=recovery_pb2.FinishPreparedRequest()),
    "decide": session_pb2.Call(decide=recovery_pb2.DecideRequest()),
}
UNFORESEEN = [errors.InternalError("unforeseen"), ValueError("unforeseen")]


class MovedShard:
    """One whose schema is another one than it was when the call began."""

    identity = ShardIdentity("c", 0, 1, "", "", b"")
    known_schema = None
    database = None

    async def be_at(self, epoch: int) -> None:
        """It was in force then."""

    async def has_moved(self, epoch: int) -> bool:  # noqa: ARG002
        """By now it is not."""
        return True


def calls_that_fail(error: Exception) -> NodeCalls:
    """Every call of the session fails so."""
    calls = NodeCalls(cast("Shard", MovedShard()), cast("EventFeed", None))

    async def fail(_: Any) -> Any:
        raise error

    calls.handlers = dict.fromkeys(calls.handlers, fail)
    return calls


async def failure(error: Exception, call: session_pb2.Call) -> BaseException:
    call.epoch = 1
    with pytest.raises(Exception) as told:  # noqa: PT011  # whatever it is
        await calls_that_fail(error).answer(call.WhichOneof("call") or "", call)
    return told.value


@pytest.mark.parametrize("kind", MAY_HAVE_COMMITTED)
@pytest.mark.parametrize("error", UNFORESEEN, ids=["internal", "foreign"])
async def test_what_may_have_committed_is_never_said_to_be_undone(kind: str, error: Exception) -> None:
    assert await failure(error, MAY_HAVE_COMMITTED[kind]) is error


@pytest.mark.parametrize("error", UNFORESEEN, ids=["internal", "foreign"])
async def test_what_cannot_have_committed_is_to_be_begun_again(error: Exception) -> None:
    call = session_pb2.Call(run=proto.RunRequest(commands=[ASK]))
    assert isinstance(await failure(error, call), errors.SchemaChanged)


async def test_what_was_refused_before_the_commit_is_to_be_begun_again() -> None:
    told = await failure(errors.UnknownColumn("no such column"), MAY_HAVE_COMMITTED["commit"])
    assert isinstance(told, errors.SchemaChanged)
