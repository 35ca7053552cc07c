"""Every operation of the clients, written once: which RPC, with which request, and what its answer means.

AsyncClient and Client only differ in how they carry a Call out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from google.protobuf.message import Message

from crosskey import errors, requests
from crosskey._channel import MAX_SESSION_REQUEST_BYTES
from crosskey.exact_json import Row, decode, encode_key
from crosskey.includes import Include
from crosskey.predicates import Order, Where
from crosskey.row_reading import RowReader, Rows
from crosskey.v1 import admin_pb2, router_pb2, rows_pb2

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """A call to make: `read` turns the response into the answer; of a streaming RPC it gets all responses.

    It is given what reads rows, in whose form the request must ask for them.
    """

    service: Literal["Router", "Admin"]
    method: str
    request: Message
    read: Callable[[Any, RowReader], Answer]
    streaming: bool = False

    @property
    def session_field(self) -> str:
        """The field of a call of Router.Session that takes the request; empty if it goes by a call of its own."""
        if self.service != "Router" or self.request.ByteSize() > MAX_SESSION_REQUEST_BYTES:
            return ""
        return self.method.lower()

    def on_session(self, field: str) -> router_pb2.Call:
        """The call of Router.Session with the request in that field."""
        fields: dict[str, Any] = {field: self.request}
        return router_pb2.Call(**fields)


Outcome: TypeAlias = Literal["INSERTED", "UPDATED", "SKIPPED"]
"""What became of a row that was to be inserted."""

_OUTCOMES: dict[router_pb2.InsertResponse.Outcome.ValueType, Outcome] = {
    router_pb2.InsertResponse.OUTCOME_INSERTED: "INSERTED",
    router_pb2.InsertResponse.OUTCOME_UPDATED: "UPDATED",
    router_pb2.InsertResponse.OUTCOME_SKIPPED: "SKIPPED",
}


class WrittenRows(list[dict[str, Any]]):
    """The rows that an insert or update stored, and how many were `affected`. With `count_only` there are no rows.

    `outcomes` has what became of each row of an insert with `on_conflict`, in order: the next of these rows belongs to
    the next that was not skipped. Of all else, it is empty.
    """

    def __init__(self, rows: Iterable[dict[str, Any]], affected: int, outcomes: Iterable[Outcome] = ()) -> None:
        super().__init__(rows)
        self.affected = affected
        self.outcomes = list(outcomes)


@dataclass(frozen=True)
class Associated:
    """How many rows a relation has got and lost, and how many of those named it had before and has still."""

    added: int
    removed: int
    kept: int


@dataclass(frozen=True)
class Page:
    """A page of rows; `next_page_token` is empty on the last one."""

    rows: Rows
    next_page_token: str


def insert(
    table: str,
    rows: Row | Iterable[Row],
    *,
    overriding: requests.Overriding | None = None,
    on_conflict: rows_pb2.OnConflict | None = None,
    count_only: bool = False,
    columns: Iterable[str] = (),
    include: Include | None = None,
) -> Call[WrittenRows]:
    """Inserts one row or many, all or none. Returns them as stored, in order; with `count_only`, only how many.

    `columns` are those to return; all if there are none. `include` has relations whose rows are inside of them.

    A row may have rows of its relations, which are created or connected along with it:
    `{"name": "Ada", "profile": {"create": {"bio": ".."}}, "accounts": {"connect": [{"email": ".."}]}}`. Those that were
    created are returned in the same places.

    `overriding` is SQL's clause for identity columns: with "SYSTEM_VALUE" the rows' values are inserted, even if
    GENERATED ALWAYS; with "USER_VALUE" they are ignored.

    `on_conflict` is `do_nothing(..)` or `do_update(..)`. Rows whose key is taken are then skipped, or the row that has
    the key is updated and returned in their place; `outcomes` of what is returned tells which.

    Raises ForeignKeyViolation, UniqueViolation, NotNullViolation, CheckViolation, InvalidValue, UnknownTable,
    UnknownColumn, ShardKeyMissing, SlotMismatch or AnswerTooLarge; then nothing was inserted.
    """
    request = requests.insert(
        table,
        rows,
        overriding=overriding,
        on_conflict=on_conflict,
        count_only=count_only,
        columns=columns,
        include=include,
    )
    return Call("Router", "Insert", request, partial(_read_inserted, request))


def get(
    table: str,
    key: Row | None = None,
    /,
    *,
    columns: Iterable[str] = (),
    include: Include | None = None,
    lock: requests.Lock | None = None,
    **key_columns: Any,
) -> Call[dict[str, Any]]:
    """Returns the row with that primary or unique key, given as a mapping or as keyword arguments.

    `columns` are those to return; all if there are none. `include` has relations whose rows are inside of the row, such
    as `{"messages": {"limit": 10, "include": {"sender": {"columns": ["name"]}}}}`: see `Include`. In a transaction,
    `lock` locks the row until that ends: "UPDATE", "NO KEY UPDATE" or "SHARE". Raises RowNotFound if there is no row,
    AnswerTooLarge if what it includes is too much, and TypeError for a key that names no columns.
    """
    key = {**requests.checked_key({} if key is None else key), **key_columns}
    request = requests.get(table, key, columns=columns, include=include, lock=lock)
    return Call("Router", "Get", request, partial(_read_one_row, table, key))


def update(
    table: str,
    set: Row,
    *,
    key: Row | None = None,
    where: Where | None = None,
    count_only: bool = False,
    columns: Iterable[str] = (),
    include: Include | None = None,
) -> Call[WrittenRows]:
    """Sets columns of the row with that key, or of the rows that `where` selects.

    Returns them as stored, of `columns` if there are any, with rows of their relations if `include` says so; with
    `count_only`, only how many. Raises AnswerTooLarge if they are too many to answer.

    With `key`, `set` may have what is to become of rows of the row's relations: `{"accounts": {"set": [..]}}`, and
    likewise create, connect, connect_or_create, disconnect, update, upsert and delete.
    """
    request = requests.update(table, set, key=key, where=where, count_only=count_only, columns=columns, include=include)
    return Call("Router", "Update", request, partial(_read_updated, request))


def delete(table: str, *, key: Row | None = None, where: Where | None = None) -> Call[int]:
    """Deletes the row with that key, or the rows that `where` selects. Returns how many, cascades not counted.

    Raises ForeignKeyViolation or RestrictViolation if a row is still referenced; then nothing was deleted.
    """
    return Call("Router", "Delete", requests.delete(table, key=key, where=where), _read_count)


def associate(
    table: str,
    key: Row,
    relation: str,
    operation: requests.Association,
    rows: Row | Iterable[Row] = (),
    *,
    delete_detached: bool = False,
) -> Call[Associated]:
    """Says which rows a relation of the row with that key has; `related` has a method for each operation.

    `rows` are given by a unique key each; with `delete_detached`, those that would lose a key that is NOT NULL are
    deleted. Raises RowNotFound if a row is not there, InvalidRequest if such rows would be left, and what writes raise.
    """
    request = requests.associate(table, key, relation, operation, rows, delete_detached=delete_detached)
    return Call("Router", "Associate", request, _read_associated)


def find_related(table: str, key: Row, relation: str, included: Mapping[str, Any]) -> Call[Any]:
    """Returns the rows of a relation of the row with that key; of a relation to one row, that or None."""
    request = requests.get(table, key, columns=list(key), include={relation: included})
    return Call(
        "Router", "Get", request, lambda response, reader: reader.rows(table, f"[{response.row_json}]")[0][relation]
    )


def count_related(table: str, key: Row, relation: str, where: Where | None) -> Call[int]:
    """Returns how many rows a relation of the row with that key has."""
    included = {relation: {"count": "only", "where": where}}
    request = requests.get(table, key, columns=list(key), include=included)
    return Call("Router", "Get", request, partial(_read_related_count, table, relation))


def list_page(
    table: str,
    where: Where | None = None,
    order_by: Order | None = None,
    page_size: int = 0,
    page_token: str = "",
    columns: Iterable[str] = (),
    include: Include | None = None,
    lock: requests.Lock | None = None,
) -> Call[Page]:
    """Returns one page of rows; `columns`, `include` and `lock` are those of `get`.

    Raises InvalidPageToken for a token of another query, and AnswerTooLarge if what it includes is too much.
    """
    request = requests.list_rows(table, where, order_by, page_size, page_token, columns, include, lock)
    return Call("Router", "List", request, partial(_read_page, table))


def first(
    table: str, where: Where | None = None, order_by: Order | None = None, *, lock: requests.Lock | None = None
) -> Call[dict[str, Any] | None]:
    """Returns the first of the rows in order; None if there is none. `lock` is that of `get`."""
    request = requests.list_rows(table, where, order_by, page_size=1, lock=lock)
    return Call("Router", "List", request, partial(_read_first, table))


def exists(table: str, where: Where | None = None) -> Call[bool]:
    """Returns whether there is a row."""
    request = requests.list_rows(table, where, page_size=1)
    return Call("Router", "List", request, lambda response, reader: _read_first(table, response, reader) is not None)


def count(table: str, where: Where | None = None) -> Call[int]:
    """Returns how many rows there are."""
    return Call("Router", "Count", requests.count(table, where), _read_count)


def aggregate(
    table: str,
    aggregates: Mapping[str, requests.Aggregate],
    *,
    where: Where | None = None,
    group_by: str | Iterable[str] = (),
    having: Where | None = None,
    order_by: Order | None = None,
    limit: int = 0,
) -> Call[Rows]:
    """Returns a row for each group, with the columns of `group_by` and the aggregates by name.

    An aggregate is "count", or a function and its column, such as `("sum", "amount")`; the functions are count,
    count_distinct, sum, avg, min and max. `having` and `order_by` take columns of the answer. At most 1000 groups are
    returned unless `limit` says another number. Values are in PostgreSQL's JSON form, also for a typed client.

    Raises NotSupported if the different values of a column would have to be counted over several shards.
    """
    request = requests.aggregate(
        table, aggregates, where=where, group_by=group_by, having=having, order_by=order_by, limit=limit
    )
    return Call("Router", "Aggregate", request, lambda response, _: decode(response.rows_json))


def transact(statements: Iterable[requests.Statement]) -> Call[list[Any]]:
    """Runs inserts, updates, deletes and reads in order, all or none, on however many shards.

    Returns for each what it alone would have returned: rows, or a count. `get` returns None if there is no row, `list`
    a page, and `set_constraints` None. Reads see what the transaction did so far, and may lock rows. A `group` may
    fail alone: it returns a list, as this does, or the exception that it failed with. Of an error, and of one that is
    returned, `metadata["statement"]` is the place of the statement from 0, inside a group such as "2.1"; an error of
    the commit has none.
    """
    request = requests.transaction(statements)
    return Call("Router", "Transact", request, partial(_read_transaction, request))


def run(statement: requests.Statement) -> Call[Any]:
    """Runs one statement of those that `transact` takes, and returns what that would: of a transaction to talk to."""
    wrapped = requests.as_statement(statement)
    return Call("Router", "Transact", wrapped, partial(_read_alone, wrapped))


def set_constraints(*constraints: str, deferred: bool) -> Call[None]:
    """Lets constraints, or all, wait for the commit from here on; else for the end of each statement, as SQL does.

    A constraint is named `name` or `schema.name`. If not `deferred`, what waited so far is checked at once.
    """
    request = requests.set_constraints(*constraints, deferred=deferred)
    return Call("Router", "Transact", request, lambda *_: None)


def explain(request: requests.Request) -> Call[router_pb2.ExplainResponse]:
    """Returns what the request would do, without doing it."""
    return Call("Router", "Explain", requests.explanation(request), _as_is)


def apply_schema(sql: str, *, dry_run: bool = False) -> Call[admin_pb2.ApplySchemaResponse]:
    """Plans a schema and, unless `dry_run`, installs it on every shard.

    Raises SchemaRefused if it does not load or cannot be placed, SchemaChanged if another one is in force.
    """
    return Call("Admin", "ApplySchema", admin_pb2.ApplySchemaRequest(sql=sql, dry_run=dry_run), _as_is)


def describe_schema() -> Call[admin_pb2.DescribeSchemaResponse]:
    """Returns the schema in force. Raises SchemaNotLoaded if there is none."""
    return Call("Admin", "DescribeSchema", admin_pb2.DescribeSchemaRequest(), _as_is)


def describe_topology() -> Call[admin_pb2.DescribeTopologyResponse]:
    """Returns the shards and their state."""
    return Call("Admin", "DescribeTopology", admin_pb2.DescribeTopologyRequest(), _as_is)


def audit() -> Call[list[admin_pb2.AuditResponse]]:
    """Looks for damage on every shard. Returns the findings; none means that all is well."""
    return Call("Admin", "Audit", admin_pb2.AuditRequest(), lambda responses, _: list(responses), streaming=True)


def drop_unused_shadows() -> Call[int]:
    """Drops the shadows that no child references any more; returns how many."""
    return Call("Admin", "DropUnusedShadows", admin_pb2.DropUnusedShadowsRequest(), lambda response, _: response.count)


def list_in_doubt() -> Call[admin_pb2.ListInDoubtResponse]:
    """Returns the transactions whose outcome has not been carried out everywhere yet."""
    return Call("Admin", "ListInDoubt", admin_pb2.ListInDoubtRequest(), _as_is)


def describe_events() -> Call[admin_pb2.DescribeEventsResponse]:
    """Returns how many events each shard keeps, since when, and what holds back the next."""
    return Call("Admin", "DescribeEvents", admin_pb2.DescribeEventsRequest(), _as_is)


def list_cleanups() -> Call[admin_pb2.ListCleanupsResponse]:
    """Returns what is being cleaned up along foreign keys with `@enforce eventual`."""
    return Call("Admin", "ListCleanups", admin_pb2.ListCleanupsRequest(), _as_is)


def hold_position(
    consumer: str, holder: str, *, lease: float, resume_token: str = ""
) -> Call[admin_pb2.HoldPositionResponse]:
    """Holds the position of a consumer of events for `lease` seconds; 0 lets go of it.

    `held` of what it returns says whether the process called `holder` leads now. Only then is a `resume_token` kept, if
    it led before. The one that is kept is returned, for whoever goes on behind it.
    """
    request = admin_pb2.HoldPositionRequest(
        consumer=consumer, holder=holder, lease_ms=round(lease * 1000), resume_token=resume_token
    )
    return Call("Admin", "HoldPosition", request, _as_is)


def plan_migration(
    sql: str,
    *,
    on_top: bool = False,
    renames: Mapping[str, str] | None = None,
    allow_destructive: bool = False,
    allow_rewrites: bool = False,
    orphans: Literal["", "stop", "delete", "null"] = "",
) -> Call[admin_pb2.PlanMigrationResponse]:
    """Returns the steps from the schema in force to another one, and touches nothing.

    `sql` is the whole new schema; or, if `on_top`, DDL to run on top of the one in force. `renames` are new names by
    the old: "table" or "table.column". `orphans` says what becomes of rows that reference no parent, where a foreign
    key is added. Raises SchemaRefused for a change that is not supported.
    """
    migration = _migration(sql, on_top, renames, allow_destructive, allow_rewrites, orphans)
    return Call("Admin", "PlanMigration", admin_pb2.PlanMigrationRequest(migration=migration), _as_is)


def apply_migration(
    sql: str = "",
    *,
    on_top: bool = False,
    renames: Mapping[str, str] | None = None,
    allow_destructive: bool = False,
    allow_rewrites: bool = False,
    orphans: Literal["", "stop", "delete", "null"] = "",
    resume: bool = False,
) -> Call[list[admin_pb2.ApplyMigrationResponse]]:
    """Changes the schema in force, while others go on; with `resume`, goes on with the migration under way.

    That takes none but `orphans`, which then holds from now on.

    Returns what was done. Takes what plan_migration takes. Raises SchemaRefused, with nothing left of it;
    MigrationUnderWay if another one is; and other errors, after which it can be resumed.
    """
    migration = _migration(sql, on_top, renames, allow_destructive, allow_rewrites, orphans)
    request = admin_pb2.ApplyMigrationRequest(migration=migration, resume=resume)
    return Call("Admin", "ApplyMigration", request, lambda responses, _: list(responses), streaming=True)


def list_migrations(limit: int = 0) -> Call[list[admin_pb2.MigrationDescription]]:
    """Returns the migrations that were begun, the newest first."""
    request = admin_pb2.ListMigrationsRequest(limit=limit)
    return Call("Admin", "ListMigrations", request, lambda response, _: list(response.migrations))


def abort_migration() -> Call[admin_pb2.AbortMigrationResponse]:
    """Gives up the migration under way. Raises SchemaChanged if its schema is in force already."""
    return Call("Admin", "AbortMigration", admin_pb2.AbortMigrationRequest(), _as_is)


_ORPHANS = {
    "": admin_pb2.ORPHANS_UNSPECIFIED,
    "stop": admin_pb2.ORPHANS_STOP,
    "delete": admin_pb2.ORPHANS_DELETE,
    "null": admin_pb2.ORPHANS_SET_NULL,
}


def _migration(
    sql: str,
    on_top: bool,
    renames: Mapping[str, str] | None,
    allow_destructive: bool,
    allow_rewrites: bool,
    orphans: str,
) -> admin_pb2.Migration:
    return admin_pb2.Migration(
        sql=sql,
        on_top=on_top,
        renames=[f"{old}={new}" for old, new in (renames or {}).items()],
        allow_destructive=allow_destructive,
        allow_rewrites=allow_rewrites,
        orphans=_ORPHANS[orphans],
    )


def _as_is(response: Any, _: RowReader) -> Any:
    return response


def _read_updated(
    request: router_pb2.UpdateRequest, response: router_pb2.UpdateResponse, reader: RowReader
) -> WrittenRows:
    rows = reader.rows(request.table, response.rows_json)
    return WrittenRows(rows, response.count or len(rows))


def _read_inserted(
    request: router_pb2.InsertRequest, response: router_pb2.InsertResponse, reader: RowReader
) -> WrittenRows:
    outcomes = [_OUTCOMES[outcome] for outcome in response.outcomes]
    rows = reader.rows(request.table, response.rows_json)
    return WrittenRows(rows, response.count or len(rows), outcomes)


def _read_associated(response: router_pb2.AssociateResponse, _: RowReader) -> Associated:
    return Associated(response.added, response.removed, response.kept)


def _read_related_count(table: str, relation: str, response: router_pb2.GetResponse, reader: RowReader) -> int:
    return int(reader.rows(table, f"[{response.row_json}]")[0]["crosskey_counts"][relation])


def _read_count(response: router_pb2.DeleteResponse | router_pb2.CountResponse, _: RowReader) -> int:
    return response.count


def _read_page(table: str, response: router_pb2.ListResponse, reader: RowReader) -> Page:
    return Page(reader.rows(table, response.rows_json), response.next_page_token)


def _read_first(table: str, response: router_pb2.ListResponse, reader: RowReader) -> dict[str, Any] | None:
    rows = reader.rows(table, response.rows_json)
    return rows[0] if rows else None


def _read_transaction(
    request: router_pb2.TransactRequest, response: router_pb2.TransactResponse, reader: RowReader
) -> list[Any]:
    return _read_results(request.statements, response.results, reader)


def _read_results(
    statements: Iterable[router_pb2.Statement], results: Iterable[router_pb2.StatementResult], reader: RowReader
) -> list[Any]:
    return [_read_result(statement, result, reader) for statement, result in zip(statements, results, strict=True)]


def _read_result(statement: router_pb2.Statement, result: router_pb2.StatementResult, reader: RowReader) -> Any:
    match result.WhichOneof("result"):
        case "insert":
            return _read_inserted(statement.insert, result.insert, reader)
        case "update":
            return _read_updated(statement.update, result.update, reader)
        case "group":
            return _read_group(statement.group, result.group, reader)
        case "associate":
            return _read_associated(result.associate, reader)
        case "get":
            return _read_row(statement.get, result.get, reader)
        case "list":
            return _read_page(statement.list.table, result.list, reader)
        case "aggregate":
            return decode(result.aggregate.rows_json)
        case "count":
            return _read_count(result.count, reader)
        case "delete":
            return _read_count(result.delete, reader)
        case _:
            return None


def _read_one_row(table: str, key: Row, response: router_pb2.GetResponse, reader: RowReader) -> dict[str, Any]:
    """The row. Raises RowNotFound: a transaction answers nothing where there is none."""
    if not response.row_json:
        key_json = encode_key(key)
        raise errors.RowNotFound(f'"{table}" has no row with the key {key_json}', table=table, key=key_json)
    return reader.rows(table, f"[{response.row_json}]")[0]


def _read_alone(statement: router_pb2.Statement, response: Message, reader: RowReader) -> Any:
    """What a statement of a transaction came to; the response is the field of its result."""
    fields: dict[str, Any] = {statement.WhichOneof("statement") or "": response}
    return _read_result(statement, router_pb2.StatementResult(**fields), reader)


def _read_row(
    request: router_pb2.GetRequest, response: router_pb2.GetResponse, reader: RowReader
) -> dict[str, Any] | None:
    """The row; None if a transaction found none."""
    return reader.rows(request.table, f"[{response.row_json}]")[0] if response.row_json else None


def _read_group(
    group: router_pb2.Group, result: router_pb2.GroupResult, reader: RowReader
) -> list[Any] | errors.CrosskeyError:
    if result.HasField("error"):
        return errors.from_failure(result.error)
    return _read_results(group.statements, result.results, reader)
