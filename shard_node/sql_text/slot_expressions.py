"""Slots and shards of values, as SQL expressions."""

from __future__ import annotations

from psycopg import sql

from crosskey.catalog.model import Column
from crosskey.shard_node.sql_text.identifiers import literal

_ARGUMENT_TYPES = {"int2": "bigint", "int4": "bigint", "int8": "bigint", "uuid": "uuid"}


def shard_of(column: Column, value: sql.Composable, shards: int) -> sql.Composed:
    """The shard of a locator's value, as an SQL expression."""
    return shard_of_slot(slot_of(column, value), shards)


def shard_of_slot(slot: sql.Composable, shards: int) -> sql.Composed:
    """The shard that holds a slot, as an SQL expression."""
    return sql.SQL("{} %% {}").format(slot, literal(shards))


def slot_of(column: Column, value: sql.Composable) -> sql.Composed:
    """The slot of a locator's value, as an SQL expression."""
    argument_type = _ARGUMENT_TYPES.get(column.base_type, "text")
    return sql.SQL("crosskey.slot({}::{})").format(value, sql.SQL(argument_type))
