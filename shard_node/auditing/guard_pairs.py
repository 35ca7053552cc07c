"""What the audit compares between two shards: shadows and pins, or the values of rows and the claims for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from psycopg import sql

from crosskey.catalog.model import Column, TableName
from crosskey.catalog.plan import Claim, ReferencedKey
from crosskey.shard_node.guards.claims import claim_shard, claimed_table, valued_rows
from crosskey.shard_node.guards.pin_places import PIN_SHARD, pinning_shard
from crosskey.shard_node.schema.shard_schema import ShardSchema
from crosskey.shard_node.sql_text.identifiers import identifier
from crosskey.shard_node.sql_text.key_columns import same_key
from crosskey.shard_node.sql_text.sql_names import column_list, columns_equal, table_identifier


class GuardPair(NamedTuple):
    """Two tables whose rows, called g, must correspond over all shards.

    The rows of `here` belong to the shard that `counterpart` tells, an expression; of these, only those that meet
    `counted` matter. Those of `there` name in PIN_SHARD the shard that they are for. Values of the columns in
    `oddly_ordered` are not ordered by `<` and `>`. `same` says whether g has the same values as a row called k.
    """

    here: sql.Composed
    """As FROM takes it."""
    there: TableName
    key: ReferencedKey | Claim
    oddly_ordered: frozenset[str]
    counterpart: sql.Composed
    counted: sql.Composable
    same: sql.Composed
    instead: TableName | None = None
    """Where rows are that stand for some of `there`, if there are any."""

    def guards(self, *, pins: bool) -> sql.Composed:
        """The rows of `there`, if pins are meant, or of `here`, as FROM takes them, called g."""
        if not pins:
            return self.here
        if self.instead is None:
            return _called_g(self.there)
        columns = column_list((*self.key.columns, PIN_SHARD))
        return sql.SQL("(SELECT {columns} FROM {pins} UNION ALL SELECT {columns} FROM {instead}) g").format(
            columns=columns, pins=table_identifier(self.there), instead=table_identifier(self.instead)
        )


def _called_g(table: TableName) -> sql.Composed:
    return sql.SQL("{} g").format(table_identifier(table))


def guard_pair(schema: ShardSchema, identifier_of_pair: str, shards: int) -> GuardPair:
    """The pair of a referenced key or claim. Raises InvalidRequest if there is neither of that id."""
    claim = next((claim for claim in schema.plan.claims if claim.id == identifier_of_pair), None)
    if claim is not None:
        return _of_claim(schema, claim, shards)
    return _of_referenced_key(schema, schema.referenced_key(identifier_of_pair), shards)


def _of_claim(schema: ShardSchema, claim: Claim, shards: int) -> GuardPair:
    place = claim_shard(claim, claimed_table(schema.plan, claim), "g", shards)
    # NULLs that are alike have no order, and are left out.
    complete = sql.SQL("num_nulls({}) = 0").format(column_list(claim.columns, alias="g"))
    here = valued_rows(claim, table_identifier(claim.table), "g")
    odd = _oddly_ordered(claim.value_columns(claimed_table(schema.plan, claim)))
    same = columns_equal(claim.columns, "g", "k")
    return GuardPair(here, claim.claims, claim, odd, place, complete, same)


def _of_referenced_key(schema: ShardSchema, referenced: ReferencedKey, shards: int) -> GuardPair:
    place = pinning_shard(schema.plan, referenced, "g", shards)
    odd = _oddly_ordered(schema.table(referenced.parent.qualified).columns)
    same = same_key(referenced, "g", "k")
    # Whoever departed has no pins any more, and their shadows are still to be buried.
    instead = referenced.departed if referenced.eventual else None
    here = _called_g(referenced.shadow)
    return GuardPair(here, referenced.pin, referenced, odd, place, sql.SQL("true"), same, instead)


def _oddly_ordered(columns: Iterable[Column]) -> frozenset[str]:
    return frozenset(column.name for column in columns if column.oddly_ordered)


def owner_of_there() -> sql.Composable:
    """The shard that a row of `there` is for, as an expression."""
    return identifier("g", PIN_SHARD)
