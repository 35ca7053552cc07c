"""Values of unique keys as claims have them: pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crosskey.catalog.model import Table
from crosskey.catalog.plan import Claim
from crosskey.catalog.slots import FAMILIES, canonical_text
from crosskey.router.planning.schema_view import SchemaView

Value = dict[str, str]
"""The columns of a unique key, each in canonical text."""


@dataclass(frozen=True, slots=True)
class ClaimedValue:
    """A value of a unique key, and the shard where it is claimed."""

    claim: Claim
    claim_shard: int
    columns: Value


def claimed_value(view: SchemaView, claim: Claim, table: Table, row: Mapping[str, Any]) -> ClaimedValue | None:
    """The value of a row or of equal predicates; None if a column is missing or NULL, or has no canonical text."""
    text: Value = {}
    placing = []
    for name in claim.columns:
        column = table.column(name)
        assert column is not None, f"{claim.id} has a column that its table has not"
        if row.get(name) is None or column.base_type not in FAMILIES or not column.deterministic_collation:
            return None
        try:
            text[name] = canonical_text(column.base_type, row[name], column.max_length)
        except ValueError:
            return None
        # Of a canonical text, the type alone tells how it is hashed.
        placing.append((column.base_type, text[name], None))
    return ClaimedValue(claim, view.shard_of_values(placing), text)
