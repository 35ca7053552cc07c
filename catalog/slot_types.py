"""Types whose values tell a slot, and why those of others do not: equal values must have equal text."""

from __future__ import annotations

from typing import Final

from crosskey.catalog.model import Column
from crosskey.catalog.slots import FAMILIES

_WHY_UNFIT: Final = {
    "numeric": "equal numbers can have different texts (1.0 and 1.00)",
    "bpchar": "texts that differ in trailing spaces are equal",
    "float4": "equal numbers can have different texts (0 and -0)",
    "float8": "equal numbers can have different texts (0 and -0)",
    "citext": "texts that differ in case are equal",
    "bool": "there are only two values, for two shards at most",
    "date": "its text depends on settings of the session",
    "timestamp": "its text depends on settings of the session",
    "timestamptz": "its text depends on settings of the session",
    "interval": "equal intervals can have different texts (1 day and 24 hours)",
    "json": "it has no equality",
    "jsonb": "equal values can have different texts (1.0 and 1.00)",
    "bytea": "its text depends on settings of the session",
}


def has_slot(column: Column) -> bool:
    """Whether a value of the column tells a slot."""
    return column.base_type in FAMILIES and column.deterministic_collation


def name_of_type(column: Column) -> str:
    """The name of the type below all domains, without the schema that types outside pg_catalog are named with."""
    return column.base_type.rpartition(".")[2]


def why_unfit(column: Column) -> str | None:
    """What is wrong with the type's texts, as a clause; None for a type of which that is not known."""
    return _WHY_UNFIT.get(name_of_type(column))
