"""Requests as values: to run together in `transact`, or to look at with `explain`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

from google.protobuf.message import Message

from crosskey.assignments import Computed
from crosskey.exact_json import Row, encode_key, encode_rows
from crosskey.includes import Include, to_includes
from crosskey.predicates import Order, Where, to_orders, to_predicates
from crosskey.taken_values import taken, without_taken
from crosskey.v1 import router_pb2, rows_pb2

Write: TypeAlias = router_pb2.InsertRequest | router_pb2.UpdateRequest | router_pb2.DeleteRequest

Read: TypeAlias = router_pb2.GetRequest | router_pb2.ListRequest | router_pb2.CountRequest | router_pb2.AggregateRequest

Statement: TypeAlias = (
    Write | Read | router_pb2.AssociateRequest | rows_pb2.SetConstraints | router_pb2.Group | router_pb2.Statement
)
"""What `transact` and `group` take."""

Request: TypeAlias = Write | Read | router_pb2.TransactRequest
"""What `explain` takes."""

Aggregate: TypeAlias = Literal["count"] | tuple[str, str]
"""What `aggregate` works out: how many rows, or a function of a column."""

Watched: TypeAlias = str | Iterable[str] | Mapping[str, Where | None]
"""What `watch` takes: a table, several, or tables with conditions on the rows of each."""

_FUNCTIONS: dict[str, router_pb2.AggregateRequest.Aggregate.Function.ValueType] = {
    "count": router_pb2.AggregateRequest.Aggregate.FUNCTION_UNSPECIFIED,
    "count_distinct": router_pb2.AggregateRequest.Aggregate.FUNCTION_COUNT_DISTINCT,
    "sum": router_pb2.AggregateRequest.Aggregate.FUNCTION_SUM,
    "avg": router_pb2.AggregateRequest.Aggregate.FUNCTION_AVG,
    "min": router_pb2.AggregateRequest.Aggregate.FUNCTION_MIN,
    "max": router_pb2.AggregateRequest.Aggregate.FUNCTION_MAX,
}

Lock: TypeAlias = Literal["UPDATE", "NO KEY UPDATE", "SHARE", "KEY SHARE"]
"""SQL's locking clause FOR ..: how the rows of a read are locked until its transaction ends."""

_LOCKS: dict[Lock | None, rows_pb2.RowLock.ValueType] = {
    None: rows_pb2.ROW_LOCK_UNSPECIFIED,
    "UPDATE": rows_pb2.ROW_LOCK_FOR_UPDATE,
    "NO KEY UPDATE": rows_pb2.ROW_LOCK_FOR_NO_KEY_UPDATE,
    "SHARE": rows_pb2.ROW_LOCK_FOR_SHARE,
    "KEY SHARE": rows_pb2.ROW_LOCK_FOR_KEY_SHARE,
}

MAX_NESTED_GROUPS = 40
"""How deep groups nest. Protobuf reads messages of up to 100 levels, of which each group takes two."""

Association: TypeAlias = Literal["append", "replace", "remove", "clear"]
"""What to do with the rows of a relation."""

Overriding: TypeAlias = Literal["SYSTEM_VALUE", "USER_VALUE"]
"""SQL's OVERRIDING clause: what becomes of values that rows give for identity columns."""

_OVERRIDING: dict[Overriding | None, router_pb2.InsertRequest.Overriding.ValueType] = {
    None: router_pb2.InsertRequest.OVERRIDING_UNSPECIFIED,
    "SYSTEM_VALUE": router_pb2.InsertRequest.OVERRIDING_SYSTEM_VALUE,
    "USER_VALUE": router_pb2.InsertRequest.OVERRIDING_USER_VALUE,
}

_ASSOCIATIONS: dict[Association, router_pb2.AssociateRequest.Operation.ValueType] = {
    "append": router_pb2.AssociateRequest.APPEND,
    "replace": router_pb2.AssociateRequest.REPLACE,
    "remove": router_pb2.AssociateRequest.REMOVE,
    "clear": router_pb2.AssociateRequest.CLEAR,
}


