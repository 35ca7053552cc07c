"""What associations and nested inserts mean on one PostgreSQL, as plain statements, along relations that tags name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import sql

from crosskey import requests
from tests.oracle.plain import PlainPostgres
from tests.oracle.plain_conditions import NamedRelation

Row = Mapping[str, Any]
Counts = tuple[int, int, int]
"""How many rows were added, removed and kept."""


class RefusedError(Exception):
    """What PostgreSQL would not refuse by itself, with the reason that Crosskey names."""


def insert_nested(plain: PlainPostgres, table: str, row: Row, relation_name: str, children: Sequence[Row]) -> int:
    """Inserts a row and its children. Raises psycopg.Error."""
    relation = plain.relations[table, relation_name]
    inserted = plain.execute(requests.insert(table, [dict(row)]))
    assert isinstance(inserted, list), "an insert answers its rows"
    key = {column: inserted[0][own] for own, column in relation.pairs}
    plain.execute(requests.insert(relation.target, [{**child, **key} for child in children]))
    return 1


def associate(
    plain: PlainPostgres, table: str, key: Row, relation_name: str, operation: str, rows: Sequence[Row], *, delete: bool
) -> Counts:
    """Says which children a row has, by a key of one column. Raises RefusedError and psycopg.Error."""
    return _Children(plain, table, key, plain.relations[table, relation_name]).associate(operation, rows, delete=delete)


class _Children:
    """The children of one row."""

    def __init__(self, plain: PlainPostgres, table: str, key: Row, relation: NamedRelation) -> None:
        self._plain = plain
        self._child = plain.tables[relation.target]
        [(own, self._column)] = relation.pairs
        parent = plain.tables[table]
        where = sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(sql.Identifier(name), parent.literal(name, value)) for name, value in key.items()
        )
        query = sql.SQL("SELECT {} FROM {} WHERE {} FOR NO KEY UPDATE")
        found = plain.connection.execute(query.format(sql.Identifier(own), parent.identifier, where)).fetchall()
        self._owner = self._child.literal(self._column, found[0][0]) if found else None

    def associate(self, operation: str, rows: Sequence[Row], *, delete: bool) -> Counts:
        if self._owner is None:
            raise RefusedError("ROW_NOT_FOUND")
        nullable = self._is_nullable()
        if operation != "append" and not nullable and not delete and not (operation == "remove" and not rows):
            raise RefusedError("INVALID_REQUEST")
        own = sql.SQL("{} = {}").format(sql.Identifier(self._column), self._owner)
        named = self._named(rows)
        removed = added = kept = 0
        if operation in ("replace", "clear"):
            removed = self._take(sql.SQL("{} AND NOT ({})").format(own, named), nullable=nullable)
        elif operation == "remove":
            removed = self._take(sql.SQL("{} AND ({})").format(own, named), nullable=nullable)
        if operation in ("append", "replace"):
            if self._count(named) < len({tuple(sorted(row.items())) for row in rows}):
                raise RefusedError("ROW_NOT_FOUND")
            kept = self._count(sql.SQL("{} AND ({})").format(own, named))
            added = self._run(
                sql.SQL("UPDATE {0} SET {1} = {2} WHERE ({3}) AND {1} IS DISTINCT FROM {2}").format(
                    self._child.identifier, sql.Identifier(self._column), self._owner, named
                )
            )
        return added, removed, kept

    def _is_nullable(self) -> bool:
        query = "SELECT NOT attnotnull FROM pg_attribute WHERE attrelid = %s::regclass AND attname = %s"
        [(nullable,)] = self._plain.connection.execute(query, (self._child.name, self._column)).fetchall()
        return bool(nullable)

    def _named(self, rows: Sequence[Row]) -> sql.Composable:
        """The rows with these keys."""
        each = [
            sql.SQL(" AND ").join(
                sql.SQL("{} = {}").format(sql.Identifier(name), self._child.literal(name, value))
                for name, value in row.items()
            )
            for row in rows
        ]
        return sql.SQL(" OR ").join(sql.SQL("({})").format(one) for one in each) if each else sql.SQL("false")

    def _take(self, where: sql.Composable, *, nullable: bool) -> int:
        if not nullable:
            return self._run(sql.SQL("DELETE FROM {} WHERE {}").format(self._child.identifier, where))
        clearing = sql.SQL("UPDATE {} SET {} = NULL WHERE {}")
        return self._run(clearing.format(self._child.identifier, sql.Identifier(self._column), where))

    def _run(self, statement: sql.Composed) -> int:
        return self._plain.connection.execute(statement).rowcount

    def _count(self, where: sql.Composable) -> int:
        query = sql.SQL("SELECT count(*) FROM {} WHERE {}").format(self._child.identifier, where)
        [(count,)] = self._plain.connection.execute(query).fetchall()
        return int(count)
