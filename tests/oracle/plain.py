"""The judge: one ordinary PostgreSQL database with the same schema, driven by plain SQL.

Shares no code with the engine, but reads JSON as clients do. Values are written as quoted literals, as an application
would, so that PostgreSQL types each one by its column.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.types.json import set_json_loads

from crosskey.exact_json import decode
from crosskey.requests import Write
from crosskey.v1 import router_pb2
from crosskey.v1.router_pb2 import InsertRequest
from crosskey.v1.rows_pb2 import Assignment, OnConflict, Predicate
from tests.oracle.outcome import Answer, Outcome, Upserted, refusal_by_postgres
from tests.oracle.plain_conditions import Conditions, from_json, read_relations

_OPERATORS: dict[Assignment.Op.ValueType, LiteralString] = {
    Assignment.ADD: "+",
    Assignment.SUBTRACT: "-",
    Assignment.MULTIPLY: "*",
    Assignment.CONCATENATE: "||",
}

_OVERRIDING: dict[InsertRequest.Overriding.ValueType, LiteralString] = {
    InsertRequest.OVERRIDING_UNSPECIFIED: "",
    InsertRequest.OVERRIDING_SYSTEM_VALUE: "OVERRIDING SYSTEM VALUE",
    InsertRequest.OVERRIDING_USER_VALUE: "OVERRIDING USER VALUE",
}

_COLUMNS = """
SELECT
    n.nspname,
    c.relname,
    coalesce(obj_description(c.oid, 'pg_class') LIKE '%@reference%', false),
    a.attname,
    coalesce(b.typname, t.typname),
    format_type(a.atttypid, a.atttypmod)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_type b ON b.oid = t.typbasetype
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname !~ '^pg_|^information_schema$'
ORDER BY n.nspname, c.relname, a.attnum
"""


# An index's definition ends in what ON CONFLICT infers it from, but for one clause.
_INDEXES = """
SELECT schemaname, tablename, indexname, regexp_replace(indexdef, '^.* USING btree |NULLS NOT DISTINCT ', '', 'g')
FROM pg_indexes WHERE schemaname !~ '^pg_|^information_schema$' AND indexdef LIKE 'CREATE UNIQUE %'
"""


@dataclass(frozen=True)
class PlainTable:
    """A table; `types` has each column's type, of a domain the one below it, and `declared` as it was declared.

    `indexes` has, of each unique index, what ON CONFLICT infers it from.
    """

    schema: str
    name: str
    is_reference: bool
    types: Mapping[str, str]
    declared: Mapping[str, LiteralString]
    indexes: Mapping[str, LiteralString]

    @property
    def api_name(self) -> str:
        """The name that requests use."""
        return self.name if self.schema == "public" else f"{self.schema}.{self.name}"

    @property
    def identifier(self) -> sql.Identifier:
        """The quoted name."""
        return sql.Identifier(self.schema, self.name)

    def row(self) -> sql.Composed:
        """A row as a JSON object; bigint and numeric as strings."""
        columns = sql.SQL(", ").join(map(self._shown, self.types))
        return sql.SQL('(SELECT row_to_json("the row") FROM (SELECT {}) "the row")').format(columns)

    def _shown(self, name: str) -> sql.Composed:
        element, is_array = self.types[name].removeprefix("_"), self.types[name].startswith("_")
        cast = ("::text[]" if is_array else "::text") if element in ("int8", "numeric") else ""
        return sql.SQL("{0}{1} AS {0}").format(sql.Identifier(name), sql.SQL(cast))

    def literal(self, column: str, value: Any) -> sql.Composable:
        """The value as a quoted literal for that column."""
        if value is None:
            return sql.SQL("NULL")
        if self.types.get(column) in ("json", "jsonb"):
            return sql.Literal(json.dumps(value, separators=(",", ":")))
        if _has_object(value):
            return sql.SQL("(SELECT given FROM json_to_record({}) AS row(given {}))").format(
                sql.Literal(json.dumps({"given": value})), sql.SQL(self.declared[column])
            )
        return sql.Literal(_text(value))


class PlainPostgres:
    """A database with the user's schema and nothing else."""

    def __init__(self, connection: psycopg.Connection[Any], schema_sql: str) -> None:
        """Loads the schema; the connection is in autocommit mode."""
        self.connection = connection
        # Digits are compared as clients get them: a numeric's 2.50 is another text than 2.5.
        set_json_loads(_decode, connection)
        connection.execute(schema_sql.encode())
        self.tables = {table.api_name: table for table in _read_tables(connection)}
        self.relations = read_relations(connection)
        self.conditions = Conditions(
            self.relations, lambda table, column, value: self.tables[table].literal(column, value)
        )

    def run(self, writes: Sequence[Write]) -> Outcome:
        """Runs statements in order in one transaction."""
        try:
            with self.connection.transaction():
                return [self.execute(write) for write in writes]
        except psycopg.Error as error:
            return refusal_by_postgres(error)

    def execute(self, write: Write) -> Answer:
        """Runs one statement in the transaction that is open. Raises psycopg.Error."""
        table = self.tables[write.table.removeprefix("public.")]
        cursor = self.connection.execute(self._statement(table, write))
        if isinstance(write, router_pb2.DeleteRequest):
            return cursor.rowcount
        answered = cursor.fetchall()
        rows = [row for row, *_ in answered]
        if isinstance(write, InsertRequest) and write.HasField("on_conflict"):
            return Upserted(rows, [is_new for _, is_new in answered])
        return rows

    def rows(self, table_name: str, where: Iterable[Predicate]) -> list[dict[str, Any]]:
        """The rows that meet the conditions, in no order."""
        table = self.tables[table_name]
        query = sql.SQL("SELECT {} FROM {} WHERE {}").format(table.row(), table.identifier, self.where(table, where))
        return [row for (row,) in self.connection.execute(query)]

    def where(self, table: PlainTable, predicates: Iterable[Predicate], alias: str = "") -> sql.Composable:
        """The predicates as SQL on the table's rows, which go by an alias, or by the table's own name."""
        return self.conditions.all_of(table.api_name, predicates, alias or table.name)

    def _statement(self, table: PlainTable, write: Write) -> sql.Composed:
        match write:
            case router_pb2.InsertRequest():
                return _insert(table, write)
            case router_pb2.UpdateRequest():
                return _update(table, write, self._selection(table, write))
        return sql.SQL("DELETE FROM {} WHERE {}").format(table.identifier, self._selection(table, write))

    def _selection(
        self, table: PlainTable, write: router_pb2.UpdateRequest | router_pb2.DeleteRequest
    ) -> sql.Composable:
        if not write.key_json:
            return self.where(table, write.where)
        key = from_json(write.key_json)
        return sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(sql.Identifier(name), table.literal(name, value)) for name, value in key.items()
        )