def insert(
    table: str,
    rows: Row | Iterable[Row],
    *,
    overriding: Overriding | None = None,
    on_conflict: rows_pb2.OnConflict | None = None,
    count_only: bool = False,
    columns: Iterable[str] = (),
    include: Include | None = None,
) -> router_pb2.InsertRequest:
    """Inserts one row or many into a table.

    Values for identity columns are inserted even if GENERATED ALWAYS with `overriding="SYSTEM_VALUE"`, and ignored with
    "USER_VALUE". `on_conflict` is `do_nothing(..)` or `do_update(..)`. `columns` are those to answer, or all, and
    `include` what to answer inside of rows; with `count_only`, no rows are answered. Raises KeyError for another
    clause.
    """
    checked = _checked_rows(rows)
    rows_json, as_text = encode_rows([without_taken(row) for row in checked])
    return router_pb2.InsertRequest(
        taken=taken(checked),
        table=table,
        rows_json=rows_json,
        json_text_columns=as_text,
        overriding=_OVERRIDING[overriding],
        on_conflict=on_conflict,
        count_only=count_only,
        columns=columns,
        include=to_includes(include),
    )


def do_nothing(on: str | Iterable[str] = (), *, constraint: str = "", index: str = "") -> rows_pb2.OnConflict:
    """For `insert(.., on_conflict=..)`: rows that conflict with others are skipped.

    `on` is the column or columns of a unique constraint, `constraint` its name; `index` is the name of a unique index,
    be it partial or over expressions. Without all of them, any counts.
    """
    nothing = rows_pb2.OnConflict.Nothing()
    return rows_pb2.OnConflict(columns=_columns(on), constraint=constraint, index=index, nothing=nothing)


def do_update(
    *columns: str, on: str | Iterable[str] = (), constraint: str = "", index: str = ""
) -> rows_pb2.OnConflict:
    """For `insert(.., on_conflict=..)`: where a row conflicts with another, that one's `columns` get the new values.

    `on` is the column or columns of the unique constraint, `constraint` its name; `index` is the name of a unique
    index, be it partial or over expressions: give one of them.
    """
    update = rows_pb2.OnConflict.Update(columns=columns)
    return rows_pb2.OnConflict(columns=_columns(on), constraint=constraint, index=index, update=update)


def get(
    table: str,
    key: Row,
    *,
    columns: Iterable[str] = (),
    include: Include | None = None,
    lock: Lock | None = None,
) -> router_pb2.GetRequest:
    """Reads the row with that key: all columns unless some are given, and rows of its relations.

    Only a transaction takes a `lock`, which ends with it. Raises ValueError for another one.
    """
    return router_pb2.GetRequest(
        table=table,
        key_json=_key(key),
        taken_key=_taken_key(key),
        columns=columns,
        include=to_includes(include),
        lock=_row_lock(lock),
    )


def update(
    table: str,
    set: Row,
    *,
    key: Row | None = None,
    where: Where | None = None,
    count_only: bool = False,
    columns: Iterable[str] = (),
    include: Include | None = None,
) -> router_pb2.UpdateRequest:
    """Sets columns of the row with that key, or of the rows that `where` selects.

    A value may be computed from the row: `{"visits": column("visits") + 1}`. With `count_only` the rows are not
    answered, with `columns` only these columns of them, with `include` rows of their relations inside of them.
    """
    given = {name: value for name, value in set.items() if not isinstance(value, Computed)}
    row_json, as_text = encode_rows([without_taken(given)])
    return router_pb2.UpdateRequest(
        table=table,
        set_json=row_json[1:-1],
        taken=taken([given]),
        json_text_columns=as_text,
        assignments=[value.assign_to(name) for name, value in set.items() if isinstance(value, Computed)],
        key_json=_key(key),
        taken_key=_taken_key(key),
        where=to_predicates(where),
        count_only=count_only,
        columns=columns,
        include=to_includes(include),
    )


def delete(table: str, *, key: Row | None = None, where: Where | None = None) -> router_pb2.DeleteRequest:
    """Deletes the row with that key, or the rows that `where` selects."""
    return router_pb2.DeleteRequest(
        table=table, key_json=_key(key), taken_key=_taken_key(key), where=to_predicates(where)
    )


