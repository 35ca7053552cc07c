"""How a foreign key is enforced and what that costs, in the words of `crosskey plan`."""

from __future__ import annotations

from collections.abc import Iterator

from crosskey.catalog.eventual import is_eventual
from crosskey.catalog.model import ForeignKey
from crosskey.catalog.plan import Claim, Copy, TablePlan

LOCAL = "by PostgreSQL's own key; nothing more"

_COST_OF_CLAIM = (
    "by PostgreSQL's own unique constraint on claims, one a value, on the shard of the value's slot; insert: one RPC"
    " before the statement's and one after the answer, for each shard that holds claims of the request; delete, or"
    " update of the value: a transaction with these shards; the row is found by the value on one shard"
)

_COST_OF_COMPUTED = (
    "by claims on what the index computes, as for any other unique key; where this is not simply a column, or lower(..)"
    " or upper(..) of one, under conditions such as IS NULL, an insert is a transaction with the shards that hold"
    " claims"
)


def cost_of_claim(claim: Claim) -> str:
    """How a unique key holds over all shards, and what that costs."""
    return _COST_OF_CLAIM if claim.computed is None else _COST_OF_COMPUTED


def cost_of_local(key: ForeignKey, child: TablePlan, parent: TablePlan) -> str:
    """What a local key costs, and what becomes of rows that its actions would move."""
    if child.anchor is not None and child.anchor.constraint == key.name:
        return (
            "by PostgreSQL's own key; insert: one RPC before the statement's, for each shard that holds claims on the"
            f" parents; a row of {key.parent} that moves takes its rows of {key.table} along"
        )
    more = [f"writing {key.parent} takes a transaction over all shards"] if parent.placement == "reference" else []
    more += _costs_of_moves(key, child)
    return f"{LOCAL}, but {'; '.join(more)}" if more else LOCAL


def cost_of_crossing(key: ForeignKey, child: TablePlan) -> str:
    """What a cross-shard key costs: when a row references a parent, and when the parent goes or gets another key."""
    where = "each shard" if child.placement == "reference" else "a shard"
    changes = (
        f"delete of a referenced parent: nothing more, {key.on_delete} follows in batches (@enforce eventual); re-key"
        f" ({key.on_update})"
        if is_eventual(key)
        else f"delete ({key.on_delete}) or re-key ({key.on_update}) of a referenced parent"
    )
    cost = (
        f"by PostgreSQL's own key onto a shadow of {key.parent}; first reference to a parent from {where}: one RPC"
        f" before the statement's and one after the answer; later: none; {changes}: a transaction with the shards that"
        " reference it"
    )
    return "; ".join((cost, *_costs_of_moves(key, child)))


def cost_of_copy(copy: Copy) -> str:
    """What becomes of a copy when its parent's column changes, and what that costs."""
    taken = f"taken when {copy.constraint} is set: nothing more for a row"
    given = "; a client may give another value" if copy.overridable else ""
    if copy.referenced_key is None:
        changes = "changed by PostgreSQL with it, on the same shard" if copy.live else "stays as it was taken"
        return f"{taken}; {changes}{given}"
    reached = f"update of {copy.parent}.{copy.parent_column}: a transaction with the shards that reference the row"
    changes = "for their shadows and rows" if copy.live else "for their shadows; the copy stays as it was taken"
    return f"{taken}; {reached}, {changes}{given}"


def _costs_of_moves(key: ForeignKey, child: TablePlan) -> Iterator[str]:
    """What becomes of the child's rows where the key's actions change what places them."""
    if set(key.columns).isdisjoint(child.locators):
        return
    if child.slot_column is not None:
        # Planning refuses all other actions.
        if key.on_update == "CASCADE":
            yield (
                f"a new key of {key.parent} is refused if rows of {key.table} reference it and it is of another slot:"
                f' their "{child.slot_column}" carries the slot, and they cannot move; with @claim on {key.table} it is'
                " claimed instead, and they move along"
            )
        return
    changing = [f"ON UPDATE {key.on_update}"] if key.on_update in ("CASCADE", "SET DEFAULT") else []
    # A shard key is NOT NULL, so that SET NULL fails.
    if key.on_delete == "SET DEFAULT" and child.shard_key in (key.on_delete_columns or key.columns):
        changing.append(f"ON DELETE {key.on_delete}")
    if changing:
        given = f'where {" or ".join(changing)} gives them a "{child.shard_key}" of another shard'
        yield f"rows of {key.table} move, in the same transaction, {given}"