@contextmanager
def plain_postgres(server_dsn: str, name: str, schema_sql: str) -> Iterator[PlainPostgres]:
    """A new database on a server, dropped afterwards; `server_dsn` is a superuser's."""
    database = sql.Identifier(name)
    with psycopg.connect(server_dsn, autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(database))
        try:
            with psycopg.connect(server_dsn, dbname=name, autocommit=True) as connection:
                yield PlainPostgres(connection, schema_sql)
        finally:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))


def _read_tables(connection: psycopg.Connection[Any]) -> list[PlainTable]:
    types: dict[tuple[str, str, bool], tuple[dict[str, str], dict[str, LiteralString]]] = {}
    for schema, name, is_reference, column, base_type, declared in connection.execute(_COLUMNS):
        of_columns = types.setdefault((schema, name, is_reference), ({}, {}))
        of_columns[0][column], of_columns[1][column] = base_type, declared
    indexes: dict[tuple[str, str], dict[str, LiteralString]] = {}
    for schema, table, index, inferred_from in connection.execute(_INDEXES):
        indexes.setdefault((schema, table), {})[index] = inferred_from
    return [PlainTable(*table, *of_columns, indexes.get(table[:2], {})) for table, of_columns in types.items()]


def _insert(table: PlainTable, insert: InsertRequest) -> sql.Composed:
    rows = from_json(insert.rows_json)
    names = list(dict.fromkeys(name for row in rows for name in row)) or list(table.types)[:1]
    # Without an alias, a table called excluded would be taken for the proposed row.
    return sql.SQL("INSERT INTO {} AS written ({}) {} VALUES {} {} RETURNING {}, {}").format(
        table.identifier,
        _comma(sql.Identifier(name) for name in names),
        sql.SQL(_OVERRIDING[insert.overriding]),
        _comma(_row_of_values(table, names, row) for row in rows),
        _on_conflict(table, insert.on_conflict) if insert.HasField("on_conflict") else sql.SQL(""),
        table.row(),
        # A partitioned table has no xmax.
        sql.SQL("xmax = 0" if insert.HasField("on_conflict") else "true"),
    )


