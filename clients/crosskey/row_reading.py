"""How a client reads rows: as PostgreSQL's JSON form says them, or typed by the schema."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeAlias

from google.protobuf.message import Message

from crosskey.deep_values import deepest_column, too_deep_to_read
from crosskey.exact_json import decode
from crosskey.typed_values import Reader, reader_of
from crosskey.v1 import admin_pb2, router_pb2, rows_pb2

Rows: TypeAlias = list[dict[str, Any]]

ColumnReaders: TypeAlias = Mapping[str, Reader | None]


class RowReader(Protocol):
    """Reads rows of a table from the JSON text that a router answers."""

    form: rows_pb2.RowForm.ValueType
    """The form to ask for."""

    def rows(self, table: str, rows_json: str) -> Rows:
        """A JSON array of rows; none if it is empty text. Raises ValueError for a value that nests too deep."""
        ...


class JsonRows:
    """Rows in PostgreSQL's JSON form: bigint, numeric and what JSON has no type for are text."""

    form = rows_pb2.ROW_FORM_JSON

    def rows(self, table: str, rows_json: str) -> Rows:
        """The rows of any table."""
        try:
            return decode(rows_json) if rows_json else []
        except RecursionError:
            raise too_deep_to_read(table, deepest_column(rows_json)) from None


class TypedRows:
    """Rows with values of Python's types, by the schema, which must be learned before."""

    form = rows_pb2.ROW_FORM_TEXT

    def __init__(self) -> None:
        self._tables: dict[str, ColumnReaders] = {}
        self._relations: dict[str, dict[str, tuple[str, str]]] = {}

    def use_schema(self, schema: admin_pb2.DescribeSchemaResponse) -> None:
        """Takes the types of all tables."""
        for table in schema.tables:
            readers = {column.name: reader_of(column.base_type) for column in table.columns}
            self._tables[table.table] = self._tables[f"public.{table.table}"] = readers
            self._relations[table.table] = self._relations[f"public.{table.table}"] = {}
        for relation in schema.relations:
            far = relation.target, relation.key_table
            if not relation.ambiguity:
                self._relations[relation.table][relation.name] = far

    def knows(self, tables: Iterable[str]) -> bool:
        """Whether the types of all these tables are learned."""
        return all(table in self._tables for table in tables)

    def rows(self, table: str, rows_json: str) -> Rows:
        """The rows of a table that is known."""
        if not rows_json:
            return []
        return self._typed(table, decode(rows_json))

    def _typed(self, table: str, rows: list[dict[str, Any]]) -> Rows:
        typed = [(name, read) for name, read in self._tables[table].items() if read is not None]
        for row in rows:
            # Columns are still text: whatever is nested is of a relation.
            for name, included in row.items():
                if isinstance(included, dict | list):
                    self._type_included(table, name, included)
            _read_columns(table, row, typed)
        return rows

    def _type_included(self, table: str, name: str, included: Any) -> None:
        target, key_table = self._relations[table].get(name, ("", ""))
        if not target:
            return
        rows = included if isinstance(included, list) else [included]
        self._typed(target, rows)
        self._typed(key_table, [row["crosskey_join"] for row in rows if "crosskey_join" in row])


def _read_columns(table: str, row: dict[str, Any], typed: list[tuple[str, Reader]]) -> None:
    for name, read in typed:
        text = row.get(name)
        if text is not None:
            try:
                row[name] = read(text)
            except RecursionError:
                raise too_deep_to_read(table, name) from None


def ask_for(request: Message, form: rows_pb2.RowForm.ValueType) -> set[str]:
    """Has a request, and the statements in it, ask for rows in that form. Returns the tables whose rows it may get."""
    match request:
        case (
            router_pb2.InsertRequest() | router_pb2.UpdateRequest() | router_pb2.GetRequest() | router_pb2.ListRequest()
        ):
            request.row_form = form
            return {request.table}
        case router_pb2.Statement():
            return _ask_statement(request, form)
        case router_pb2.TransactRequest() | router_pb2.Group():
            return set().union(*(_ask_statement(statement, form) for statement in request.statements))
    return set()


def _ask_statement(statement: router_pb2.Statement, form: rows_pb2.RowForm.ValueType) -> set[str]:
    kind = statement.WhichOneof("statement")
    return set() if kind is None else ask_for(getattr(statement, kind), form)
