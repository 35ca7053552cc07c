"""The steps of a migration on one shard."""

from __future__ import annotations

from typing import Literal

import msgspec

Phase = Literal["before", "flip", "after"]


class Step(msgspec.Struct, frozen=True):
    """A statement of a migration, and what is to be known of it.

    Steps `before` the flip are carried out one by one while clients go on by the old schema, and are undone by `undo`;
    `done` is a query that answers whether such a step is done, and `clear` takes away what a broken attempt left. Those
    of the `flip` are one transaction on all shards. Those `after` it only look at rows.
    """

    sql: str
    phase: Phase
    what: str
    """What it does, for people: `add column`."""
    table: str = ""
    """The `schema.name` that it locks; "" if it locks none that anybody uses."""
    lock: str = ""
    destructive: bool = False
    rewrites: bool = False
    ours: bool = False
    """Whether it is about guards alone."""
    undo: str = ""
    done: str = ""
    clear: str = ""
    taken: str = ""
    """A query that answers whether something else has the name of what it makes; it is refused then."""
    needs_empty: str = ""
    """Why it is refused if the table has rows; "" if it is not."""


ACCESS_EXCLUSIVE = "ACCESS EXCLUSIVE"
SHARE_ROW_EXCLUSIVE = "SHARE ROW EXCLUSIVE"
SHARE_UPDATE_EXCLUSIVE = "SHARE UPDATE EXCLUSIVE"
SHARE = "SHARE"
