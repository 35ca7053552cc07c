"""Reading the pieces of a schema and of its guards from PostgreSQL: of a shard, or of a scratch database."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from crosskey.catalog.changes.pieces import Key, Piece, Pieces, by_key
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.sql import load


async def read_pieces(connection: Connection) -> dict[Key, Piece]:
    """All pieces. Works inside an open transaction, whose changes it sees, and outside of one."""
    # Rolled back, so that the search path is as it was.
    async with connection.transaction(force_rollback=True):
        await connection.execute(b"SET LOCAL search_path TO pg_catalog; SET LOCAL jit TO off")
        cursor = await connection.execute(load("pieces").encode(), prepare=False)
        rows = await cursor.fetchall()
    return by_key(
        Piece(kind, table, name, state, made_by, msgspec.json.decode(facts), place)
        for kind, table, name, state, made_by, facts, place in rows
    )


def differences(wanted: Pieces, found: Pieces, *, more_labels: bool = False) -> Iterator[str]:
    """What a found schema is not as it is wanted, a sentence each; `more_labels` is whether enums may have more.

    Sequences count differently on each shard, and only that they are there is looked at.
    """
    for key in sorted(wanted.keys() | found.keys()):
        want, have = wanted.get(key), found.get(key)
        kind, table, name = key
        where = f"{kind} {name} of {table}" if table else f"{kind} {name}"
        if want is None:
            yield f"{where} is too many"
        elif have is None:
            yield f"{where} is missing"
        elif want.state != have.state and kind != "sequence" and not (more_labels and _has_labels(have, want)):
            yield f"{where} is ({have.state}), and should be ({want.state})"


def _has_labels(have: Piece, want: Piece) -> bool:
    """Whether it is an enum that has all labels that are wanted, in their order."""
    if want.kind != "enum":
        return False
    wanted = want.facts["labels"] or []
    return [label for label in have.facts["labels"] or [] if label in wanted] == wanted
