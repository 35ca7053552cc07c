"""The parents that rows live with where only a claim finds these, as far as a request tells them: pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from crosskey.catalog.plan import TablePlan
from crosskey.catalog.slots import canonical_text
from crosskey.router.planning.claimed_values import ClaimedValue, claimed_value
from crosskey.router.planning.given_values import given_rows
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.supplied_values import NOTHING, Supplies, Supply
from crosskey.v1 import router_pb2

Whereabouts: TypeAlias = Mapping[tuple[str, str], int]
"""Shards, by the id of a claim and the canonical text of the value that is claimed."""

NOWHERE: Whereabouts = {}


def parent_of(view: SchemaView, table: TablePlan, value: Any) -> ClaimedValue | None:
    """The claim on the parent that rows of a led table live with; None if there can be none."""
    leader, key = table.leader, table.shard_key_column
    assert leader is not None, f"{table.table.name} is not led"
    if value is None:
        return None
    try:
        text = canonical_text(key.base_type, value, key.max_length)
    except ValueError:
        return None
    root = view.table(leader.root_table.qualified).table
    return claimed_value(view, view.claim(leader.claim), root, {leader.root_column: text})


def parents_of_insert(
    view: SchemaView, request: router_pb2.InsertRequest, supply: Supply = NOTHING
) -> list[ClaimedValue]:
    """The parents that the rows of an insert live with, each once, as far as its values can be read at all."""
    table = view.find_table(request.table)
    if table is None or table.leader is None or table.shard_key is None:
        return []
    name = table.shard_key
    given = [row[name] for row in given_rows(request) if name in row]
    return _distinct(parent_of(view, table, value) for value in (*given, *supply.values.get(name, ())))


def parents_of_rows(view: SchemaView, table: TablePlan, rows: Iterable[Mapping[str, Any]]) -> list[ClaimedValue]:
    """The parents that rows live with, each once, as far as their values can be read at all."""
    if table.leader is None or table.shard_key is None:
        return []
    return _distinct(parent_of(view, table, row.get(table.shard_key)) for row in rows)


def parents_of_transaction(
    view: SchemaView, statements: Iterable[router_pb2.Statement], supplies: Supplies
) -> list[ClaimedValue]:
    """The parents that the rows of all inserts of a transaction live with, each once."""
    inserts = _inserts(statements, "")
    return _distinct(
        value for place, insert in inserts for value in parents_of_insert(view, insert, supplies.get(place, NOTHING))
    )


def leading_keys(view: SchemaView, table: TablePlan, rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The keys by which others may name rows of a table to live with them."""
    claims = [claim for claim in view.claims_of(table.table.name) if claim.id in view.leading_claims]
    values = (claimed_value(view, claim, table.table, row) for claim in claims for row in rows)
    return [key_of(value) for value in values if value is not None]


def key_of(parent: ClaimedValue) -> tuple[str, str]:
    """The parent's key in Whereabouts."""
    return parent.claim.id, "\x1f".join(parent.columns.values())


def _distinct(parents: Iterable[ClaimedValue | None]) -> list[ClaimedValue]:
    return list({key_of(parent): parent for parent in parents if parent is not None}.values())


def _inserts(statements: Iterable[router_pb2.Statement], within: str) -> Iterator[tuple[str, router_pb2.InsertRequest]]:
    """The inserts with their places, those in groups too."""
    for number, statement in enumerate(statements):
        match statement.WhichOneof("statement"):
            case "insert" if not statement.insert.taken:
                yield f"{within}{number}", statement.insert
            case "group":
                yield from _inserts(statement.group.statements, f"{within}{number}.")
