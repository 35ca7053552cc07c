"""Carrying out Watch: each shard is asked for what comes next, and what arrives is passed on in one stream.

A shard is asked once more while the client takes what came before, and no further: so a slow client is waited for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass

from crosskey import errors
from crosskey.internal.v1 import events_pb2
from crosskey.pauses import growing_pauses
from crosskey.router.calls.call_context import call_context_of_its_own
from crosskey.router.calls.fan_out import fan_out
from crosskey.router.calls.nodes import Node, Nodes
from crosskey.router.planning import resume_token
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.watches import WatchPlan, plan_watch
from crosskey.rows import json_rows_to_structs
from crosskey.v1 import router_pb2

BATCH_EVENTS = 1000
BATCH_BYTES = 1024 * 1024
"""Of one answer of a node: enough to make little of its cost, and few enough to be held for each watcher and shard."""

BEGIN_WAIT_SECONDS = 5.0
"""How long a node waits at a time for what is under way, so that it knows where a stream begins."""

MAX_WAIT_SECONDS = 1.0
"""How long a node waits at most for events, however rarely marks are to come.

Its answer says how far the shard is, which the events of other shards may wait for; and until then it cannot stop.
"""

MARGIN_SECONDS = 5.0
"""How much longer than a node waits a router waits for its answer."""

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 1.0
"""Before a node is asked again that did not answer."""

_PASSING = (errors.ShardUnavailable, errors.Overloaded, errors.DeadlineExceeded, errors.Conflict)
"""What a stream waits for to pass."""


@dataclass(frozen=True)
class _Arrival:
    """What a shard has answered; `taken` is set when the client has it."""

    shard: int
    answer: events_pb2.ReadEventsResponse
    taken: asyncio.Event


_Inbox = asyncio.Queue["_Arrival | Exception"]


class Watches:
    """The streams of all clients of a router."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._inboxes: set[_Inbox] = set()
        self._stops = False

    def drain(self) -> None:
        """Ends every stream: the router is about to stop."""
        self._stops = True
        for inbox in self._inboxes:
            inbox.put_nowait(_about_to_stop())

    async def watch(
        self, view: SchemaView, request: router_pb2.WatchRequest
    ) -> AsyncGenerator[router_pb2.WatchResponse, None]:
        """Yields responses for ever. Raises what plan_watch raises, EventsGone, and ShardUnavailable at its end.

        The first response comes when every shard has said where the stream begins.
        """
        plan = plan_watch(view, request)
        if self._stops:
            raise _about_to_stop()
        inbox: _Inbox = asyncio.Queue()
        followers: list[asyncio.Task[None]] = []
        self._inboxes.add(inbox)
        try:
            stream = _Stream(view, plan, await self._begin(plan, inbox))
            followers += (asyncio.create_task(_follow_or_tell(node, plan, stream, inbox)) for node in self._nodes)
            yield stream.response()
            while True:
                arrival = await _next_or_none(inbox, stream.due)
                if arrival is None:
                    yield stream.response()
                    continue
                stream.take(arrival)
                if arrival.answer.events:
                    yield stream.response(arrival.answer.events)
                arrival.taken.set()
        finally:
            self._inboxes.discard(inbox)
            for follower in followers:
                follower.cancel()
            await asyncio.gather(*followers, return_exceptions=True)

    async def _begin(self, plan: WatchPlan, inbox: _Inbox) -> Mapping[int, int]:
        """The position on each shard behind which the stream begins. The conditions are checked on all of them.

        That may wait for long for what is open on a shard. Raises an error that comes to the inbox meanwhile.
        """
        beginning = asyncio.create_task(fan_out({node.shard: _begin_on(node, plan) for node in self._nodes}))
        ended = asyncio.create_task(inbox.get())
        try:
            await asyncio.wait((beginning, ended), return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                _or_raise(ended.result())
            return beginning.result()
        finally:
            beginning.cancel()
            ended.cancel()
            await asyncio.gather(beginning, ended, return_exceptions=True)


class _Stream:
    """What one client has been given so far."""

    def __init__(self, view: SchemaView, plan: WatchPlan, positions: Mapping[int, int]) -> None:
        self.positions = dict(positions)
        self.due = 0.0
        """When the next response must come, by time.monotonic."""
        self._view = view
        self._plan = plan
        self._resolved: dict[int, tuple[int, int]] = {}
        self._through = dict(positions)
        self._advanced = asyncio.Event()

    async def wait_behind(self, elsewhere: Sequence[events_pb2.EventsElsewhere]) -> None:
        """Waits until the client has been given all these events of other shards."""
        while any(self._through[one.shard] < one.through for one in elsewhere):
            await self._advanced.wait()

    def take(self, arrival: _Arrival) -> None:
        """Takes note of what a shard has answered; its events are then as the client wants them."""
        answer = arrival.answer
        self.positions[arrival.shard] = answer.position
        if answer.HasField("resolved"):
            self._resolved[arrival.shard] = answer.resolved.seconds, answer.resolved.nanos
        self._through[arrival.shard] = answer.through
        self._advanced.set()
        self._advanced = asyncio.Event()
        for event in answer.events:
            event.shard = arrival.shard
        if self._plan.as_structs:
            _show_as_structs(answer.events)

    def response(self, events: Sequence[router_pb2.Event] = ()) -> router_pb2.WatchResponse:
        """A response with events, the token behind them, and up to when the stream is resolved."""
        self.due = time.monotonic() + self._plan.resolved_interval_seconds
        response = router_pb2.WatchResponse(events=events, resume_token=resume_token.encode(self._view, self.positions))
        if len(self._resolved) == len(self.positions):
            response.resolved.seconds, response.resolved.nanos = min(self._resolved.values())
        return response


async def _begin_on(node: Node, plan: WatchPlan) -> int:
    if plan.positions is not None:
        after = plan.positions[node.shard]
        with call_context_of_its_own(MARGIN_SECONDS):
            await node.read_events(events_pb2.ReadEventsRequest(after=after, tables=plan.tables, limit=1, check=True))
        return after
    request = events_pb2.ReadEventsRequest(tables=plan.tables, wait_ms=int(BEGIN_WAIT_SECONDS * 1000), check=True)
    while True:
        with call_context_of_its_own(BEGIN_WAIT_SECONDS + MARGIN_SECONDS):
            answer = await node.read_events(request)
        if answer.HasField("position"):
            return answer.position


async def _follow_or_tell(node: Node, plan: WatchPlan, stream: _Stream, inbox: _Inbox) -> None:
    """Passes on what a shard answers. The inbox gets the error that ends that: a stream must not go on without it."""
    try:
        await _follow(node, plan, stream, inbox)
    except Exception as error:
        inbox.put_nowait(error)


async def _follow(node: Node, plan: WatchPlan, stream: _Stream, inbox: _Inbox) -> None:
    """Asks a shard for what comes next, again and again; the inbox gets the answers. Raises what ends the stream."""
    after = stream.positions[node.shard]
    taken = asyncio.Event()
    taken.set()
    wait_seconds = min(plan.resolved_interval_seconds, MAX_WAIT_SECONDS)
    request = events_pb2.ReadEventsRequest(
        tables=plan.tables, limit=BATCH_EVENTS, max_bytes=BATCH_BYTES, wait_ms=int(wait_seconds * 1000)
    )
    while True:
        request.after = after
        answer = await _read_patiently(node, request, wait_seconds + MARGIN_SECONDS)
        after = answer.position
        await taken.wait()
        await stream.wait_behind(answer.behind)
        taken = asyncio.Event()
        inbox.put_nowait(_Arrival(node.shard, answer, taken))


async def _read_patiently(
    node: Node, request: events_pb2.ReadEventsRequest, timeout_seconds: float
) -> events_pb2.ReadEventsResponse:
    """Asks until the shard answers. Raises what does not pass."""
    pauses = growing_pauses(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
    while True:
        try:
            with call_context_of_its_own(timeout_seconds):
                return await node.read_events(request)
        except _PASSING:
            await asyncio.sleep(next(pauses))


async def _next_or_none(inbox: _Inbox, due: float) -> _Arrival | None:
    """What arrives next; None if nothing does before it is due to say so. Raises the error that ends the stream."""
    try:
        async with asyncio.timeout(max(due - time.monotonic(), 0)):
            arrival = await inbox.get()
    except TimeoutError:
        return None
    return _or_raise(arrival)


def _or_raise(arrival: _Arrival | Exception) -> _Arrival:
    if isinstance(arrival, Exception):
        raise arrival
    return arrival


def _show_as_structs(events: Sequence[router_pb2.Event]) -> None:
    """Has the rows of events in place of their JSON text."""
    for event in events:
        for image in ("before", "after"):
            text = getattr(event, f"{image}_json")
            if text:
                getattr(event, image).CopyFrom(json_rows_to_structs(f"[{text}]".encode())[0])
                event.ClearField(f"{image}_json")  # type: ignore[arg-type]


def _about_to_stop() -> errors.ShardUnavailable:
    return errors.ShardUnavailable("this router is about to stop: watch again, from behind the last token")
