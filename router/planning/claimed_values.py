"""Values of unique keys as claims have them: pure."""

from __future__ import annotations

from dataclasses import dataclass

from crosskey.catalog.plan import Claim
from crosskey.catalog.slots import FAMILIES, canonical_text
from crosskey.router.planning.foreseen_values import Unforeseen, Value
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.simple_expressions import Row


@dataclass(frozen=True, slots=True)
class ClaimedValue:
    """A value of a unique key, and the shard where it is claimed."""

    claim: Claim
    claim_shard: int
    columns: Value


def claimed_value(view: SchemaView, claim: Claim, row: Row) -> ClaimedValue | None:
    """The value of a row, or of equal predicates; of columns that are not there, nothing is known.

    None if a column is missing or NULL, or has no canonical text; and where only PostgreSQL can compute the value.
    """
    value = _plain_value(view, claim, row) if claim.computed is None else view.foresight(claim).value_selected(row)
    return None if isinstance(value, Unforeseen) else _placed(view, claim, value)


def value_to_insert(view: SchemaView, claim: Claim, row: Row) -> ClaimedValue | Unforeseen:
    """The value of a row that is to be inserted as it is, or why none is told."""
    value = _plain_value(view, claim, row) if claim.computed is None else view.foresight(claim).value_to_insert(row)
    return value if isinstance(value, Unforeseen) else _placed(view, claim, value)


def _plain_value(view: SchemaView, claim: Claim, row: Row) -> Value | Unforeseen:
    text: Value = {}
    for column in view.value_columns(claim):
        if row.get(column.name) is None or column.base_type not in FAMILIES or not column.deterministic_collation:
            return Unforeseen.UNKNOWN
        try:
            text[column.name] = canonical_text(column.base_type, row[column.name], column.max_length)
        except ValueError:
            return Unforeseen.UNKNOWN
    return text


def _placed(view: SchemaView, claim: Claim, text: Value) -> ClaimedValue:
    # Of a canonical text, the type alone tells how it is hashed.
    placing = [(column.base_type, text[column.name], None) for column in view.value_columns(claim)]
    return ClaimedValue(claim, view.shard_of_values(placing), text)
