"""Fields of requests that are reserved for later: a request that sets one is refused, since it would be ignored."""

from __future__ import annotations

from collections.abc import Iterable

from crosskey import errors
from crosskey.router.planning.statement_names import naming_statement
from crosskey.v1 import router_pb2


def refuse_reserved(request: object) -> None:
    """Raises InvalidRequest if a request of the Router service, or a statement in it, has a `request_id`.

    The error of a statement names it.
    """
    match request:
        case router_pb2.InsertRequest() | router_pb2.UpdateRequest() | router_pb2.DeleteRequest():
            _refuse(request.request_id)
        case router_pb2.TransactRequest():
            _refuse(request.request_id)
            _refuse_in(request.statements, "")
        case router_pb2.ExplainRequest():
            kind = request.WhichOneof("request")
            if kind is not None:
                refuse_reserved(getattr(request, kind))


def _refuse_in(statements: Iterable[router_pb2.Statement], within: str) -> None:
    for number, statement in enumerate(statements):
        place = f"{within}{number}"
        kind = statement.WhichOneof("statement")
        if kind == "group":
            _refuse_in(statement.group.statements, f"{place}.")
        elif kind is not None:
            with naming_statement(place):
                refuse_reserved(getattr(statement, kind))


def _refuse(request_id: str) -> None:
    if request_id:
        raise errors.InvalidRequest(
            "request_id is reserved: it does not make a retry safe yet",
            hint="Leave it out, and repeat only what carries RetryInfo.",
        )