def associate(
    table: str,
    key: Row,
    relation: str,
    operation: Association,
    rows: Row | Iterable[Row] = (),
    *,
    delete_detached: bool = False,
) -> router_pb2.AssociateRequest:
    """Says which rows a relation of the row with that key has. Raises KeyError for another operation."""
    rows_json, _ = encode_rows(_checked_rows(rows))
    return router_pb2.AssociateRequest(
        table=table,
        key_json=encode_key(checked_key(key)),
        relation=relation,
        operation=_ASSOCIATIONS[operation],
        rows_json=rows_json,
        delete_detached=delete_detached,
    )


def list_rows(
    table: str,
    where: Where | None = None,
    order_by: Order | None = None,
    page_size: int = 0,
    page_token: str = "",
    columns: Iterable[str] = (),
    include: Include | None = None,
    lock: Lock | None = None,
) -> router_pb2.ListRequest:
    """Lists a page of rows; the server chooses the size of the page if it is 0.

    `columns`, `include` and `lock` as for get.
    """
    return router_pb2.ListRequest(
        table=table,
        where=to_predicates(where),
        order_by=to_orders(order_by),
        page_size=page_size,
        page_token=page_token,
        columns=columns,
        include=to_includes(include),
        lock=_row_lock(lock),
    )


def count(table: str, where: Where | None = None) -> router_pb2.CountRequest:
    """Counts rows."""
    return router_pb2.CountRequest(table=table, where=to_predicates(where))


def aggregate(
    table: str,
    aggregates: Mapping[str, Aggregate],
    *,
    where: Where | None = None,
    group_by: str | Iterable[str] = (),
    having: Where | None = None,
    order_by: Order | None = None,
    limit: int = 0,
) -> router_pb2.AggregateRequest:
    """Works out aggregates by name: "count", or a function and its column, such as ("sum", "amount").

    The functions are count, count_distinct, sum, avg, min and max. Raises KeyError for another one.
    """
    return router_pb2.AggregateRequest(
        table=table,
        where=to_predicates(where),
        group_by=_columns(group_by),
        aggregates=[_aggregate(name, one) for name, one in aggregates.items()],
        having=to_predicates(having),
        order_by=to_orders(order_by),
        limit=limit,
        row_form=rows_pb2.ROW_FORM_JSON,
    )


def watch(
    tables: Watched, where: Where | None = None, after: str = "", resolved_interval: float = 1.0
) -> router_pb2.WatchRequest:
    """Watches a table, several, or a mapping of tables to conditions; `where` is for those that have none there.

    `after` is a token; without one it begins now. Raises TypeError for conditions that are none.
    """
    conditions: Mapping[str, Where | None]
    if isinstance(tables, Mapping):
        conditions = tables
    else:
        conditions = dict.fromkeys([tables] if isinstance(tables, str) else tables)
    return router_pb2.WatchRequest(
        tables=[
            router_pb2.WatchRequest.Table(table=table, where=to_predicates(where if own is None else own))
            for table, own in conditions.items()
        ],
        resume_token=after,
        row_form=rows_pb2.ROW_FORM_JSON,
        resolved_interval_ms=int(resolved_interval * 1000),
    )


def set_constraints(*constraints: str, deferred: bool) -> rows_pb2.SetConstraints:
    """Lets constraints, or all, wait for the commit from here on; else for the end of each statement, as SQL does.

    A constraint is named `name` or `schema.name`. If not `deferred`, what waited so far is checked at once.
    """
    return rows_pb2.SetConstraints(constraints=constraints, deferred=deferred)


def group(statements: Iterable[Statement]) -> router_pb2.Group:
    """Runs statements that may fail together without the rest of their transaction.

    Raises as `transaction`, and ValueError if groups nest deeper than MAX_NESTED_GROUPS.
    """
    group = router_pb2.Group(statements=[as_statement(statement) for statement in statements])
    if _depth(group) > MAX_NESTED_GROUPS:
        raise ValueError(f"groups nest at most {MAX_NESTED_GROUPS} deep")
    return group


def expect(statement: Write | Read, *, count: int | None = None, each: Where | None = None) -> router_pb2.Statement:
    """A statement of a transaction that fails, with ExpectationFailed, unless what is said comes of it.

    `count` is how many rows it writes, answers or counts. `each` is what each row meets as an insert, update or get
    answers it, and there must be one. Raises TypeError for what is no read or write.
    """
    expected = router_pb2.Expectation(count=count, each=to_predicates(each))
    wrapped = as_statement(statement)
    wrapped.expect.CopyFrom(expected)
    return wrapped


