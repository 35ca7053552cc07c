"""Where reads are asked: nodes, for those that stand alone, or the branches of a transaction, which see its writes."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any, Protocol, TypeVar

from crosskey.internal.v1 import reads_pb2 as reads
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.router.calls.fan_out import fan_out_until_all_ended
from crosskey.router.committing.distributed_transaction import DistributedTransaction

Answer = TypeVar("Answer")


class Source(Protocol):
    """One shard, as reads see it. Each method answers one question; raises what the node raised."""

    async def read(self, request: reads.ReadRequest, /) -> reads.ReadResponse:
        """Reads rows."""
        ...

    async def count_rows(self, request: reads.CountRowsRequest, /) -> reads.CountRowsResponse:
        """Counts rows."""
        ...

    async def sort(self, request: reads.SortRequest, /) -> reads.SortResponse:
        """Sorts cursors."""
        ...

    async def read_linked(self, request: reads.ReadLinkedRequest, /) -> reads.ReadLinkedResponse:
        """Reads rows at the other end of a foreign key."""
        ...

    async def read_keys(self, request: reads.ReadKeysRequest, /) -> reads.ReadKeysResponse:
        """Reads keys of rows."""
        ...

    async def aggregate(self, request: reads.AggregateRequest, /) -> reads.AggregateResponse:
        """Aggregates rows."""
        ...

    async def find_pins(self, request: reads.FindPinsRequest, /) -> reads.FindPinsResponse:
        """Asks which shards hold pins."""
        ...

    async def find_claims(self, request: reads.FindClaimsRequest, /) -> reads.FindClaimsResponse:
        """Asks who has claimed values."""
        ...


class Sources(Protocol):
    """All shards, as reads see them. `Nodes` is one."""

    def __getitem__(self, shard: int, /) -> Source:
        """That shard."""
        ...

    async def ask_all(self, calls: Mapping[int, Coroutine[Any, Any, Answer]], /) -> dict[int, Answer]:
        """Awaits calls, all at once. Raises the first error."""
        ...


class BranchSources:
    """The shards as a transaction sees them: a shard that is asked takes part in it from then on."""

    def __init__(self, transaction: DistributedTransaction) -> None:
        self._transaction = transaction

    def __getitem__(self, shard: int) -> Source:
        """That shard."""
        return _BranchSource(self._transaction, shard)

    async def ask_all(self, calls: Mapping[int, Coroutine[Any, Any, Answer]]) -> dict[int, Answer]:
        """Awaits calls, all of them to their end: one that is cancelled would end its branch."""
        return await fan_out_until_all_ended(calls)


class _BranchSource:
    """One shard, as a transaction sees it."""

    def __init__(self, transaction: DistributedTransaction, shard: int) -> None:
        self._transaction = transaction
        self._shard = shard

    async def _ask(self, question: reads.Question) -> reads.Reply:
        return (await self._transaction.command(self._shard, proto.Command(ask=question))).reply

    async def read(self, request: reads.ReadRequest) -> reads.ReadResponse:
        return (await self._ask(reads.Question(read=request))).read

    async def count_rows(self, request: reads.CountRowsRequest) -> reads.CountRowsResponse:
        return (await self._ask(reads.Question(count_rows=request))).count_rows

    async def sort(self, request: reads.SortRequest) -> reads.SortResponse:
        return (await self._ask(reads.Question(sort=request))).sort

    async def read_linked(self, request: reads.ReadLinkedRequest) -> reads.ReadLinkedResponse:
        return (await self._ask(reads.Question(read_linked=request))).read_linked

    async def read_keys(self, request: reads.ReadKeysRequest) -> reads.ReadKeysResponse:
        return (await self._ask(reads.Question(read_keys=request))).read_keys

    async def aggregate(self, request: reads.AggregateRequest) -> reads.AggregateResponse:
        return (await self._ask(reads.Question(aggregate=request))).aggregate

    async def find_pins(self, request: reads.FindPinsRequest) -> reads.FindPinsResponse:
        return (await self._ask(reads.Question(find_pins=request))).find_pins

    async def find_claims(self, request: reads.FindClaimsRequest) -> reads.FindClaimsResponse:
        return (await self._ask(reads.Question(find_claims=request))).find_claims