def _on_conflict(table: PlainTable, on_conflict: OnConflict) -> sql.Composed:
    target: sql.Composable = sql.SQL("")
    if on_conflict.constraint:
        target = sql.SQL("ON CONSTRAINT {}").format(sql.Identifier(on_conflict.constraint))
    elif on_conflict.index:
        target = sql.SQL(table.indexes[on_conflict.index])
    elif on_conflict.columns:
        target = sql.SQL("({})").format(_comma(map(sql.Identifier, on_conflict.columns)))
    if on_conflict.HasField("nothing"):
        return sql.SQL("ON CONFLICT {} DO NOTHING").format(target)
    changes = [sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(name)) for name in on_conflict.update.columns]
    return sql.SQL("ON CONFLICT {} DO UPDATE SET {}").format(target, _comma(changes))


def _row_of_values(table: PlainTable, names: Iterable[str], row: Mapping[str, Any]) -> sql.Composed:
    values = (table.literal(name, row[name]) if name in row else sql.SQL("DEFAULT") for name in names)
    return sql.SQL("({})").format(_comma(values))


def _update(table: PlainTable, update: router_pb2.UpdateRequest, selection: sql.Composable) -> sql.Composed:
    values = from_json(update.set_json)
    given = [sql.SQL("{} = {}").format(sql.Identifier(name), table.literal(name, values[name])) for name in values]
    computed = [_assignment(table, assignment) for assignment in update.assignments]
    return sql.SQL("UPDATE {} SET {} WHERE {} RETURNING {}").format(
        table.identifier, _comma([*given, *computed]), selection, table.row()
    )


def _assignment(table: PlainTable, assignment: Assignment) -> sql.Composed:
    """`column = source op value`; the literal gets the type of the source."""
    source = assignment.source or assignment.column
    target = sql.SQL("{} = {}").format(sql.Identifier(assignment.column), sql.Identifier(source))
    if assignment.op == Assignment.COPY:
        return target
    value = table.literal(source, from_json(assignment.value_json or "null"))
    return sql.SQL("{} {} {}").format(target, sql.SQL(_OPERATORS[assignment.op]), value)


def _comma(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)


def _decode(text: bytes | str) -> Any:
    """What `decode` reads, as psycopg takes it: it warns of closures."""
    return decode(text)


def _has_object(value: Any) -> bool:
    """Whether the value is of a composite or JSON type, or an array of one, for which only JSON has a notation."""
    return isinstance(value, dict) or (isinstance(value, list) and any(map(_has_object, value)))


def _text(value: Any) -> str:
    """The text of a value that is not NULL, as PostgreSQL's input functions take it."""
    if isinstance(value, list):
        # Before version 17, PostgreSQL did not read `{{}}`, which is the empty array too.
        return "{}" if value == [[]] else "{" + ",".join(map(_element, value)) + "}"
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _element(value: Any) -> str:
    """An element of an array literal."""
    if value is None:
        return "NULL"
    if isinstance(value, list):
        return _text(value)
    return '"' + _text(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