def transaction(statements: Iterable[Statement]) -> router_pb2.TransactRequest:
    """Runs statements in order, all or none, but for groups. Raises TypeError for what is no statement."""
    return router_pb2.TransactRequest(statements=[as_statement(statement) for statement in statements])


def explanation(request: Request) -> router_pb2.ExplainRequest:
    """Explains a request. Raises TypeError for what is none."""
    match request:
        case router_pb2.InsertRequest():
            return router_pb2.ExplainRequest(insert=request)
        case router_pb2.GetRequest():
            return router_pb2.ExplainRequest(get=request)
        case router_pb2.UpdateRequest():
            return router_pb2.ExplainRequest(update=request)
        case router_pb2.DeleteRequest():
            return router_pb2.ExplainRequest(delete=request)
        case router_pb2.ListRequest():
            return router_pb2.ExplainRequest(list=request)
        case router_pb2.CountRequest():
            return router_pb2.ExplainRequest(count=request)
        case router_pb2.AggregateRequest():
            return router_pb2.ExplainRequest(aggregate=request)
        case router_pb2.TransactRequest():
            return router_pb2.ExplainRequest(transact=request)
    raise TypeError(f"a {type(request).__name__} cannot be explained")


def _aggregate(name: str, asked: Aggregate) -> router_pb2.AggregateRequest.Aggregate:
    function, column = (asked, "") if isinstance(asked, str) else asked
    return router_pb2.AggregateRequest.Aggregate(function=_FUNCTIONS[function], column=column, name=name)


def _row_lock(lock: Lock | None) -> rows_pb2.RowLock.ValueType:
    found = _LOCKS.get(lock)
    if found is None:
        known = ", ".join(f'"{name}"' for name in _LOCKS if name)
        raise ValueError(f"a lock is one of {known}, and not {lock!r}")
    return found


def checked_key(key: Row) -> Row:
    """The key. Raises TypeError if it is no mapping."""
    if not isinstance(key, Mapping):
        raise TypeError(f'a key names its columns: say {{"id": {key!r}}}, not {key!r}; with get also id={key!r}')
    return key


def _checked_rows(rows: Row | Iterable[Row]) -> list[Row]:
    checked = [rows] if isinstance(rows, Mapping) else list(rows)
    for row in checked:
        if not isinstance(row, Mapping):
            raise TypeError(f'a row names its columns, such as {{"name": "Ada"}}; {row!r} does not')
    return checked


def _key(key: Row | None) -> str:
    return "" if key is None else encode_key(without_taken(checked_key(key)))


def _taken_key(key: Row | None) -> list[rows_pb2.TakenValue]:
    return [] if key is None else taken([key])


def _columns(columns: str | Iterable[str]) -> list[str]:
    return [columns] if isinstance(columns, str) else list(columns)


def _depth(group: router_pb2.Group) -> int:
    """How many groups there are one within the other, this one included."""
    return 1 + max((_depth(one.group) for one in group.statements if one.HasField("group")), default=0)


def as_statement(statement: Message) -> router_pb2.Statement:
    """A statement of a transaction. Raises TypeError for what is none."""
    if isinstance(statement, router_pb2.Statement):
        return statement
    field = _FIELDS.get(type(statement))
    if field is None:
        raise TypeError(f"a {type(statement).__name__} cannot be part of a transaction")
    fields: dict[str, Any] = {field: statement}
    return router_pb2.Statement(**fields)


_FIELDS: dict[type, str] = {
    router_pb2.InsertRequest: "insert",
    router_pb2.UpdateRequest: "update",
    router_pb2.DeleteRequest: "delete",
    router_pb2.AssociateRequest: "associate",
    router_pb2.GetRequest: "get",
    router_pb2.ListRequest: "list",
    router_pb2.CountRequest: "count",
    router_pb2.AggregateRequest: "aggregate",
    rows_pb2.SetConstraints: "set_constraints",
    router_pb2.Group: "group",
}
"""The field of a Statement that takes each request."""
