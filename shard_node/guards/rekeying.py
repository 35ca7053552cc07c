"""Giving shadows new keys, one by one in the order in which their parents got them.

In no other order can a key move to where another one was: a shift of many keys would meet itself halfway, on the
shadows as on the children that follow them. A function in the database does it, so that it is one call.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from psycopg import sql

from crosskey.catalog.plan import ReferencedKey
from crosskey.shard_node.guards.bodies import body
from crosskey.shard_node.sql_text.identifiers import identifier
from crosskey.shard_node.sql_text.key_columns import same_key
from crosskey.shard_node.sql_text.sql_names import column_list, function_identifier, table_identifier

_PURPOSE = "rekey"


def create_function(referenced: ReferencedKey) -> sql.Composed:
    """The DDL of the function, which takes two JSON arrays of keys: the old ones, and the new one of each."""
    # Its names are escaped for parameters already, so the source is quoted as it is.
    return sql.SQL("CREATE FUNCTION {}(old_keys json, new_keys json) RETURNS void LANGUAGE plpgsql AS {}").format(
        function_identifier(_PURPOSE, referenced.shadow), sql.Literal(_source(referenced).as_string())
    )


@lru_cache
def call_text(referenced: ReferencedKey) -> bytes:
    """The statement that calls it, with the two arrays as parameters."""
    return sql.SQL("SELECT {}(%s, %s)").format(function_identifier(_PURPOSE, referenced.shadow)).as_bytes()


def _source(referenced: ReferencedKey) -> sql.Composed:
    places = range(len(referenced.columns))
    old, new = [f"old_{place}" for place in places], [f"new_{place}" for place in places]
    return body(
        "rekey_shadows",
        shadow=table_identifier(referenced.shadow),
        columns=column_list(referenced.columns),
        old=column_list((*old, *(f"old_copied_{place}" for place in range(len(referenced.copied))))),
        new=column_list((*new, *(f"new_copied_{place}" for place in range(len(referenced.copied))))),
        same=same_key(referenced, "s", "k", old),
        new_of_k=column_list(new, alias="k"),
        unreferenced=_unreferenced(referenced, new),
    )


def _unreferenced(referenced: ReferencedKey, new: Sequence[str]) -> sql.Composed:
    """Whether the shadow called s is that of the key with a NULL; what places a parent is none, but a claim may be."""
    if referenced.locator is None:
        # IS NULL would also be true of a composite value whose fields are all NULL.
        return sql.SQL("num_nulls({}) > 0").format(column_list(referenced.columns, alias="s"))
    return sql.SQL("{} OPERATOR(pg_catalog.=) {} AND NOT ROW({}) IS NOT NULL").format(
        identifier("s", referenced.locator),
        identifier("k", new[referenced.columns.index(referenced.locator)]),
        column_list(referenced.columns, alias="s"),
    )
