"""Inserts and updates whose rows are answered with rows of their relations: pure.

What writes them answers their keys as text, and by these they are read before the transaction commits.
"""

from __future__ import annotations

from typing import TypeVar

from crosskey import errors
from crosskey.router.planning.includes import plan_includes, shape_of
from crosskey.router.planning.schema_view import SchemaView
from crosskey.v1 import router_pb2, rows_pb2

Request = TypeVar("Request", router_pb2.InsertRequest, router_pb2.UpdateRequest)


def includes(request: router_pb2.InsertRequest | router_pb2.UpdateRequest) -> bool:
    """Whether rows of relations are to be answered, and any rows at all."""
    return bool(request.include) and not request.count_only


def answering_keys(view: SchemaView, request: Request) -> Request:
    """The same write, but that it answers the keys of its rows as text.

    Raises InvalidRequest for a wrong include, and for a table without a primary key, and UnknownColumn.
    """
    table = view.table(request.table)
    shape_of(view, table, request.columns, plan_includes(view, table, request.include))
    if not table.table.primary_key:
        raise errors.InvalidRequest(
            f'"{table.table.name}" has no primary key, by which what is written could be read with its relations',
            table=str(table.table.name),
            hint="Leave include out, and list the rows with it.",
        )
    keyed = type(request)()
    keyed.CopyFrom(request)
    del keyed.include[:]
    keyed.columns[:] = table.table.primary_key
    keyed.row_form = rows_pb2.ROW_FORM_TEXT
    return keyed
