"""Where the pins of a referenced key are, and what they hold.

They are on the parent's shard and hold the parent, if the key tells that shard. If it does not, the parent is known by
the claim on its key: the pins are with the claim, on the shard of the key's own slot, and hold that.
"""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from crosskey.catalog.plan import Plan, ReferencedKey
from crosskey.shard_node.guards.claims import CLAIMING_SHARD, claim_shard, claimed_table
from crosskey.shard_node.sql_text.identifiers import identifier
from crosskey.shard_node.sql_text.slot_expressions import shard_of

PIN_SHARD = "crosskey_shard"
"""The column of a pin that has the shard which references the parent."""

CLAIMANT = "crosskey_claimant"
"""The column of a pin on a claim that has the shard of the parent, which is the one that claims."""


def pinning_shard(plan: Plan, referenced: ReferencedKey, alias: str, shards: int) -> sql.Composed:
    """The shard with the pins of the row called `alias`, which has the key, as an SQL expression."""
    if referenced.claim is not None:
        return claim_shard(referenced.claim, claimed_table(plan, referenced.claim), alias, shards)
    locator = plan.own_table(referenced.parent).table.own_column(referenced.locator or "")
    return shard_of(locator, identifier(alias, locator.name), shards)


def held_columns(referenced: ReferencedKey) -> Sequence[str]:
    """The columns by which a pin references what it holds."""
    return referenced.columns if referenced.claim is None else (*referenced.columns, CLAIMANT)


def target_columns(referenced: ReferencedKey) -> Sequence[str]:
    """The columns of what pins hold, one for each of held_columns."""
    return referenced.columns if referenced.claim is None else (*referenced.columns, CLAIMING_SHARD)
