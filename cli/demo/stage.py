"""Where the story of the demo plays: each request is sent, and shown with its answer and the calls to nodes it took."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message

from crosskey import errors
from crosskey.cli.demo.node_view import NodeView, view_of_nodes
from crosskey.cli.demo.story_page import StoryPage
from crosskey.local_cluster.cluster_error import ClusterError
from crosskey.local_cluster.local_channel import local_channel
from crosskey.v1 import admin_pb2, router_pb2
from crosskey.v1.admin_pb2_grpc import AdminStub
from crosskey.v1.router_pb2_grpc import RouterStub

CALL_SECONDS = 30.0
CALLS_KEY = "crosskey-node-calls"

Json = dict[str, Any]


class StoryWentWrong(ClusterError):
    """The cluster did something else than the story says."""


class Stage:
    """A running cluster, and the page that shows what is done with it."""

    def __init__(self, channel: grpc.Channel, nodes: NodeView, page: StoryPage) -> None:
        """Take a channel to the router."""
        self._router = RouterStub(channel)
        self._admin = AdminStub(channel)
        self.nodes = nodes
        self.page = page

    def call(self, method: str, request: Json) -> tuple[Json, list[str]]:
        """Call a method of Router; return the answer and the calls to nodes, such as `s1 ShardNode.Run`.

        Raises what the router raises.
        """
        self.page.request(f"Router/{method}", request)
        try:
            response, call = getattr(self._router, method).with_call(_parse(method, request), timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            raise errors.from_rpc_error(error) from error
        answer = _to_json(response)
        self.page.json(answer)
        node_calls = _node_calls(call.trailing_metadata())
        self.page.note(f"calls to nodes: {', '.join(node_calls).replace('ShardNode.', '')}", "dim")
        return answer, node_calls

    def refused_call(self, method: str, request: Json) -> errors.CrosskeyError:
        """Call a method of Router that is to be refused; return the error. Raises StoryWentWrong if it is not."""
        self.page.request(f"Router/{method}", request)
        try:
            getattr(self._router, method)(_parse(method, request), timeout=CALL_SECONDS)
        except grpc.RpcError as rpc_error:
            error = errors.from_rpc_error(rpc_error)
            self.page.note(f"{error.code.name}: {error.message}", "bold red")
            self.page.json({"reason": error.reason_name, "metadata": error.metadata})
            return error
        raise StoryWentWrong(f"{method} was to be refused, and was not")

    def audit(self) -> list[admin_pb2.AuditResponse]:
        """Call Admin/Audit; return its findings. Raises what the router raises."""
        self.page.request("Admin/Audit", {})
        try:
            findings = list(self._admin.Audit(admin_pb2.AuditRequest(), timeout=CALL_SECONDS))
        except grpc.RpcError as error:
            raise errors.from_rpc_error(error) from error
        for finding in findings:
            self.page.json(_to_json(finding))
        return findings


def expect(as_told: bool, story: str) -> None:
    """Raise StoryWentWrong unless the cluster did as told; `story` says what it was to do."""
    if not as_told:
        raise StoryWentWrong(f"the story went another way than this: {story}")


@contextmanager
def opened_stage(router: str, nodes: Sequence[str], page: StoryPage) -> Iterator[Stage]:
    """Connect to the router and to the nodes, all given as HOST:PORT."""
    with local_channel(router) as channel, view_of_nodes(nodes, CALL_SECONDS) as view:
        yield Stage(channel, view, page)


def _parse(method: str, request: Json) -> Any:
    return ParseDict(request, getattr(router_pb2, f"{method}Request")())


def _to_json(message: Message) -> Json:
    """The message as grpcurl shows it: fields of a row by name, and whole numbers without a point."""
    fields = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return {name: _tidy(value) for name, value in fields.items()}


def _tidy(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _tidy(item) for name, item in sorted(value.items())}
    if isinstance(value, list):
        return [_tidy(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _node_calls(trailers: Sequence[tuple[str, str | bytes]]) -> list[str]:
    calls = {key: value for key, value in trailers if isinstance(value, str)}.get(CALLS_KEY, "")
    return calls.split(", ") if calls else []
