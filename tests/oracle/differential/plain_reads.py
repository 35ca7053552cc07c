"""What reads answer on one PostgreSQL: rows with rows of relations, one query for each row and relation, and groups."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from psycopg import sql

from crosskey.v1.rows_pb2 import Predicate
from tests.oracle.plain import PlainPostgres
from tests.oracle.plain_conditions import NamedRelation

_UNIQUE_COLUMNS = """
SELECT i.indrelid::regclass::text, i.indisprimary,
    ARRAY(SELECT a.attname::text FROM unnest(i.indkey::smallint[]) WITH ORDINALITY k(n, place)
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n ORDER BY place)
FROM pg_index i
WHERE i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indrelid::regclass::text !~ '^(pg_|information)'
"""

Row = dict[str, Any]
Includes = Mapping[str, Mapping[str, Any]]


class PlainReads:
    """Reads of a plain database, whose relations are named by tags."""

    def __init__(self, plain: PlainPostgres) -> None:
        self._plain = plain
        self._keys: dict[str, list[str]] = {}
        self._unique: dict[str, list[set[str]]] = {}
        for table, is_primary, columns in plain.connection.execute(_UNIQUE_COLUMNS):
            self._unique.setdefault(table, []).append(set(columns))
            if is_primary:
                self._keys[table] = columns

    def rows(self, table: str, where: Iterable[Predicate], include: Includes) -> list[Row]:
        """The rows in the order of their primary keys; of a table without one, sorted as `comparable` sorts them."""
        return self.comparable(table, self._rows(table, self._plain.conditions.all_of(table, where), include), include)

    def comparable(self, table: str, rows: Sequence[Row], include: Includes) -> list[Row]:
        """Rows without page tokens, and sorted if nothing says how they are."""
        known = [self._comparable_row(table, row, include) for row in rows]
        return known if table in self._keys else sorted(known, key=lambda row: json.dumps(row, sort_keys=True))

    def aggregated(
        self, table: str, functions: Sequence[tuple[str, str]], group_by: Sequence[str], where: Iterable[Predicate]
    ) -> list[Row]:
        """The groups in order, of each how many rows it has and what the functions come to: a0, a1 and so on."""
        groups = sql.SQL(", ").join(map(sql.Identifier, group_by))
        values = [sql.SQL("count(*) AS n"), *(_function(number, *one) for number, one in enumerate(functions))]
        query = sql.SQL("SELECT {} FROM {} WHERE {} {} {}").format(
            sql.SQL(", ").join([*map(sql.Identifier, group_by), *values]),
            sql.Identifier(table),
            self._plain.conditions.all_of(table, where),
            sql.SQL("GROUP BY {}").format(groups) if group_by else sql.SQL(""),
            sql.SQL("ORDER BY {}").format(groups) if group_by else sql.SQL(""),
        )
        cursor = self._plain.connection.execute(query)
        names = [column.name for column in cursor.description or ()]
        texts = {column.name for column in cursor.description or () if column.type_code in _SHOWN_AS_TEXT}
        return [
            {
                name: str(value) if name in texts and value is not None else value
                for name, value in zip(names, row, strict=True)
            }
            for row in cursor
        ]

    def _rows(self, table: str, condition: sql.Composable, include: Includes) -> list[Row]:
        described = self._plain.tables[table]
        order = sql.SQL(", ").join(map(sql.Identifier, self._keys.get(table, ["ctid"])))
        query = sql.SQL("SELECT ctid::text, {} FROM {} WHERE {} ORDER BY {}").format(
            described.row(), sql.Identifier(table), condition, order
        )
        found = self._plain.connection.execute(query).fetchall()
        return [self._with_includes(table, place, row, include) for place, row in found]

    def _with_includes(self, table: str, place: str, row: Row, include: Includes) -> Row:
        whole, counts = dict(row), {}
        for name, wanted in include.items():
            relation = self._plain.relations[table, name]
            rows = self._far_rows(table, place, relation, wanted)
            if wanted.get("count"):
                counts[name] = len(rows)
            whole[name] = rows[: wanted.get("limit", 100)] if self._is_many(relation) else next(iter(rows), None)
        return {**whole, **({"crosskey_counts": counts} if counts else {})}

    def _far_rows(self, table: str, place: str, relation: NamedRelation, wanted: Mapping[str, Any]) -> list[Row]:
        link = sql.SQL("EXISTS (SELECT FROM {} AS near WHERE near.ctid = {} AND {})").format(
            sql.Identifier(table), sql.Literal(place), relation.link("near", relation.target)
        )
        where = self._plain.conditions.all_of(relation.target, wanted.get("where", ()))
        condition = sql.SQL("{} AND ({})").format(link, where)
        return self._rows(relation.target, condition, wanted.get("include", {}))

    def _is_many(self, relation: NamedRelation) -> bool:
        columns = {other for _, other in relation.pairs}
        return not relation.to_parent and not any(key <= columns for key in self._unique.get(relation.target, []))

    def _comparable_row(self, table: str, row: Row, include: Includes) -> Row:
        known = {name: value for name, value in row.items() if name != "crosskey_next"}
        for name, wanted in include.items():
            relation, value = self._plain.relations[table, name], row[name]
            within = wanted.get("include", {})
            if isinstance(value, list):
                known[name] = self.comparable(relation.target, value, within)
            elif value is not None:
                known[name] = self._comparable_row(relation.target, value, within)
        return known


_SHOWN_AS_TEXT = (20, 1700)
"""bigint and numeric, whose values JSON does not hold."""


def _function(number: int, name: str, column: str) -> sql.Composed:
    value = sql.SQL("count(DISTINCT {})" if name == "count_distinct" else f"{name}({{}})").format(
        sql.Identifier(column)
    )
    return sql.SQL("{} AS {}").format(value, sql.Identifier(f"a{number}"))
