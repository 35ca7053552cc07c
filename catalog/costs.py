"""How a foreign key is enforced and what that costs, in the words of `crosskey plan`."""

from __future__ import annotations

from catalog.model import ForeignKey
from catalog.plan import TablePlan

LOCAL = "by PostgreSQL's own key; nothing more"

COST_OF_CLAIM = (
    "by PostgreSQL's own unique constraint on claims, one a value, on the shard of the value's slot; insert: one RPC"
    " before the statement's and one after the answer, for each shard that holds claims of the request; delete, or"
    " update of the value: a transaction with these shards; the row is found by the value on one shard"
)


def cost_of_local(key: ForeignKey, child: TablePlan, parent: TablePlan) -> str:
    """What a local key costs."""
    if child.leader is not None and child.leader.constraint == key.name:
        return (
            "by PostgreSQL's own key; insert: one RPC before the statement's, for each shard that holds claims on the"
            f" parents; a row of {key.parent} that moves takes its rows of {key.table} along"
        )
    if parent.placement == "reference":
        return f"{LOCAL}, but writing {key.parent} takes a transaction over all shards"
    return LOCAL


def cost_of_crossing(key: ForeignKey, child: TablePlan) -> str:
    """What a cross-shard key costs: when a row references a parent, and when the parent goes or gets another key."""
    where = "each shard" if child.placement == "reference" else "a shard"
    return (
        f"by PostgreSQL's own key onto a shadow of {key.parent}; first reference to a parent from {where}: one RPC"
        " before the statement's and one after the answer; later: none; delete"
        f" ({key.on_delete}) or re-key ({key.on_update}) of a referenced parent: a transaction with the shards that"
        " reference it"
    )
