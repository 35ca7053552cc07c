"""Where a `request_id` would be ignored, it is refused: a transaction has one for all its statements."""

from __future__ import annotations

from collections.abc import Iterable

from crosskey import errors
from crosskey.router.planning.statement_names import naming_statement
from crosskey.v1 import router_pb2

_WITH_AN_ID = frozenset({"insert", "update", "delete", "associate"})


def refuse_ids_of_statements(request: router_pb2.TransactRequest) -> None:
    """Raises InvalidRequest, which names the statement, if a statement of a transaction has a `request_id`."""
    _refuse_in(request.statements, "")


def refuse_ids_to_explain(request: router_pb2.ExplainRequest) -> None:
    """Raises InvalidRequest if what is to be explained has a `request_id`: it is not carried out."""
    kind = request.WhichOneof("request")
    if kind == "transact":
        refuse_ids_of_statements(request.transact)
    if (kind == "transact" or kind in _WITH_AN_ID) and getattr(request, kind).request_id:
        raise errors.InvalidRequest("what is only explained has no request_id", hint="Leave it out.")


def _refuse_in(statements: Iterable[router_pb2.Statement], within: str) -> None:
    for number, statement in enumerate(statements):
        place = f"{within}{number}"
        kind = statement.WhichOneof("statement")
        if kind == "group":
            _refuse_in(statement.group.statements, f"{place}.")
        elif kind in _WITH_AN_ID and getattr(statement, kind).request_id:
            with naming_statement(place):
                raise errors.InvalidRequest(
                    "a statement of a transaction has no request_id",
                    hint="Give the TransactRequest one, which makes a repeat of all its statements safe.",
                )
