"""A client that shows what it asks and is answered, and what calls to nodes that took: stories are told with it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import grpc
import msgspec
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

import crosskey
from crosskey._operations import Call
from crosskey.cli.demo.story_page import StoryPage
from crosskey.requests import Request, explanation
from crosskey.row_reading import JsonRows, ask_for
from crosskey.v1 import router_pb2
from crosskey.v1.router_pb2_grpc import RouterStub

ADDRESS = "127.0.0.1:7400"
NODE_CALLS = "crosskey-node-calls"
SETTLING_SECONDS = 30.0
POLL_SECONDS = 0.02
SHOWN_OF_TOKEN = 8

Answer = TypeVar("Answer")


class ShowingClient(crosskey.Client):
    """A crosskey.Client that prints each request and its answer; `page` takes the words between them.

    `quiet` is a plain client, for what need not be seen.
    """

    def __init__(self, address: str) -> None:
        """Connect to the router at HOST:PORT."""
        super().__init__(address)
        self.address = address
        self.page = StoryPage()
        self.quiet = crosskey.Client(address)

    def close(self) -> None:
        """Close both connections."""
        self.quiet.close()
        super().close()

    def scene(self, title: str, words: str) -> None:
        """Begin a scene. Pins of the scene before are finished first, so that each run takes the same calls."""
        _wait_until_none_in_doubt(self.quiet)
        self.page.scene(title)
        self.page.tell(words)

    def say(self, words: str) -> None:
        """Go on within a scene."""
        self.page.space()
        self.page.tell(words)

    def show_plan(self, request: Request) -> None:
        """Show which calls to nodes a request would take, as Explain foresees them. Nothing is done."""
        self.page.request("Router/Explain", _shown(explanation(request)))
        self.page.json({"rpcs": list(self.quiet.explain(request).rpcs)})

    def show_stream(self, request: router_pb2.ListRequest) -> None:
        """Show how many rows each message of StreamList brings, which the client has no method for yet."""
        ask_for(request, JsonRows.form)
        self.page.request("Router/StreamList", {"list": _shown(request)})
        stream = RouterStub(self._channel).StreamList(router_pb2.StreamListRequest(list=request), timeout=self.timeout)
        for message in stream:
            self.page.note(f"a message with {len(msgspec.json.decode(message.rows_json))} rows")

    @contextmanager
    def refused(self, *refusals: type[crosskey.CrosskeyError]) -> Iterator[None]:
        """What is asked within is to be refused. Raises AssertionError if it is not."""
        try:
            yield
        except refusals:
            return
        raise AssertionError("this was to be refused, and was not")

    def _perform(self, call: Call[Answer]) -> Answer:
        """Ask by a call of its own instead of the session, since such a call has the trailer."""
        ask_for(call.request, JsonRows.form)
        self.page.request(f"{call.service}/{call.method}", _shown(call.request))
        rpc = getattr(self._stubs[call.service], call.method)
        try:
            response, done = rpc.with_call(call.request, timeout=self.timeout)
        except grpc.RpcError as refusal:
            error = crosskey.errors.from_rpc_error(refusal)
            self.page.note(f"{error.code.name}: {error.message}", "bold red")
            raise error from refusal
        self.page.json(_shown(response) or {"count": "0"})
        calls = str(dict(done.trailing_metadata()).get(NODE_CALLS, "none"))
        self.page.note(f"calls to nodes: {calls.replace('ShardNode.', '')}", "dim")
        return call.read(response, JsonRows())


def tell(story: Callable[[ShowingClient], None]) -> None:
    """Tell a story to the router whose address is on the command line, or to that of `make up`."""
    with ShowingClient(sys.argv[1] if len(sys.argv) > 1 else ADDRESS) as client:
        try:
            story(client)
        except crosskey.CrosskeyError as error:
            sys.exit(f"The story cannot go on: {error}")


def start_over(client: ShowingClient, **tables: str) -> None:
    """Delete all rows of an earlier telling: of each table, given with a column that is never NULL, children first."""
    for table, column in tables.items():
        client.quiet.delete(table, where=crosskey.is_null(column, False))


def _wait_until_none_in_doubt(client: crosskey.Client) -> None:
    """Wait until no transaction is prepared. Raises AssertionError if one stays."""
    deadline = time.monotonic() + SETTLING_SECONDS
    while client.list_in_doubt().transactions:
        assert time.monotonic() < deadline, "a transaction stays prepared"
        time.sleep(POLL_SECONDS)


def _shown(message: Message) -> dict[str, Any]:
    """The message as grpcurl takes and shows it: the client sends rows as texts of JSON, which are read here."""
    shown: dict[str, Any] = _plain(MessageToDict(message, preserving_proto_field_name=True))
    return shown


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    fields = {name: item for name, item in value.items() if name not in ("row_form", "json_text_columns")}
    return {name.removesuffix("_json"): _field(name, item) for name, item in fields.items()}


def _field(name: str, value: Any) -> Any:
    if name.endswith("_json"):
        return _plain(msgspec.json.decode(value))
    if name == "crosskey_next":
        return {relation: _shortened(token) for relation, token in value.items()}
    return _shortened(value) if name.endswith("page_token") else _plain(value)


def _shortened(token: str) -> str:
    return f"{token[:SHOWN_OF_TOKEN]}…"
