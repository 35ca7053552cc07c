"""What a router does for each request of the public API: check, carry out, answer; however the request came."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TypeVar

from google.protobuf.message import Message

from crosskey.router import explaining
from crosskey.router.administration.cleaning_up import Cleaner
from crosskey.router.calls.cluster import Cluster
from crosskey.router.foreseeing import foresee
from crosskey.router.planning.ids_of_statements import refuse_ids_of_statements, refuse_ids_to_explain
from crosskey.router.planning.rights import allow, current_caller
from crosskey.router.planning.row_locks import refuse_lock
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.shadow_hints import ShadowHints
from crosskey.router.planning.taken_values import refuse_taken
from crosskey.router.planning.watches import plan_watch
from crosskey.router.reading.reader import Reader
from crosskey.router.row_answers import aggregate_response, fill_rows, get_response, list_response
from crosskey.router.watching.watches import Watches
from crosskey.router.writing.loader import Loader
from crosskey.router.writing.pipeline import Pipeline
from crosskey.router.writing.repeats import Keeping, Repeats
from crosskey.router.writing.statement_results import (
    associate_response,
    fill_insert_response,
    fill_update_response,
    statement_results,
)
from crosskey.router.writing.step_running import StepResult
from crosskey.router.writing.write_results import WriteResult
from crosskey.serving.interceptor import well_formed
from crosskey.v1 import router_pb2

Request = TypeVar("Request", bound=Message)
Result = TypeVar("Result")


class Requests:
    """Reads and writes rows, on whichever shards they live. Each method takes a request of Router, and answers it.

    Works within the current call context. Raises CrosskeyError.
    """

    def __init__(
        self,
        cluster: Cluster,
        reader: Reader,
        writes: Pipeline,
        hints: ShadowHints,
        loader: Loader,
        watches: Watches,
        cleaner: Cleaner,
        repeats: Repeats,
    ) -> None:
        self._cluster = cluster
        self._reader = reader
        self._writes = writes
        self._hints = hints
        self._loader = loader
        self._watches = watches
        self._cleaner = cleaner
        self._repeats = repeats

    async def insert(self, request: router_pb2.InsertRequest) -> router_pb2.InsertResponse:
        """Inserts rows."""
        allow(request)
        refuse_taken(request)

        def respond(result: WriteResult) -> router_pb2.InsertResponse:
            response = router_pb2.InsertResponse()
            fill_insert_response(response, request, result)
            return response

        return await self._repeats.once(
            request, router_pb2.InsertResponse, respond, self._by_schema(self._writes.insert, request)
        )

    async def update(self, request: router_pb2.UpdateRequest) -> router_pb2.UpdateResponse:
        """Changes rows."""
        allow(request)
        refuse_taken(request)

        def respond(result: WriteResult) -> router_pb2.UpdateResponse:
            response = router_pb2.UpdateResponse()
            fill_update_response(response, request, result)
            return response

        return await self._repeats.once(
            request, router_pb2.UpdateResponse, respond, self._by_schema(self._writes.update, request)
        )

    async def delete(self, request: router_pb2.DeleteRequest) -> router_pb2.DeleteResponse:
        """Deletes rows."""
        allow(request)
        refuse_taken(request)

        def respond(result: WriteResult) -> router_pb2.DeleteResponse:
            return router_pb2.DeleteResponse(count=result.count)

        response = await self._repeats.once(
            request, router_pb2.DeleteResponse, respond, self._by_schema(self._writes.delete, request)
        )
        if (await self._cluster.view()).cleans_up:
            self._cleaner.deleted()
        return response

    async def associate(self, request: router_pb2.AssociateRequest) -> router_pb2.AssociateResponse:
        """Says which rows a relation of a row has."""
        allow(request)
        return await self._repeats.once(
            request, router_pb2.AssociateResponse, associate_response, self._by_schema(self._writes.associate, request)
        )

    async def transact(self, request: router_pb2.TransactRequest) -> router_pb2.TransactResponse:
        """Runs statements in one transaction."""
        allow(request)
        refuse_ids_of_statements(request)

        def respond(results: Sequence[StepResult]) -> router_pb2.TransactResponse:
            return router_pb2.TransactResponse(results=statement_results(request.statements, results))

        response = await self._repeats.once(
            request, router_pb2.TransactResponse, respond, self._by_schema(self._writes.transact, request)
        )
        if (await self._cluster.view()).cleans_up:
            self._cleaner.deleted()
        return response

    def _by_schema(
        self, write: Callable[[SchemaView, Request, Keeping | None], Awaitable[Result]], request: Request
    ) -> Callable[[Keeping | None], Awaitable[Result]]:
        """The write by the schema in force, given how its answer is to be kept."""
        return lambda keeping: self._cluster.by_schema(lambda view: write(view, request, keeping))

    async def get(self, request: router_pb2.GetRequest) -> router_pb2.GetResponse:
        """Reads a row."""
        allow(request)
        _refuse_what_needs_a_transaction(request)
        return get_response(request, await self._cluster.read_by_schema(lambda view: self._reader.get(view, request)))

    async def list(self, request: router_pb2.ListRequest) -> router_pb2.ListResponse:
        """Reads a page of rows."""
        allow(request)
        _refuse_what_needs_a_transaction(request)
        page = await self._cluster.read_by_schema(lambda view: self._reader.list_page(view, request))
        return list_response(request, page.rows_json, page.next_page_token)

    async def count(self, request: router_pb2.CountRequest) -> router_pb2.CountResponse:
        """Counts rows."""
        allow(request)
        refuse_taken(request)
        count = await self._cluster.read_by_schema(lambda view: self._reader.count(view, request))
        return router_pb2.CountResponse(count=count)

    async def pages(self, request: router_pb2.StreamListRequest) -> AsyncIterator[router_pb2.StreamListResponse]:
        """Reads all pages of a list."""
        _refuse_what_needs_a_transaction(request.list)
        following = router_pb2.ListRequest()
        following.CopyFrom(request.list)
        while True:
            allow(request)
            # Each by the schema in force: it may change between two.
            page = await self._cluster.read_by_schema(lambda view: self._reader.list_page(view, following))
            response = router_pb2.StreamListResponse(next_page_token=page.next_page_token)
            fill_rows(response, request.list, page.rows_json)
            yield response
            if not page.next_page_token:
                return
            following.page_token = page.next_page_token

    async def aggregate(self, request: router_pb2.AggregateRequest) -> router_pb2.AggregateResponse:
        """Aggregates rows."""
        allow(request)
        refuse_taken(request)
        found = await self._cluster.read_by_schema(lambda view: self._reader.aggregate(view, request))
        return aggregate_response(request, found)

    async def watch(self, request: router_pb2.WatchRequest) -> AsyncGenerator[router_pb2.WatchResponse, None]:
        """Streams events."""
        allow(request)
        view = await self._cluster.by_schema(lambda view: _watchable(view, request))
        async with aclosing(self._watches.watch(view, request)) as responses:
            async for response in responses:
                allow(request)
                yield response

    async def load(self, requests: AsyncIterator[router_pb2.LoadRequest]) -> router_pb2.LoadResponse:
        """Loads rows."""
        return await self._loader.load(requests if current_caller.get() is None else _allowed(requests))

    async def list_loaded_batches(
        self, request: router_pb2.ListLoadedBatchesRequest
    ) -> router_pb2.ListLoadedBatchesResponse:
        """Lists the committed batches of a load."""
        allow(request)
        batches = await self._loader.list_batches(request.load)
        return router_pb2.ListLoadedBatchesResponse(
            batches=[router_pb2.ListLoadedBatchesResponse.Batch(batch=one.batch, digest=one.digest) for one in batches]
        )

    async def finish_load(self, request: router_pb2.FinishLoadRequest) -> router_pb2.FinishLoadResponse:
        """Ends a load."""
        allow(request)
        await self._loader.finish(request)
        return router_pb2.FinishLoadResponse()

    async def explain(self, request: router_pb2.ExplainRequest) -> router_pb2.ExplainResponse:
        """Says what a request would do."""
        allow(request)
        refuse_ids_to_explain(request)
        kind = request.WhichOneof("request")
        if kind not in (None, "transact"):
            _refuse_what_needs_a_transaction(getattr(request, kind))
        return await self._cluster.by_schema(lambda view: self._explain(view, request))

    async def _explain(self, view: SchemaView, request: router_pb2.ExplainRequest) -> router_pb2.ExplainResponse:
        foresight = foresee(view, self._writes.value_generator.blocks, request)
        explanation = explaining.explain(view, self._hints, request, foresight.all_generated)
        foresight.add_to(explanation)
        return explanation


async def _watchable(view: SchemaView, request: router_pb2.WatchRequest) -> SchemaView:
    """The same view, if it knows what is to be watched. Raises what plan_watch raises."""
    plan_watch(view, request)
    return view


async def _allowed(requests: AsyncIterator[router_pb2.LoadRequest]) -> AsyncIterator[router_pb2.LoadRequest]:
    """The messages of a load, of which the first names the table."""
    table = ""
    async for request in requests:
        table = well_formed(request).table or table
        allow(router_pb2.LoadRequest(table=table))
        yield request


def _refuse_what_needs_a_transaction(request: Message) -> None:
    """Raises InvalidRequest for a lock, and for values of earlier answers."""
    refuse_lock(request)
    refuse_taken(request)
