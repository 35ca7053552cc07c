"""The parents that rows live with where only a claim finds these, as far as a request tells them: pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from crosskey.catalog.plan import TablePlan
from crosskey.catalog.slots import canonical_text
from crosskey.router.planning.claimed_values import ClaimedValue, claimed_value
from crosskey.router.planning.generated_values import NOTHING, AllGenerated, GeneratedValues
from crosskey.router.planning.given_values import given_rows
from crosskey.router.planning.schema_view import SchemaView
from crosskey.v1 import router_pb2

AnchorShards: TypeAlias = Mapping[tuple[str, str], int]
"""Shards, by the id of a claim and the canonical text of the value that is claimed."""

NO_ANCHORS: AnchorShards = {}


def anchor_of(view: SchemaView, table: TablePlan, value: Any) -> ClaimedValue | None:
    """The claim on the parent that rows of an anchored table live with; None if there can be none."""
    anchor, key = table.anchor, table.shard_key_column
    assert anchor is not None, f"{table.table.name} is not anchored"
    if value is None:
        return None
    try:
        text = canonical_text(key.base_type, value, key.max_length)
    except ValueError:
        return None
    return claimed_value(view, view.claim(anchor.claim), {anchor.root_column: text})


def anchors_of_insert(
    view: SchemaView, request: router_pb2.InsertRequest, generated: GeneratedValues = NOTHING
) -> list[ClaimedValue]:
    """The parents that the rows of an insert live with, each once, as far as its values can be read at all."""
    table = view.find_table(request.table)
    if table is None or table.anchor is None or table.shard_key is None:
        return []
    name = table.shard_key
    given = [row[name] for row in given_rows(request) if name in row]
    return _distinct(anchor_of(view, table, value) for value in (*given, *generated.values.get(name, ())))


def anchors_of_rows(view: SchemaView, table: TablePlan, rows: Iterable[Mapping[str, Any]]) -> list[ClaimedValue]:
    """The parents that rows live with, each once, as far as their values can be read at all."""
    if table.anchor is None or table.shard_key is None:
        return []
    return _distinct(anchor_of(view, table, row.get(table.shard_key)) for row in rows)


def anchors_of_transaction(
    view: SchemaView, statements: Iterable[router_pb2.Statement], all_generated: AllGenerated
) -> list[ClaimedValue]:
    """The parents that the rows of all inserts of a transaction live with, each once."""
    inserts = _inserts(statements, "")
    return _distinct(
        value
        for place, insert in inserts
        for value in anchors_of_insert(view, insert, all_generated.get(place, NOTHING))
    )


def anchor_keys(view: SchemaView, table: TablePlan, rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The keys by which others may name rows of a table to live with them."""
    claims = [claim for claim in view.claims_of(table.table.name) if claim.id in view.anchor_claims]
    values = (claimed_value(view, claim, row) for claim in claims for row in rows)
    return [key_of(value) for value in values if value is not None]


def key_of(parent: ClaimedValue) -> tuple[str, str]:
    """The parent's key in AnchorShards."""
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
