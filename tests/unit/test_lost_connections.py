"""What a connection that is lost means for a transaction of several calls."""

from __future__ import annotations

import pytest

from crosskey import errors
from crosskey.open_transactions import AsyncTransaction, Transaction
from crosskey.row_reading import RowReader
from crosskey.v1 import router_pb2

MAY_BE_RUN_AGAIN = [("begin", True), ("begin_group", True), ("end_group", True), ("commit", False)]


class LossyRouter:
    """Answers every call but those of one kind."""

    def __init__(self, lost: str) -> None:
        self._lost = lost

    def ask(self, call: router_pb2.Call) -> router_pb2.Answer:
        """The answer. Raises ShardUnavailable if it is lost."""
        if call.WhichOneof("call") == self._lost:
            lost = errors.ShardUnavailable("the connection was lost")
            lost.answered = lost.retryable = False
            raise lost
        return router_pb2.Answer(begin=router_pb2.BeginResponse(transaction="a name"))

    async def ask_async(self, call: router_pb2.Call) -> router_pb2.Answer:
        """The same for asyncio."""
        return self.ask(call)


def no_rows(_: object) -> RowReader:
    """No statement is run."""
    raise AssertionError


async def no_rows_async(_: object) -> RowReader:
    """The same for asyncio."""
    raise AssertionError


@pytest.mark.parametrize(("lost", "retryable"), MAY_BE_RUN_AGAIN)
def test_what_is_lost_before_the_commit_may_be_run_again(lost: str, *, retryable: bool) -> None:
    transaction = Transaction(LossyRouter(lost).ask, no_rows, None, None)
    with pytest.raises(errors.ShardUnavailable) as caught, transaction, transaction.group():
        pass
    assert caught.value.retryable == retryable


@pytest.mark.parametrize(("lost", "retryable"), MAY_BE_RUN_AGAIN)
async def test_the_same_for_asyncio(lost: str, *, retryable: bool) -> None:
    transaction = AsyncTransaction(LossyRouter(lost).ask_async, no_rows_async, None, None)
    with pytest.raises(errors.ShardUnavailable) as caught:
        async with transaction, transaction.group():
            pass
    assert caught.value.retryable == retryable
