"""The public Router service: check, call, respond."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from typing_extensions import override

from crosskey.router import explaining
from crosskey.router.calls.call_context import call_context
from crosskey.router.calls.cluster import Cluster
from crosskey.router.foreseeing import foresee
from crosskey.router.planning.reserved_fields import refuse_reserved
from crosskey.router.planning.shadow_hints import ShadowHints
from crosskey.router.reading.reader import Reader
from crosskey.router.row_answers import fill_row, fill_rows
from crosskey.router.writing.loader import Loader
from crosskey.router.writing.pipeline import Pipeline
from crosskey.router.writing.statement_results import fill_insert_response, fill_update_response, statement_results
from crosskey.v1 import router_pb2, router_pb2_grpc

CALLS_KEY = "crosskey-node-calls"
"""The trailer that says which RPCs to nodes a request took, in order."""

MAX_CALLS_LENGTH = 4096
"""gRPC loses an answer with more than 8 KB of trailers: the account of very many retries is cut."""

Context = grpc.aio.ServicerContext[Any, Any]


class Router(router_pb2_grpc.RouterServicer):
    """Reads and writes rows, on whichever shards they live."""

    def __init__(
        self,
        cluster: Cluster,
        reader: Reader,
        writes: Pipeline,
        hints: ShadowHints,
        loader: Loader,
    ) -> None:
        self._cluster = cluster
        self._reader = reader
        self._writes = writes
        self._hints = hints
        self._loader = loader

    @override
    async def Insert(self, request: router_pb2.InsertRequest, context: Context) -> router_pb2.InsertResponse:
        with _request(context):
            refuse_reserved(request)
            result = await self._writes.insert(await self._cluster.view(), request)
            response = router_pb2.InsertResponse()
            fill_insert_response(response, request, result)
            return response

    @override
    async def Update(self, request: router_pb2.UpdateRequest, context: Context) -> router_pb2.UpdateResponse:
        with _request(context):
            refuse_reserved(request)
            result = await self._writes.update(await self._cluster.view(), request)
            response = router_pb2.UpdateResponse()
            fill_update_response(response, request, result)
            return response

    @override
    async def Delete(self, request: router_pb2.DeleteRequest, context: Context) -> router_pb2.DeleteResponse:
        with _request(context):
            refuse_reserved(request)
            result = await self._writes.delete(await self._cluster.view(), request)
            return router_pb2.DeleteResponse(count=result.count)

    @override
    async def Transact(self, request: router_pb2.TransactRequest, context: Context) -> router_pb2.TransactResponse:
        with _request(context):
            refuse_reserved(request)
            results = await self._writes.transact(await self._cluster.view(), request)
            return router_pb2.TransactResponse(results=statement_results(request.statements, results))

    @override
    async def Get(self, request: router_pb2.GetRequest, context: Context) -> router_pb2.GetResponse:
        with _request(context):
            row_json = await self._reader.get(await self._cluster.view(), request)
            response = router_pb2.GetResponse()
            fill_row(response, request, row_json)
            return response

    @override
    async def List(self, request: router_pb2.ListRequest, context: Context) -> router_pb2.ListResponse:
        with _request(context):
            page = await self._reader.list_page(await self._cluster.view(), request)
            response = router_pb2.ListResponse(next_page_token=page.next_page_token)
            fill_rows(response, request, page.rows_json)
            return response

    @override
    async def StreamList(
        self, request: router_pb2.StreamListRequest, context: Context
    ) -> AsyncIterator[router_pb2.StreamListResponse]:
        with _request(context):
            async for page in self._reader.pages(await self._cluster.view(), request.list):
                response = router_pb2.StreamListResponse(next_page_token=page.next_page_token)
                fill_rows(response, request.list, page.rows_json)
                yield response

    @override
    async def Count(self, request: router_pb2.CountRequest, context: Context) -> router_pb2.CountResponse:
        with _request(context):
            return router_pb2.CountResponse(count=await self._reader.count(await self._cluster.view(), request))

    @override
    async def Aggregate(self, request: router_pb2.AggregateRequest, context: Context) -> router_pb2.AggregateResponse:
        with _request(context):
            response = router_pb2.AggregateResponse()
            fill_rows(response, request, await self._reader.aggregate(await self._cluster.view(), request))
            return response

    @override
    async def Load(
        self, request_iterator: AsyncIterator[router_pb2.LoadRequest], context: Context
    ) -> router_pb2.LoadResponse:
        with _request(context):
            return await self._loader.load(request_iterator)

    @override
    async def ListLoadedBatches(
        self, request: router_pb2.ListLoadedBatchesRequest, context: Context
    ) -> router_pb2.ListLoadedBatchesResponse:
        with _request(context):
            batches = await self._loader.list_batches(request.load)
            return router_pb2.ListLoadedBatchesResponse(
                batches=[
                    router_pb2.ListLoadedBatchesResponse.Batch(batch=one.batch, digest=one.digest) for one in batches
                ]
            )

    @override
    async def FinishLoad(
        self, request: router_pb2.FinishLoadRequest, context: Context
    ) -> router_pb2.FinishLoadResponse:
        with _request(context):
            await self._loader.finish(request)
            return router_pb2.FinishLoadResponse()

    @override
    async def Explain(self, request: router_pb2.ExplainRequest, context: Context) -> router_pb2.ExplainResponse:
        with _request(context):
            refuse_reserved(request)
            view = await self._cluster.view()
            foresight = foresee(view, self._writes.supplier.blocks, request)
            explanation = explaining.explain(view, self._hints, request, foresight.supplies)
            foresight.add_to(explanation)
            return explanation


@contextmanager
def _request(context: Context) -> Iterator[None]:
    """The deadline of a request, and an account of the calls that it took."""
    with call_context(context.time_remaining()) as call:
        yield
        account = ", ".join(call.calls)
        if len(account) > MAX_CALLS_LENGTH:
            account = account[:MAX_CALLS_LENGTH] + "..."
        context.set_trailing_metadata(((CALLS_KEY, account),))
