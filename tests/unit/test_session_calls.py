"""Every unary method of Router can be called on a session, and means the same there."""

from __future__ import annotations

from typing import Any, cast

import pytest
from google.protobuf.descriptor import MethodDescriptor

from crosskey import _operations as operations
from crosskey import errors
from crosskey.router.requests import Requests
from crosskey.router.router_service import SessionCalls
from crosskey.router.session_transactions import Bounds, Opener
from crosskey.v1 import router_pb2

SERVICE = router_pb2.DESCRIPTOR.services_by_name["Router"]
UNARY = [method for method in SERVICE.methods if not method.client_streaming and not method.server_streaming]
CALLS = router_pb2.Call.DESCRIPTOR.oneofs_by_name["call"].fields
ANSWERS = router_pb2.Answer.DESCRIPTOR.oneofs_by_name["answer"].fields

OF_TRANSACTIONS = {"begin", "run_statement", "begin_group", "end_group", "commit", "roll_back"}


def field_of(method: MethodDescriptor) -> str:
    """The field of a session's call that stands for the method: ListLoadedBatches is list_loaded_batches."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in method.name).removeprefix("_")


@pytest.mark.parametrize("method", UNARY, ids=lambda method: method.name)
def test_every_unary_method_is_a_call_of_sessions(method: MethodDescriptor) -> None:
    [call] = [field for field in CALLS if field.name == field_of(method)]
    [answer] = [field for field in ANSWERS if field.name == field_of(method)]
    assert call.message_type is method.input_type
    assert answer.message_type is method.output_type
    assert call.number == answer.number


def test_sessions_have_no_other_calls_but_those_of_transactions() -> None:
    methods = {field_of(method) for method in UNARY}
    assert {field.name for field in CALLS} == methods | OF_TRANSACTIONS | {"cancel"}
    assert {field.name for field in ANSWERS} == methods | OF_TRANSACTIONS | {"failure"}
    calls = SessionCalls(cast("Requests", _AnyRequests()), cast("Opener", None))
    handlers: dict[str, Any] = {**calls.handlers}
    assert handlers.keys() == methods | OF_TRANSACTIONS
    assert {name: handlers[name] for name in methods} == {name: name for name in methods}


async def test_calls_go_on_with_a_transaction_for_as_long_as_it_is_open() -> None:
    calls = SessionCalls(cast("Requests", _AnyRequests()), cast("Opener", _Opener()))
    begun = await calls.handlers["begin"](router_pb2.BeginRequest())
    commit = router_pb2.CommitRequest(transaction=begun.transaction)
    assert calls.goes_on("commit", commit)
    assert not calls.goes_on("commit", router_pb2.CommitRequest(transaction="another"))
    with pytest.raises(errors.InvalidRequest):
        await calls.handlers["run_statement"](router_pb2.RunStatementRequest(transaction=begun.transaction))
    assert not calls.goes_on("commit", commit)
    await calls.close()


class _Opener:
    """Opens transactions of which any statement is the end."""

    def __init__(self) -> None:
        self.bounds = Bounds(1, 60, 60)

    async def open(self) -> _FailingTransaction:
        return _FailingTransaction()


class _FailingTransaction:
    is_over = False

    async def run(self, _: router_pb2.Statement) -> None:
        self.is_over = True
        raise errors.InvalidRequest("a statement")

    def doom(self, why: BaseException) -> None:
        """Does nothing."""

    async def abort(self, why: BaseException) -> None:
        """Does nothing."""


class _AnyRequests:
    """Has every method: its name."""

    def __getattr__(self, name: str) -> str:
        return name


def test_clients_send_every_request_of_router_on_the_stream() -> None:
    calls: list[operations.Call[Any]] = [
        operations.insert("users", {"id": 1}),
        operations.get("users", id=1),
        operations.update("users", {"age": 1}, key={"id": 1}),
        operations.delete("users", key={"id": 1}),
        operations.list_page("users"),
        operations.count("users"),
        operations.aggregate("users", {"n": "count"}),
        operations.associate("users", {"id": 1}, "posts", "clear"),
        operations.transact([]),
        operations.explain(router_pb2.CountRequest(table="users")),
    ]
    for call in calls:
        assert call.on_session(call.session_field).WhichOneof("call") == call.session_field != ""
    loads = {"list_loaded_batches", "finish_load"}
    assert {call.session_field for call in calls} == {field_of(method) for method in UNARY} - loads
    assert operations.describe_schema().session_field == operations.audit().session_field == ""
