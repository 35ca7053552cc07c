"""The public Router service: a unary call for each request, and sessions that carry many requests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing
from typing import Any, TypeVar

import grpc
from typing_extensions import override

from crosskey import errors
from crosskey.router.calls.call_context import begin_call_context, call_context
from crosskey.router.requests import Requests
from crosskey.router.session_transactions import Opener, SessionTransactions
from crosskey.serving.call_handlers import CallHandlers
from crosskey.serving.calls_in_flight import CallsInFlight
from crosskey.serving.session import SessionTypes
from crosskey.serving.sessions import Sessions
from crosskey.v1 import router_pb2, router_pb2_grpc

CALLS_KEY = "crosskey-node-calls"
"""The trailer that says which RPCs to nodes a request took, in order."""

MAX_CALLS_LENGTH = 4096
"""gRPC loses an answer with more than 8 KB of trailers: the account of very many retries is cut."""

Context = grpc.aio.ServicerContext[Any, Any]
Response = TypeVar("Response")

_SESSION_TYPES = SessionTypes("Router", router_pb2.Answer, router_pb2.SessionResponse, errors.to_cut_failure)


class Router(router_pb2_grpc.RouterServicer):
    """Reads and writes rows, on whichever shards they live."""

    def __init__(self, requests: Requests, opener: Opener, in_flight: CallsInFlight) -> None:
        self._requests = requests
        self._sessions = Sessions(_SESSION_TYPES, lambda: SessionCalls(requests, opener), in_flight)

    async def drain(self) -> None:
        """Has every session end once nothing is under way there."""
        await self._sessions.drain()

    @override
    async def Session(  # type: ignore[override]  # grpc.aio takes a coroutine that reads and writes as well
        self, request_iterator: AsyncIterator[router_pb2.SessionRequest], context: Context
    ) -> None:
        await self._sessions.serve(context)

    @override
    async def Insert(self, request: router_pb2.InsertRequest, context: Context) -> router_pb2.InsertResponse:
        return await _accounted(self._requests.insert(request), context)

    @override
    async def Update(self, request: router_pb2.UpdateRequest, context: Context) -> router_pb2.UpdateResponse:
        return await _accounted(self._requests.update(request), context)

    @override
    async def Delete(self, request: router_pb2.DeleteRequest, context: Context) -> router_pb2.DeleteResponse:
        return await _accounted(self._requests.delete(request), context)

    @override
    async def Associate(self, request: router_pb2.AssociateRequest, context: Context) -> router_pb2.AssociateResponse:
        return await _accounted(self._requests.associate(request), context)

    @override
    async def Transact(self, request: router_pb2.TransactRequest, context: Context) -> router_pb2.TransactResponse:
        return await _accounted(self._requests.transact(request), context)

    @override
    async def Get(self, request: router_pb2.GetRequest, context: Context) -> router_pb2.GetResponse:
        return await _accounted(self._requests.get(request), context)

    @override
    async def List(self, request: router_pb2.ListRequest, context: Context) -> router_pb2.ListResponse:
        return await _accounted(self._requests.list(request), context)

    @override
    async def StreamList(
        self, request: router_pb2.StreamListRequest, context: Context
    ) -> AsyncIterator[router_pb2.StreamListResponse]:
        with call_context(context.time_remaining()):
            async for page in self._requests.pages(request):
                yield page

    @override
    async def Watch(
        self, request: router_pb2.WatchRequest, context: Context
    ) -> AsyncIterator[router_pb2.WatchResponse]:
        # It lasts for as long as the client wants, so its calls to nodes have deadlines of their own.
        async with aclosing(self._requests.watch(request)) as responses:
            async for response in responses:
                yield response

    @override
    async def Count(self, request: router_pb2.CountRequest, context: Context) -> router_pb2.CountResponse:
        return await _accounted(self._requests.count(request), context)

    @override
    async def Aggregate(self, request: router_pb2.AggregateRequest, context: Context) -> router_pb2.AggregateResponse:
        return await _accounted(self._requests.aggregate(request), context)

    @override
    async def Load(
        self, request_iterator: AsyncIterator[router_pb2.LoadRequest], context: Context
    ) -> router_pb2.LoadResponse:
        return await _accounted(self._requests.load(request_iterator), context)

    @override
    async def ListLoadedBatches(
        self, request: router_pb2.ListLoadedBatchesRequest, context: Context
    ) -> router_pb2.ListLoadedBatchesResponse:
        return await _accounted(self._requests.list_loaded_batches(request), context)

    @override
    async def FinishLoad(
        self, request: router_pb2.FinishLoadRequest, context: Context
    ) -> router_pb2.FinishLoadResponse:
        return await _accounted(self._requests.finish_load(request), context)

    @override
    async def Explain(self, request: router_pb2.ExplainRequest, context: Context) -> router_pb2.ExplainResponse:
        return await _accounted(self._requests.explain(request), context)


class SessionCalls(CallHandlers):
    """The requests that come on a session, and the transactions that go on there over several of them."""

    def __init__(self, requests: Requests, opener: Opener) -> None:
        self._transactions = SessionTransactions(opener, lambda: self.on_idle())
        super().__init__(
            {
                "insert": requests.insert,
                "get": requests.get,
                "update": requests.update,
                "delete": requests.delete,
                "list": requests.list,
                "count": requests.count,
                "transact": requests.transact,
                "explain": requests.explain,
                "list_loaded_batches": requests.list_loaded_batches,
                "finish_load": requests.finish_load,
                "aggregate": requests.aggregate,
                "associate": requests.associate,
                **self._transactions.handlers,
            }
        )

    @override
    async def answer(self, kind: str, call: Any) -> dict[str, Any]:
        context = begin_call_context(call.timeout_ms / 1000 if call.timeout_ms else None)
        response = await self.handlers[kind](getattr(call, kind))
        return {kind: response, "node_calls": context.calls}

    @override
    def goes_on(self, kind: str, request: Any) -> bool:
        return self._transactions.goes_on(kind, request)

    @property
    @override
    def is_idle(self) -> bool:
        return self._transactions.is_idle

    @override
    async def close(self) -> None:
        await self._transactions.close()


async def _accounted(answering: Awaitable[Response], context: Context) -> Response:
    """Answers a unary call within its deadline, with an account of the calls to nodes that it took."""
    with call_context(context.time_remaining()) as call:
        response = await answering
        account = ", ".join(call.calls)
        if len(account) > MAX_CALLS_LENGTH:
            account = account[:MAX_CALLS_LENGTH] + "..."
        context.set_trailing_metadata(((CALLS_KEY, account),))
        return response
