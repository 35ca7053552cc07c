"""What the caller of a request may do, and what requests need. Without a caller everything is allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any, Literal, Protocol, TypeAlias

from google.protobuf.message import Message

from crosskey import errors
from crosskey.catalog.relations import Relation
from crosskey.v1 import router_pb2, rows_pb2

Verb: TypeAlias = Literal["read", "insert", "update", "delete"]
Need: TypeAlias = tuple[Verb, str]
"""A verb, and the name of a table or view."""


class Caller(Protocol):
    """Who has made a call. What that one may do can change while a session lasts."""

    @property
    def name(self) -> str:
        """What to call it in errors."""

    def may(self, verb: Verb, table: str) -> bool:
        """Whether it may do that to the table. Raises Unauthenticated if it is not known any more."""

    def may_load(self) -> bool:
        """Whether it may insert into some table. Raises Unauthenticated if it is not known any more."""


current_caller: ContextVar[Caller | None] = ContextVar("current_caller", default=None)
"""Set where calls come in, if it matters who makes them. What a router does by itself has no caller."""

_OF_TARGET: dict[str, tuple[Verb, ...]] = {
    "create": ("insert",),
    "connect_or_create": ("insert",),
    "update": ("update",),
    "upsert": ("insert", "update"),
    "delete": ("delete",),
}
_OF_JOIN: dict[str, tuple[Verb, ...]] = {
    "create": ("insert",),
    "connect": ("insert", "update"),
    "connect_or_create": ("insert", "update"),
    "disconnect": ("delete",),
    "set": ("insert", "update", "delete"),
    "update": ("update",),
    "upsert": ("insert", "update"),
    "delete": ("delete",),
}
_LINKING = frozenset({"create", "connect", "connect_or_create", "disconnect", "set", "upsert"})

_OF_ASSOCIATE: dict[int, str] = {
    router_pb2.AssociateRequest.APPEND: "connect",
    router_pb2.AssociateRequest.REPLACE: "set",
    router_pb2.AssociateRequest.REMOVE: "disconnect",
    router_pb2.AssociateRequest.CLEAR: "disconnect",
}


def allow(request: Message) -> None:
    """Raises PermissionDenied if the caller may not do what a request, or a statement, says of the table it names.

    What it says of other tables, by relations, is checked where those are found: `allow_relation`, `allow_word`.
    """
    if (caller := current_caller.get()) is not None:
        if isinstance(request, _OF_LOADS) and not caller.may_load():
            raise errors.PermissionDenied(f'"{caller.name}" has no right to insert into any table')
        _require(caller, _needs(request))


def allow_relation(relation: Relation) -> None:
    """Raises PermissionDenied if the caller may not read what a relation leads to, and over which table."""
    if (caller := current_caller.get()) is not None:
        tables = [relation.target] if relation.far_key is None else [relation.target, relation.key.table]
        _require(caller, [("read", str(table)) for table in tables])


def allow_word(relation: Relation, word: str, *, delete_detached: bool = False) -> None:
    """Raises PermissionDenied if the caller may not do what a word of a nested write does over the relation."""
    if (caller := current_caller.get()) is not None:
        target = str(relation.target)
        _require(caller, [(verb, target) for verb in _OF_TARGET.get(word, ())])
        if delete_detached:
            _require(caller, [("delete", target)])
        if relation.far_key is not None:
            _require(caller, [(verb, str(relation.key.table)) for verb in _OF_JOIN[word]])
        elif relation.kind != "belongs to" and word in _LINKING:
            # Rows are given to a parent, and taken from one, by their foreign keys.
            _require(caller, [("update", target)])


def allow_association(relation: Relation, request: router_pb2.AssociateRequest) -> None:
    """The same for what an Associate does; one along the row's own key changes that row."""
    word = _OF_ASSOCIATE.get(request.operation)
    if (caller := current_caller.get()) is not None and word is not None:
        allow_word(relation, word, delete_detached=request.delete_detached)
        if relation.kind == "belongs to":
            _require(caller, [("update", request.table)])


