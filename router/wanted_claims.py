"""Which values of unique keys an insert must claim on other shards, as far as the request alone tells.

A value is claimed in advance only if all its columns have a canonical text, which then is the text that the shard will
see. What is left out (a default, a date) is found by the shard's node when the statement runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from catalog.model import Column, Table
from catalog.plan import Claim
from catalog.slots import FAMILIES, canonical_text, shard_of_slot, slot_of_values
from router.schema_view import SchemaView
from router.write_planning import Part, Row, WritePlan

Value = dict[str, str]
"""The columns of a unique key, each in canonical text."""


@dataclass(frozen=True, slots=True)
class WantedClaims:
    """Values that rows on `shard` have and that are claimed on `claim_shard`, each once."""

    claim: Claim
    claim_shard: int
    shard: int
    values: Sequence[Value]


def wanted_claims(view: SchemaView, plans: Iterable[WritePlan]) -> list[WantedClaims]:
    """The values to claim before the plans run, those on the rows' own shards too."""
    found: dict[tuple[str, int, int], dict[tuple[str, ...], Value]] = {}
    claims = {claim.id: claim for claim in view.plan.claims}
    for plan in plans:
        if plan.kind == "insert":
            for part in plan.parts:
                for claim, claim_shard, value in _values(view, plan.table.table, part):
                    group = found.setdefault((claim.id, claim_shard, part.shard), {})
                    group[tuple(value.values())] = value
    return [
        WantedClaims(claims[identifier], claim_shard, shard, list(values.values()))
        for (identifier, claim_shard, shard), values in found.items()
    ]


def surely_claims_elsewhere(view: SchemaView, plans: Iterable[WritePlan]) -> bool:
    """Whether a plan is to release values, most of which other shards hold: no node needs to be asked."""
    return view.shards > 1 and any(
        plan.kind != "insert" and any(_releases(plan, claim) for claim in view.claims_of(plan.table.table.name))
        for plan in plans
    )


def _releases(plan: WritePlan, claim: Claim) -> bool:
    return plan.kind == "delete" or any(not part.rows[0].keys().isdisjoint(claim.columns) for part in plan.parts)


def _values(view: SchemaView, table: Table, part: Part) -> Iterator[tuple[Claim, int, Value]]:
    by_name = {column.name: column for column in table.columns}
    for claim in view.claims_of(table.name):
        columns = [by_name[name] for name in claim.columns]
        if all(column.base_type in FAMILIES and column.deterministic_collation for column in columns):
            for row in part.rows:
                value = _value(columns, row)
                if value is not None:
                    yield claim, claim_shard(view, claim, table, value), value


def _value(columns: Sequence[Column], row: Row) -> Value | None:
    """None if the row lacks a column, or has NULL or something that its type does not take."""
    if any(row.get(column.name) is None for column in columns):
        return None
    try:
        return {
            column.name: canonical_text(column.base_type, row[column.name], column.max_length) for column in columns
        }
    except ValueError:
        return None


def claim_shard(view: SchemaView, claim: Claim, table: Table, value: Row) -> int:
    """The shard where a value is claimed. Raises ValueError if a type takes no such value."""
    columns = {column.name: column for column in table.columns}
    placing = [(columns[name].base_type, value[name], columns[name].max_length) for name in claim.placing]
    return shard_of_slot(slot_of_values(placing), view.shards)
