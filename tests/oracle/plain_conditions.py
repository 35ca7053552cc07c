"""Conditions of requests as SQL on one PostgreSQL; relations are those that tags on constraints name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from crosskey.v1.rows_pb2 import Predicate

_COMPARISONS: dict[Predicate.Op.ValueType, LiteralString] = {
    Predicate.EQ: "=",
    Predicate.NE: "<>",
    Predicate.LT: "<",
    Predicate.LE: "<=",
    Predicate.GT: ">",
    Predicate.GE: ">=",
}
_NAMED_KEYS = """
SELECT c.conrelid::regclass::text, c.confrelid::regclass::text, obj_description(c.oid, 'pg_constraint'),
    ARRAY(SELECT a.attname::text FROM unnest(c.conkey) WITH ORDINALITY k(n, place)
        JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.n ORDER BY place),
    ARRAY(SELECT a.attname::text FROM unnest(c.confkey) WITH ORDINALITY k(n, place)
        JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.n ORDER BY place)
FROM pg_constraint c WHERE c.contype = 'f' AND c.conparentid = 0 AND obj_description(c.oid, 'pg_constraint') LIKE '%@%'
"""
_TAG = re.compile(r"@(relation|inverse)\s+(\w+)")

Literal = Callable[[str, str, Any], sql.Composable]
"""A value as a literal for a column of a table."""


@dataclass(frozen=True)
class NamedRelation:
    """What a tag names: rows of `target`, whose columns equal the row's own, pair by pair."""

    target: str
    pairs: tuple[tuple[str, str], ...]
    to_parent: bool

    def link(self, near: str, far: str) -> sql.Composed:
        """Whether two rows, called so, belong together."""
        return sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(sql.Identifier(far, other), sql.Identifier(near, own))
            for own, other in self.pairs
        )


def read_relations(connection: psycopg.Connection[Any]) -> dict[tuple[str, str], NamedRelation]:
    """By table and name, those that `@relation` and `@inverse` name."""
    found: dict[tuple[str, str], NamedRelation] = {}
    for child, parent, comment, columns, parent_columns in connection.execute(_NAMED_KEYS):
        for tag, name in _TAG.findall(comment):
            if tag == "relation":
                pairs = tuple(zip(columns, parent_columns, strict=True))
                found[child, name] = NamedRelation(parent, pairs, to_parent=True)
            else:
                pairs = tuple(zip(parent_columns, columns, strict=True))
                found[parent, name] = NamedRelation(child, pairs, to_parent=False)
    return found


class Conditions:
    """Makes SQL of predicates."""

    def __init__(self, relations: Mapping[tuple[str, str], NamedRelation], literal: Literal) -> None:
        self._relations = relations
        self._literal = literal
        self._aliases = count()

    def all_of(self, table: str, predicates: Iterable[Predicate], alias: str = "") -> sql.Composable:
        """The predicates on rows of a table, joined by AND; the rows go by the alias, or by the table's own name."""
        conditions = [self._one(table, one, alias or table) for one in predicates]
        return sql.SQL(" AND ").join(conditions) if conditions else sql.SQL("true")

    def _one(self, table: str, one: Predicate, alias: str) -> sql.Composable:
        if one.HasField("related"):
            return self._related(table, one.related, alias)
        for word, parts in (("AND", one.all_of), ("OR", one.any_of), ("OR", one.none_of)):
            if parts:
                joined = sql.SQL(f" {word} ").join(
                    sql.SQL("({})").format(self._one(table, part, alias)) for part in parts
                )
                return sql.SQL("NOT ({})" if parts is one.none_of else "({})").format(joined)
        return self._on_column(table, one, alias)

    def _related(self, table: str, related: Predicate.Related, alias: str) -> sql.Composed:
        relation, far = self._relations[table, related.relation], f"far{next(self._aliases)}"
        wanted = self.all_of(relation.target, related.where, far)
        if related.quantifier == Predicate.Related.QUANTIFIER_EVERY:
            wanted = sql.SQL("({}) IS NOT TRUE").format(wanted)
        some = related.quantifier == Predicate.Related.QUANTIFIER_UNSPECIFIED
        return sql.SQL("{} (SELECT FROM {} AS {} WHERE {} AND ({}))").format(
            sql.SQL("EXISTS" if some else "NOT EXISTS"),
            sql.Identifier(relation.target),
            sql.Identifier(far),
            relation.link(alias, far),
            wanted,
        )

    def _on_column(self, table: str, one: Predicate, alias: str) -> sql.Composed:
        column, value = sql.Identifier(alias, one.column), _value(one)
        if one.op == Predicate.IS_NULL:
            return sql.SQL("{} IS {} NULL").format(column, sql.SQL("NOT" if value is False else ""))
        if one.op == Predicate.IN:
            values = sql.SQL(", ").join(self._literal(table, one.column, element) for element in value)
            return sql.SQL("{} IN ({})").format(column, values)
        comparison = sql.SQL(_COMPARISONS[one.op])
        return sql.SQL("{} {} {}").format(column, comparison, self._literal(table, one.column, value))


def _value(one: Predicate) -> Any:
    return from_json(one.value_json or "null")


def from_json(text: str) -> Any:
    """A value of a request; a float that is whole is an integer, as applications write it for any column of numbers."""
    return json.loads(text, parse_float=_number)


def _number(text: str) -> int | float:
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number
