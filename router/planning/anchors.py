"""The anchors of rows that a request writes, as far as its values name them: pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from crosskey.catalog.plan import TablePlan, WithAnchor
from crosskey.catalog.slots import canonical_text
from crosskey.router.planning.claimed_values import ClaimedValue, claimed_value
from crosskey.router.planning.generated_values import NOTHING, AllGenerated, GeneratedValues
from crosskey.router.planning.given_values import given_rows
from crosskey.router.planning.schema_view import SchemaView
from crosskey.v1 import router_pb2

AnchorShards: TypeAlias = Mapping[tuple[str, str], int]
"""On which shards anchors are: by the id of the claim and the canonical text of the claimed value."""

NO_ANCHORS: AnchorShards = {}


def anchor_of(view: SchemaView, table: TablePlan, value: Any) -> ClaimedValue | None:
    """The claim on the anchor that a row of an anchored table names by `value`; None if no anchor can have that."""
    if value is None or not isinstance(table.lives, WithAnchor):
        return None
    key, anchor = table.lives.key, table.lives.anchor
    try:
        text = canonical_text(key.base_type, value, key.max_length)
    except ValueError:
        return None
    return claimed_value(view, view.claim(anchor.claim), {anchor.root_column: text})


def anchors_of_insert(
    view: SchemaView, request: router_pb2.InsertRequest, generated: GeneratedValues = NOTHING
) -> list[ClaimedValue]:
    """The anchors of the rows of an insert, each once; a value that cannot be read names none."""
    table = view.find_table(request.table)
    if table is None or not isinstance(table.lives, WithAnchor):
        return []
    name = table.lives.key.name
    given = [row[name] for row in given_rows(request) if name in row]
    return _distinct(anchor_of(view, table, value) for value in (*given, *generated.values.get(name, ())))


def anchors_of_rows(view: SchemaView, table: TablePlan, rows: Iterable[Mapping[str, Any]]) -> list[ClaimedValue]:
    """The anchors of rows, each once; a value that cannot be read names none."""
    if not isinstance(table.lives, WithAnchor):
        return []
    name = table.lives.key.name
    return _distinct(anchor_of(view, table, row.get(name)) for row in rows)


def anchors_of_transaction(
    view: SchemaView, statements: Iterable[router_pb2.Statement], all_generated: AllGenerated
) -> list[ClaimedValue]:
    """The anchors of the rows of all inserts of a transaction, each once."""
    inserts = _inserts(statements, "")
    return _distinct(
        value
        for place, insert in inserts
        for value in anchors_of_insert(view, insert, all_generated.get(place, NOTHING))
    )


def anchor_keys(view: SchemaView, table: TablePlan, rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The keys, in AnchorShards, of rows that can be anchors of others."""
    claims = [claim for claim in view.claims_of(table.name) if claim.id in view.anchor_claims]
    values = (claimed_value(view, claim, row) for claim in claims for row in rows)
    return [key_of(value) for value in values if value is not None]


def key_of(parent: ClaimedValue) -> tuple[str, str]:
    """The anchor's key in AnchorShards."""
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