def _require(caller: Caller, needs: Iterable[Need]) -> None:
    for verb, table in needs:
        if not caller.may(verb, table):
            raise errors.PermissionDenied(
                f'"{caller.name}" has no right to {verb} in "{table}"',
                table=table,
                hint="Give one of its roles the right, in the router's file of rights.",
            )


def _needs(request: Any) -> Iterator[Need]:
    """The rights that a request needs for the tables that it names. Raises TypeError for one that is not foreseen."""
    needs = _NEEDS.get(type(request))
    if needs is None:
        raise TypeError(f"nobody has said which rights a {type(request).__name__} needs")
    return needs(request)


def _of_insert(request: router_pb2.InsertRequest) -> Iterator[Need]:
    yield "insert", request.table
    if request.on_conflict.WhichOneof("action") == "update":
        yield "update", request.table
    # As PostgreSQL has it: what a write answers, and what it asks, is read.
    if request.HasField("on_conflict") or not request.count_only:
        yield "read", request.table


def _of_update(request: router_pb2.UpdateRequest) -> Iterator[Need]:
    yield "update", request.table
    if request.where or request.assignments or not request.count_only:
        yield "read", request.table


def _of_delete(request: router_pb2.DeleteRequest) -> Iterator[Need]:
    yield "delete", request.table
    if request.where:
        yield "read", request.table


def _of_locking_read(request: router_pb2.GetRequest | router_pb2.ListRequest) -> Iterator[Need]:
    yield "read", request.table
    if request.lock:
        yield "update", request.table


def _of_read(request: Any) -> Iterator[Need]:
    yield "read", request.table


def _of_statements(request: router_pb2.TransactRequest | router_pb2.Group) -> Iterator[Need]:
    for statement in request.statements:
        yield from _of_statement(statement)


def _of_statement(statement: router_pb2.Statement) -> Iterator[Need]:
    kind = statement.WhichOneof("statement")
    yield from _of_part(statement, kind)
    # Whether rows meet an expectation is told by whether the transaction fails.
    if statement.expect.each and kind in ("insert", "update", "delete"):
        yield "read", getattr(statement, kind).table


def _of_part(request: Message, kind: str | None) -> Iterator[Need]:
    if kind is not None:
        yield from _needs(getattr(request, kind))


def _nothing(_: Any) -> Iterator[Need]:
    return iter(())


_NEEDS: dict[type[Message], Callable[[Any], Iterator[Need]]] = {
    router_pb2.InsertRequest: _of_insert,
    router_pb2.UpdateRequest: _of_update,
    router_pb2.DeleteRequest: _of_delete,
    router_pb2.GetRequest: _of_locking_read,
    router_pb2.ListRequest: _of_locking_read,
    router_pb2.StreamListRequest: lambda request: _of_locking_read(request.list),
    router_pb2.CountRequest: _of_read,
    router_pb2.AggregateRequest: _of_read,
    # What it changes is checked when its relation is found: `allow_association`.
    router_pb2.AssociateRequest: _of_read,
    router_pb2.WatchRequest: lambda request: (("read", one.table) for one in request.tables),
    router_pb2.LoadRequest: lambda request: iter([("insert", request.table)]),
    router_pb2.FinishLoadRequest: lambda request: (("insert", table) for table in request.tables),
    router_pb2.ListLoadedBatchesRequest: _nothing,
    router_pb2.TransactRequest: _of_statements,
    router_pb2.Group: _of_statements,
    router_pb2.Statement: _of_statement,
    rows_pb2.SetConstraints: _nothing,
    router_pb2.ExplainRequest: lambda request: _of_part(request, request.WhichOneof("request")),
}
_OF_LOADS = (router_pb2.ListLoadedBatchesRequest, router_pb2.FinishLoadRequest)
"""Those that concern a load as a whole, whose tables they need not name."""
